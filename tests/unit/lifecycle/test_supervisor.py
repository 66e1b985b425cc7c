"""Whatever becomes of a training process (here small real ones): an outcome, a cause and an end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retrain.journal import Journal, run_record
from retrain.lifecycle.supervisor import Limits, run_child
from tests.conftest import SOURCE

PATIENT = Limits(max_run_minutes=10, stall_minutes=10)


JOURNALLING = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
journal = Journal(Path(sys.argv[1])); journal.write("stage", name="train")
"""


def supervise(folder: Path, code: str, limits: Limits = PATIENT) -> dict[str, Any]:
    """The record of a run whose training process is this Python code; its first argument is the folder."""
    journal = Journal.create(folder)
    run_child([sys.executable, "-c", code, str(folder)], os.environ, journal, str, limits)
    return run_record(journal.read())


@pytest.mark.parametrize(
    ("code", "outcome", "said"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "failed",
            "killed, most likely for its memory",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", "died of SIGSEGV"),
        ("import sys; sys.exit(3)", "bug", "ended with exit code 3 and said nothing"),
    ],
    ids=["kill -9", "SIGSEGV", "silently"],
)
def test_a_training_process_that_dies_has_an_outcome_and_a_cause(
    tmp_path: Path, code: str, outcome: str, said: str
) -> None:
    record = supervise(tmp_path / "run", code)
    assert record["outcome"] == outcome
    assert said in record["reasons"][0]


def test_a_training_process_in_which_nothing_happens_is_ended(tmp_path: Path) -> None:
    """It does not even hear SIGTERM."""
    deaf = JOURNALLING + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    record = supervise(tmp_path / "run", deaf, Limits(max_run_minutes=10, stall_minutes=0.1))
    assert record["outcome"] == "failed"
    assert 'Nothing happened for 0.1 minutes in the stage "train"' in record["reasons"][0]


def test_a_training_process_that_takes_too_long_is_ended_though_things_happen(tmp_path: Path) -> None:
    busy = JOURNALLING + "while True: journal.write('progress', done=1, total=2); time.sleep(0.1)"
    record = supervise(tmp_path / "run", busy, Limits(max_run_minutes=0.15, stall_minutes=0.1))
    assert record["outcome"] == "failed"
    assert "longer than 0.15 minutes" in record["reasons"][0]


def test_the_first_outcome_counts(tmp_path: Path) -> None:
    said = JOURNALLING + "journal.write('outcome', outcome='rejected', reasons=['x']); sys.exit(7)"
    assert supervise(tmp_path / "run", said)["outcome"] == "rejected"


def test_signals_raise_inside_the_block_and_are_ignored_after_it() -> None:
    """In a process of its own: it changes handlers."""
    code = f"""
import os, signal, sys; sys.path.insert(0, {str(SOURCE)!r})
from retrain.errors import Interrupted; from retrain.lifecycle.supervisor import interruptible
try:
    with interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
except Interrupted as error:
    print(error.signum)
os.kill(os.getpid(), signal.SIGTERM)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(signal.SIGTERM)), "alive"]
