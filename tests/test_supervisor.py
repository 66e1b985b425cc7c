"""Whatever becomes of the training process or of us: an outcome, a cause, a pause and an end.

Some children here are small real processes in place of the training; the rest is the whole job.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.journal import Journal, run_record
from retrain.lifecycle.ending import pause_or_stay
from retrain.lifecycle.supervisor import Limits, run_child
from tests.conftest import CITY, SOURCE, USERS, City

Splits = dict[str, list[dict[str, Any]]]
PATIENT = Limits(max_run_minutes=10, stall_minutes=10)
JOURNALLING = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from journal import Journal
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


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [journal.write("x", n=n) for n in range(200)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert sorted(event["n"] for event in journal.read()) == sorted([*range(200)] * 4)


def test_a_run_folder_is_in_use_as_long_as_its_supervisor_lives(tmp_path: Path) -> None:
    from retrain.journal import resumable_run

    code = f"""
import sys, time; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path; from journal import Journal
journal = Journal.create(Path(sys.argv[1])); journal.write("inputs", a=1)
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


# --- the disk


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_journal_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], check=True)
    try:
        journal = Journal.create(small / "run")

        def fill(name: str) -> None:
            with (small / name).open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(bytes(4096)):
                    pass

        fill("first")
        written = [f"{i} " + "x" * 3000 for i in range(60)]
        for i, message in enumerate(written):
            journal.warn(message)
            if i == 20:  # the ballast is given back by now, and somebody else takes it
                fill("second")
        assert [event["message"] for event in journal.read()] == written
        assert len(journal.path.read_text().splitlines()) < len(written)
        (small / "first").unlink()
        journal.write("outcome", outcome="failed", reasons=["The disk is full."])
        assert len(journal.path.read_text().splitlines()) == len(written) + 1
        assert journal.write_run_record()["outcome"] == "failed"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)  # the journal holds its folder


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
        settings["ALLOW_FIRST_RELEASE"] = "true"
        path = "/city/model/commit/main" if stage == "release" else "/spaces/city/inference/restart"
        city.hub.faults.add(method="POST", path=path, delay=20)
    else:
        city.publish_a_model()
        released = hold_api(city)
    job = city.start(**settings)
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
    job = city.start(ALLOW_FIRST_RELEASE="true", **LONG)
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
    assert run.record["kept"]["url"].endswith(run.folder.name)
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
        job = city.start(ALLOW_FIRST_RELEASE="true")
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
    job = city.start()  # there is no data set: it fails soon
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


def test_a_pause_is_tried_again_until_it_is_done(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/retrain", repo_type="space", space_sdk="docker")
        hub.faults.add(path="/pause", status=403, times=2)
        journal, told = Journal.create(tmp_path / "run"), []
        pause_or_stay(api, "city/retrain", journal, lambda: told.append(1), again_seconds=0.05)
        assert told == [1]
        assert api.get_space_runtime("city/retrain").stage == "PAUSED"
        assert "pause_failed" not in run_record(journal.read())


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
