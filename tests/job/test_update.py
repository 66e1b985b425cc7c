"""An installation goes on after an update of its Space, also in the middle of a half-done release."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from retrain.hub.model_repo import ModelRepo
from retrain.hub.run_archive import RunArchive
from tests.conftest import SOURCE, City, split_rows

# The last commit before the program became one package.
BEFORE = "4845087d8972c456ec77ccaa713978c3c26e6255"


@pytest.fixture
def earlier_program(tmp_path: Path) -> Path:
    """The sources of that commit."""
    known = subprocess.run(["git", "cat-file", "-e", BEFORE], cwd=SOURCE, capture_output=True)
    if known.returncode:
        pytest.skip("the history of this clone does not reach back to it")
    folder = tmp_path / "earlier"
    folder.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE], cwd=SOURCE, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def test_a_release_that_the_earlier_program_left_half_done_is_finished(
    city: City, earlier_program: Path, unique_grievances: list[dict[str, Any]]
) -> None:
    """It is killed between the commit and the tag; its journal, archive and marks are read by this one."""
    city.push(split_rows(unique_grievances))
    city.serve_newest()
    poor = {"LEARNING_RATE": "1e-6", "ALLOW_FIRST_RELEASE": "true"}  # as the earlier program releases them
    first = city.end(city.start(real_start=True, source=earlier_program, **poor))
    assert first.record["outcome"] == "accepted", first.output

    better = {"NUM_TRAIN_EPOCHS": "12", "LEARNING_RATE": "0.002", "EARLY_STOPPING_PATIENCE": "9"}
    city.settings |= better | {"COMPARE_WITH": "hub", "ROLLOUT_TIMEOUT_MINUTES": "0.3"}
    held = city.hub.faults.add(path="/api/models/city/model/tag/", delay=60)
    job = city.start(real_start=True, source=earlier_program)
    assert held.met.wait(90)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)
    city.hub.faults.clear()

    run = city.run(NUM_TRAIN_EPOCHS="1", LEARNING_RATE="1e-6")
    assert run.record["outcome"] == "rejected", run.output
    warnings = " ".join(warning["message"] for warning in run.record["warnings"])
    assert "its tag was made, and the Space serves it now" in warnings
    repo = ModelRepo(city.api, "city/model")
    assert [version.verified for version in repo.versions()] == [True, True]
    assert repo.metadata()["previous_version"] == first.record["release"]["version_tag"]
    assert run.record["history"]["in_production"][0][1] == first.record["release"]["version_tag"]
    archived = RunArchive(city.api, "city/model").read()
    assert [each.outcome for each in archived] == ["accepted", "rejected"]
    assert archived[0].as_json().keys() == first.record.keys() - {"kept", "pausing", "paused"}


def test_a_training_that_the_earlier_program_was_interrupted_in_is_begun_anew(
    city: City, earlier_program: Path, unique_grievances: list[dict[str, Any]]
) -> None:
    city.push(split_rows(unique_grievances))
    city.serve_newest()
    long = {"NUM_TRAIN_EPOCHS": "60", "EVAL_STEPS": "5", "EARLY_STOPPING_PATIENCE": "99"}
    city.settings |= long | {"ALLOW_FIRST_RELEASE": "true"}
    job = city.start(real_start=True, source=earlier_program)
    city.wait_for(job, "progress", done=30)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)
    run = city.run()
    assert run.record["outcome"] == "accepted", run.output
    assert "resumed" not in run.record, "its checkpoint is one of another recipe"
