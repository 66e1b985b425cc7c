"""Whatever becomes of the job's processes: it ends with an outcome, a cause and a pause."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.conftest import FIRST, City

Splits = dict[str, list[dict[str, Any]]]


# --- the whole job


LONG = {"NUM_TRAIN_EPOCHS": "100", "EVAL_STEPS": "10", "EARLY_STOPPING_PATIENCE": "99"}


def hold_api(city: City) -> threading.Event:
    """The live API answers nothing until this is set."""
    released = threading.Event()
    city.live_api.answer = lambda text: (released.wait(60), (503, {}))[1]
    return released


@pytest.mark.parametrize(
    ("stage", "signum"),
    [
        ("load data", signal.SIGTERM),
        ("load checkpoint", signal.SIGTERM),
        ("train", signal.SIGTERM),
        ("train", signal.SIGINT),
        ("evaluate", signal.SIGTERM),
        ("compare", signal.SIGTERM),
        ("release", signal.SIGTERM),
        ("roll out", signal.SIGTERM),
    ],
)
def test_a_signal_in_any_stage_ends_the_run_records_it_and_pauses(
    city: City, good_splits: Splits, stage: str, signum: signal.Signals
) -> None:
    city.push(good_splits)
    released, releasing = threading.Event(), stage in ("release", "roll out")
    settings = dict(LONG) if stage == "train" else {}
    if releasing:
        settings |= FIRST
        path = "/city/model/commit/main" if stage == "release" else "/spaces/city/inference/restart"
        city.hub.faults.add(method="POST", path=path, delay=20)
    else:
        city.publish_a_model()
        released = hold_api(city)
    # The others end in the same way, in whichever process they are.
    job = city.start(real_start=stage in ("load data", "train"), **settings)
    city.wait_for(job, "stage", name=stage)
    job.send_signal(signum)
    run = city.end(job)
    released.set()
    assert run.exit_code == 128 + signum, run.output
    assert run.record["outcome"] == "interrupted"
    assert f"{signum.name} was received" in run.output
    assert city.paused
    assert stage == "roll out" or city.nothing_published


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_job_whose_training_process_is_killed_fails_and_pauses(
    city: City, good_splits: Splits, signum: signal.Signals
) -> None:
    city.push(good_splits)
    job = city.start(real_start=True, ALLOW_FIRST_RELEASE="true", **LONG)
    city.wait_for(job, "stage", name="train")
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    (training,) = [
        int(pid) for pid in children if "model_pipeline.py" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(training, signum)
    run = city.end(job)
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert city.paused
    assert city.nothing_published
    assert (run.folder / "report.html").exists()
    assert run.record["kept"]["url"].endswith(f"{run.folder.name}/report.md")
    told = b"".join(file.read_bytes() for file in run.folder.glob("wandb/*/*.wandb"))
    assert b"Retraining the urgency model: failed" in told, "W&B hears of it from the supervisor"


MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.mark.skipif(not os.access(MEMORY / "tasks", os.W_OK), reason="no cgroup for memory can be made here")
def test_a_training_process_that_the_kernel_kills_for_memory_fails_the_run_and_pauses(
    city: City, good_splits: Splits
) -> None:
    city.push(good_splits)
    group = MEMORY / f"retrain-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(250 * 2**20))
        job = city.start(real_start=True, ALLOW_FIRST_RELEASE="true")
        (group / "cgroup.procs").write_text(str(job.pid))
        run = city.end(job)
        assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
        assert "killed, most likely for its memory" in run.record["reasons"][0]
        assert city.paused
    finally:
        group.rmdir()


def test_a_port_that_is_taken_is_told_and_pauses(city: City) -> None:
    with requests.Session() as session:
        run = city.run(PORT=str(city.live_api.server.server_port))
        assert session.post(city.live_api.url, json={"text": "x"}, timeout=5).ok
    assert (run.exit_code, run.record["outcome"]) == (2, "bad_settings")
    assert "can't be opened (Address already in use" in run.output
    assert city.paused


# --- the pause


def status_of(city: City) -> dict[str, Any]:
    return requests.get(f"http://127.0.0.1:{city.settings['PORT']}/api/status", timeout=5).json()


def test_a_pause_that_fails_for_good_keeps_the_process_up_and_says_so(city: City) -> None:
    city.hub.faults.add(path="/spaces/city/retrain/pause", status=503, times=None)
    job = city.start(SPACE_ID="city/retrain")  # there is no data set: it fails soon
    folder = city.wait_for(job, "pause_failed")
    assert job.poll() is None
    assert status_of(city)["pause_failed"] == "city/retrain"
    page = requests.get(f"http://127.0.0.1:{city.settings['PORT']}/", timeout=5).text
    assert "The Space is not paused and is still billed" in page
    assert json.loads((folder / "run.json").read_text())["pause_failed"]["space_id"] == "city/retrain"
    job.terminate()
    run = city.end(job)
    assert run.exit_code == 1
    assert "pause it by hand" in run.output
    assert not city.paused


def test_a_pause_that_fails_elsewhere_than_in_the_space_ends_the_process(city: City) -> None:
    """By `docker run`, or as a Job, which is billed for as long as it stays up."""
    city.hub.faults.add(path="/spaces/city/retrain/pause", status=403, times=None)
    run = city.run()
    assert (run.exit_code, run.record["outcome"]) == (1, "failed"), run.output
    assert run.record["pause_failed"]["space_id"] == "city/retrain"
    assert "pause it by hand in its settings" in run.output


def test_eight_signals_in_a_row_leave_no_process_behind(city: City, good_splits: Splits) -> None:
    city.push(good_splits)
    job = city.start(real_start=True, **FIRST | LONG)
    city.wait_for(job, "progress", stage="train")
    family = psutil.Process(job.pid).children(recursive=True)
    for signum in (signal.SIGTERM, signal.SIGINT) * 4:
        job.send_signal(signum)
    run = city.end(job)
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert run.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGINT), run.output
    assert run.record["outcome"] == "interrupted"
    assert city.paused
