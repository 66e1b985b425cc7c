"""Whatever becomes of a training process (here small real ones): an outcome, a cause and an end."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retrain.events import Ended, Notified
from retrain.journal import Journal
from retrain.lifecycle.supervisor import Limits, explain_exit, run_child
from retrain.processes import GRACE_SECONDS, end_child
from retrain.redaction import Redactor
from retrain.run_record import RunRecord
from tests.conftest import SOURCE

PATIENT = Limits(max_run_minutes=10, stall_minutes=10)


JOURNALLING = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
from retrain.events import Ended, Notified, Progress, Stage
journal = Journal(Path(sys.argv[1])); journal.write(Stage("train"))
"""


def supervise(folder: Path, code: str, limits: Limits = PATIENT) -> RunRecord:
    """The record of a run whose training process is this Python code; its first argument is the folder."""
    journal = Journal.create(folder)
    run_child([sys.executable, "-c", code, str(folder)], os.environ, journal, str, limits)
    return journal.record()


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
    assert record.outcome == outcome
    assert said in record.reasons[0]


def test_a_training_process_in_which_nothing_happens_is_ended(tmp_path: Path) -> None:
    """It does not even hear SIGTERM."""
    deaf = JOURNALLING + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    record = supervise(tmp_path / "run", deaf, Limits(max_run_minutes=10, stall_minutes=0.1))
    assert record.outcome == "failed"
    assert 'Nothing happened for 0.1 minutes in the stage "train"' in record.reasons[0]


def test_a_training_process_that_takes_too_long_is_ended_though_things_happen(tmp_path: Path) -> None:
    busy = JOURNALLING + "while True: journal.write(Progress(done=1, total=2)); time.sleep(0.1)"
    record = supervise(tmp_path / "run", busy, Limits(max_run_minutes=0.15, stall_minutes=0.1))
    assert record.outcome == "failed"
    assert "longer than 0.15 minutes" in record.reasons[0]


def test_the_first_outcome_counts(tmp_path: Path) -> None:
    said = JOURNALLING + (
        "journal.write(Ended('rejected', ('x',))); journal.write(Ended('failed', ('y',))); sys.exit(7)"
    )
    record = supervise(tmp_path / "run", said)
    assert (record.outcome, record.reasons) == ("rejected", ("x",))
    events = [entry.event for entry in Journal(tmp_path / "run").read()]
    assert [event.reasons for event in events if isinstance(event, Ended)] == [("x",), ("y",)]


def test_signals_raise_inside_the_block_and_are_ignored_after_it() -> None:
    """In a process of its own: it changes handlers."""
    code = f"""
import os, signal, sys; sys.path.insert(0, {str(SOURCE)!r})
from retrain.errors import Interrupted; from retrain.processes import interruptible
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


# --- the end of a process that said nothing


@pytest.mark.parametrize(
    ("returncode", "free", "outcome", "said"),
    [
        (
            -signal.SIGKILL,
            0,
            "failed",
            "most likely for its memory. Memory ran out. Lower",
        ),
        (-signal.SIGSEGV, 0, "failed", "died of SIGSEGV. See the end of output.log"),
        (-signal.SIGTERM, 2**30, "failed", "died of SIGTERM"),
        (1, 64 * 1024 - 1, "failed", "The disk is full"),
        (1, 64 * 1024, "bug", "ended with exit code 1 and said nothing"),
        (0, 2**30, "bug", "ended with exit code 0 and said nothing"),
    ],
)
def test_an_exit_is_explained_by_signal_disk_or_as_a_bug(
    returncode: int, free: int, outcome: str, said: str
) -> None:
    found, reason = explain_exit(returncode, free)
    assert found == outcome
    assert said in reason


# --- its output


def test_output_is_copied_masked_and_without_what_only_a_terminal_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        r"import sys; print('one secret'); print('\x1b[A'); print('  '); print('two\x1b[A', file=sys.stderr)"
    )
    journal = Journal.create(tmp_path / "run")
    run_child([sys.executable, "-u", "-c", code], os.environ, journal, Redactor(["secret"]), PATIENT)
    copied = "one [secret]\ntwo\n"
    assert capsys.readouterr().out == copied
    assert (journal.folder / "output.log").read_text() == copied


@pytest.mark.parametrize("spoil", ["full", "no file"])
def test_output_that_can_not_be_kept_is_still_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    journal = Journal.create(tmp_path / "run")
    log = journal.folder / "output.log"
    if spoil == "full":
        log.symlink_to("/dev/full")
    else:
        log.mkdir()
    code = "for i in range(3): print(i)"
    run_child([sys.executable, "-u", "-c", code], os.environ, journal, str, PATIENT)
    assert capsys.readouterr().out == "0\n1\n2\n"
    assert "exit code 0" in journal.record().reasons[0]


def test_bytes_that_are_no_text_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = r"import os; os.write(1, b'\xff\xfe here\n')"
    supervise(tmp_path / "run", code)
    assert capsys.readouterr().out == "\ufffd\ufffd here\n"


def test_the_child_is_given_the_environment_and_how_to_show_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import os; print(*sorted(name for name in os.environ if name[:4] in ('TQDM', 'MINE')))"
    journal = Journal.create(tmp_path / "run")
    environ = {"PATH": os.environ["PATH"], "MINE": "1", "TQDM_MININTERVAL": "3"}
    run_child([sys.executable, "-c", code], environ, journal, str, PATIENT)
    assert capsys.readouterr().out == "MINE TQDM_MININTERVAL TQDM_POSITION\n"


# --- its end by us


def started(code: str) -> subprocess.Popen[str]:
    """A child that has said that it is ready."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_child_that_hears_the_signal_ends_by_it() -> None:
    child = started("import time; print('ready', flush=True); time.sleep(60)")
    end_child(child)
    assert child.returncode == -signal.SIGTERM
    child.communicate()


