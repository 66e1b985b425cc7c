"""What a restart does: it goes on where a run was cut short, and repeats no finished one if asked not to."""

import os
import random
import signal
import subprocess
import sys
from typing import Any

from retrain.hub.run_archive import RunArchive
from retrain.journal import Journal
from tests.conftest import FIRST, SOURCE, City

Splits = dict[str, list[dict[str, Any]]]


LONG = {
    "NUM_TRAIN_EPOCHS": "30",
    "EVAL_STEPS": "10",
    "EARLY_STOPPING_PATIENCE": "30",
    "LEARNING_RATE": "0.002",
}


def test_a_run_that_is_killed_goes_on_at_the_restart_to_the_same_end(city: City, good_splits: Splits) -> None:
    """Of 120 steps; the step at which it is killed is another one each time."""
    city.push(good_splits)
    city.serve_newest()
    step = random.choice(range(20, 111, 2))
    job = city.start(real_start=True, ALLOW_FIRST_RELEASE="true", **LONG)
    cut_short = city.wait_for(job, "progress", done=step)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)

    run = city.run(ALLOW_FIRST_RELEASE="true", **LONG)
    assert run.exit_code == 0, (step, run.output)
    assert run.record["resumed"]["from"] == str(cut_short), step
    assert 0 < run.record["resumed"]["step"] <= step
    assert not list(city.root.glob("runs/*/checkpoints")), "nobody goes on from a finished run"

    unbroken = city.run(COMPARE_WITH="hub", RUN_DIR=str(city.root / "elsewhere"), **LONG, runs="elsewhere")
    assert "resumed" not in unbroken.record
    for event in ("test_scores", "validations", "training", "reliability"):
        assert run.record[event] == unbroken.record[event], (step, event)
    losses = [e.event for e in Journal(run.folder).read() if getattr(e.event, "loss", None) is not None]
    assert losses[0].done == 2, "the curve begins where the run that was cut short began"


def test_a_damaged_checkpoint_is_not_gone_on_from(city: City, good_splits: Splits) -> None:
    """One flipped bit in the optimizer's state, which no library would notice."""
    city.push(good_splits)
    city.serve_newest()
    job = city.start(ALLOW_FIRST_RELEASE="true", **LONG)
    cut_short = city.wait_for(job, "progress", done=30)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)
    (optimizer,) = (cut_short / "checkpoints").glob("*/optimizer.pt")
    content = bytearray(optimizer.read_bytes())
    content[len(content) // 2] ^= 1
    optimizer.write_bytes(content)
    run = city.run(ALLOW_FIRST_RELEASE="true", **LONG)
    assert run.exit_code == 0, run.output
    assert "resumed" not in run.record
    assert "not as it was saved: optimizer.pt): trained anew." in str(run.record["warnings"])


def test_other_settings_or_data_do_not_go_on_from_a_run_that_was_cut_short(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.serve_newest()
    job = city.start(ALLOW_FIRST_RELEASE="true", **LONG)
    city.wait_for(job, "progress", done=30)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=20)
    run = city.run(ALLOW_FIRST_RELEASE="true", **LONG | {"LEARNING_RATE": "0.001"})
    assert run.exit_code == 0, run.output
    assert "resumed" not in run.record


def test_an_unchanged_run_ends_at_once_if_asked_to_and_the_history_tells_all(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    city.serve_newest()
    city.api.create_repo("city/base")
    city.api.upload_folder(repo_id="city/base", folder_path=city.settings["MODEL_CHECKPOINT"])
    city.settings |= {"MODEL_CHECKPOINT": "city/base", "SKIP_UNCHANGED": "true", "COMPARE_WITH": "hub"}
    city.settings |= FIRST
    first = city.run()
    assert first.record["outcome"] == "accepted", first.output

    second = city.run(RUN_DIR=str(city.root / "new container"), runs="new container")
    assert (second.exit_code, second.record["outcome"]) == (0, "unchanged"), second.output
    assert first.folder.name in second.record["reasons"][0]
    assert "training" not in second.record
    assert city.paused

    city.api.upload_file(
        path_or_fileobj=b"[]", path_in_repo="20260101_by_hand/run.json", repo_id="city/model", revision="runs"
    )
    third = city.run(DECISION_THRESHOLD="0.9")
    assert third.record["outcome"] == "rejected", third.output

    runs = RunArchive(city.api, "city/model").read()
    assert [run.outcome for run in runs] == ["accepted", "rejected"], (
        "one that changed nothing, and what is no run, does not count"
    )
    assert third.record["history"]["in_production"][0][1] == first.record["release"]["version_tag"]
    files = city.api.list_repo_files("city/model", revision="runs")
    assert f"{first.folder.name}/report.html" in files
    assert f"unchanged/{second.folder.name}/run.json" in files
    assert not [name for name in files if name.endswith(".safetensors")]
    printed = subprocess.run(
        [sys.executable, "-m", "retrain", "history"],
        cwd=SOURCE,
        env=city.settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert printed.returncode == 0, printed.stderr
    for wanted in (first.folder.name, "success rate: 100%", "acceptance rate: 50%", "in production since"):
        assert wanted in printed.stdout
