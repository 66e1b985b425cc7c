"""From which interrupted run another goes on, and whose checkpoints are removed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from retrain.events import Ended, Inputs
from retrain.journal import Journal
from retrain.lifecycle.resumption import remove_checkpoints, resumable_run
from retrain.records import OUTCOMES
from tests.conftest import SOURCE

INPUTS = {"HUB_MODEL_ID": "city/model", "SEED": 42}


def a_run(
    run_dir: Path,
    name: str,
    outcome: str | None = None,
    inputs: Mapping[str, Any] = INPUTS,
    checkpoints: int = 1,
) -> Path:
    """A run that has begun with these inputs, saved checkpoints and has ended so, if at all; nobody lives."""
    journal = Journal(run_dir / name)
    journal.folder.mkdir(parents=True)
    journal.write(Inputs(inputs))
    for step in range(checkpoints):
        (journal.folder / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    if outcome:
        journal.write(Ended(outcome))
    return journal.folder


def test_a_run_is_gone_on_from_once_its_supervisor_has_died(tmp_path: Path) -> None:
    code = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from retrain.journal import Journal
from retrain.events import Inputs
journal = Journal.create(Path(sys.argv[1])); journal.write(Inputs({{"a": 1}}))
print("ready", flush=True); time.sleep(300)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    (tmp_path / "run" / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 1}) is None
    other.kill()
    other.communicate()
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 1}) == tmp_path / "run"
    assert resumable_run(tmp_path, tmp_path / "own", {"a": 2}) is None


@pytest.mark.parametrize("outcome", [None, *OUTCOMES])
def test_a_run_is_gone_on_from_unless_it_came_to_its_end_or_to_a_bug(
    tmp_path: Path, outcome: str | None
) -> None:
    folder = a_run(tmp_path, "20260101", outcome)
    goes_on = outcome not in ("accepted", "rejected", "bug")
    assert resumable_run(tmp_path, tmp_path / "own", INPUTS) == (folder if goes_on else None)


def test_the_newest_run_is_gone_on_from(tmp_path: Path) -> None:
    for name in ("20260102", "20260103", "20260101"):
        a_run(tmp_path, name)
    assert resumable_run(tmp_path, tmp_path / "own", INPUTS) == tmp_path / "20260103"


def test_a_newer_run_that_came_to_its_end_bars_the_way_to_older_ones(tmp_path: Path) -> None:
    a_run(tmp_path, "20260101")
    a_run(tmp_path, "20260102", "rejected")
    assert resumable_run(tmp_path, tmp_path / "own", INPUTS) is None


def test_runs_with_other_inputs_without_a_checkpoint_and_ones_own_are_passed_over(tmp_path: Path) -> None:
    oldest = a_run(tmp_path, "20260101")
    a_run(tmp_path, "20260102", inputs=INPUTS | {"SEED": 7})
    a_run(tmp_path, "20260103", checkpoints=0)
    (tmp_path / "20260104" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    own = a_run(tmp_path, "20260105")
    assert resumable_run(tmp_path, own, INPUTS) == oldest


# --- checkpoints that are of no use any more


def test_only_checkpoints_of_the_same_model_are_removed(tmp_path: Path) -> None:
    same = a_run(tmp_path, "20260101", inputs=INPUTS | {"SEED": 7})
    other = a_run(tmp_path, "20260102", inputs=INPUTS | {"HUB_MODEL_ID": "city/other"})
    (tmp_path / "20260103" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    remove_checkpoints(tmp_path, "city/model")
    assert not (same / "checkpoints").exists()
    assert (same / "events.jsonl").exists()
    assert (other / "checkpoints" / "checkpoint-0").exists()
    assert (tmp_path / "20260103" / "checkpoints" / "checkpoint-1").exists()


def test_checkpoints_of_a_run_that_lives_are_left(tmp_path: Path) -> None:
    living = Journal.create(tmp_path / "20260101")
    living.write(Inputs(INPUTS))
    (living.folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    remove_checkpoints(tmp_path, "city/model")
    assert (living.folder / "checkpoints" / "checkpoint-1").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user, root could not read either")
def test_a_folder_of_others_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """As the lost+found of a volume, for a process that is not root; it has checkpoints to be looked at."""
    with tempfile.TemporaryDirectory() as named:
        run_dir = Path(named)
        a_run(run_dir, "lost+found").chmod(0o700)
        run = a_run(run_dir, "20260101_000000_urgency_aaaa")
        for each in (run_dir, run, *run.rglob("*")):
            os.chown(each, 65534, 65534)
        os.seteuid(65534)
        try:
            assert resumable_run(run_dir, run_dir / "own", INPUTS) == run
            remove_checkpoints(run_dir, "city/model")
        finally:
            os.seteuid(0)
        assert not (run / "checkpoints").exists()
    assert "are passed over: lost+found" in caplog.text