def test_a_child_that_is_deaf_is_killed() -> None:
    """Within the ten seconds that the platform gives to all of us."""
    assert GRACE_SECONDS < 10
    child = started(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(60)"
    )
    end_child(child)
    assert child.returncode == -signal.SIGKILL
    child.communicate()


def test_a_child_that_has_ended_is_left_as_it_is() -> None:
    child = started("print('ready', flush=True)")
    child.communicate()
    end_child(child)
    assert child.returncode == 0


def test_after_its_outcome_a_child_may_finish_and_is_then_ended(tmp_path: Path) -> None:
    """The farewell begins with the outcome: this child took longer than that before it."""
    code = JOURNALLING + (
        "time.sleep(4); journal.write(Ended('rejected')); "
        "time.sleep(1.2); journal.write(Notified('W&B')); "
        "time.sleep(60); journal.write(Notified('too late'))"
    )
    record = supervise(tmp_path / "run", code, replace(PATIENT, farewell_seconds=3.5))
    assert (record.outcome, record.told) == ("rejected", Notified("W&B"))


def test_a_limit_of_the_run_does_not_count_after_the_outcome(tmp_path: Path) -> None:
    code = JOURNALLING + ("journal.write(Ended('rejected')); time.sleep(2); journal.write(Notified('W&B'))")
    record = supervise(tmp_path / "run", code, Limits(max_run_minutes=0.01, stall_minutes=10))
    assert (record.outcome, record.told) == ("rejected", Notified("W&B"))


def test_a_signal_to_us_ends_the_child_and_is_the_outcome(tmp_path: Path) -> None:
    """In a process of its own: it changes handlers. The child would tell another outcome of the signal."""
    child = JOURNALLING + (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: (journal.write(Ended('failed')), "
        "sys.exit(1))); print('ready', flush=True); time.sleep(60)"
    )
    code = f"""
import os, sys; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
from retrain.errors import Interrupted
from retrain.lifecycle.supervisor import Limits, run_child
from retrain.processes import interruptible
journal = Journal.create(Path(sys.argv[1]))
try:
    with interruptible():
        run_child([sys.executable, "-c", {child!r}, sys.argv[1]], os.environ, journal, str, Limits(9, 9))
except Interrupted as error:
    print(error.outcome, error.signum)
"""
    folder = tmp_path / "run"
    job = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    job.terminate()
    output, _ = job.communicate(timeout=30)
    assert output.split() == ["interrupted", str(int(signal.SIGTERM))]
    outcomes = [e.event.outcome for e in Journal(folder).read() if isinstance(e.event, Ended)]
    assert outcomes == ["interrupted", "failed"]


def test_a_child_asks_to_die_with_its_parent(tmp_path: Path) -> None:
    """Its parent is killed, so that it can't end it."""
    child = (
        f"import sys, time; sys.path.insert(0, {str(SOURCE)!r}); "
        "from retrain.processes import die_with_parent; die_with_parent(); "
        "print('ready', flush=True); time.sleep(120)"
    )
    code = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(120)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        assert parent.stdout.read() == "", "its standard output is closed once the child is gone, too"
