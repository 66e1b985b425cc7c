"""Jobs of the local Hub, as real processes, through the official client."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, JobInfo
from huggingface_hub.errors import HfHubHTTPError, JobNotFoundError

from rehearsal.local_hub import LocalHub

SPACE = "ann/job"
IMAGE = f"hf.co/spaces/{SPACE}"
USERS = {
    "hf_ann": {"name": "ann", "fullname": "Ann", "orgs": ["city"]},
    "hf_bob": {"name": "bob", "fullname": "Bob", "orgs": []},
    "hf_reader": {"name": "ann", "fullname": "Ann", "orgs": ["city"], "role": "read"},
}
SHOW = "import json, os; print(json.dumps([dict(os.environ), sorted(os.listdir())]))"
WAIT = "import signal; print('waiting', flush=True); signal.pause()"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as running:
        yield running


@pytest.fixture
def ann(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_ann")


def python(code: str) -> list[str]:
    return ["python", "-c", code]


def run(api: HfApi, code: str, **options: object) -> JobInfo:
    return api.run_job(image="python:3.12", command=python(code), namespace="ann", **options)


def log_of(api: HfApi, job: JobInfo) -> list[str]:
    """Its lines, followed to the Job's end."""
    return list(api.fetch_job_logs(job_id=job.id, namespace="ann", follow=True))


def stage_of(api: HfApi, hub: LocalHub, job: JobInfo) -> str:
    """Its stage at its end, as the client sees it."""
    hub.job_host.jobs[job.id].wait()
    return str(api.inspect_job(job_id=job.id, namespace="ann").status.stage)


# --- the environment


def test_a_job_of_a_space_runs_in_a_checkout_with_exactly_its_environment(
    ann: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS_ALONE", "leaked")
    ann.create_repo(SPACE, repo_type="space", space_sdk="docker")
    ann.pause_space(SPACE)
    ann.add_space_variable(SPACE, "OF_THE_SPACE", "not of its Jobs")
    dockerfile = CommitOperationAdd("Dockerfile", b'ENV MODE=image KIND=image\nCMD ["python", "other.py"]\n')
    ann.create_commit(SPACE, [dockerfile], commit_message="image", repo_type="space")
    job = ann.run_job(image=IMAGE, command=python(SHOW), env={"MODE": "job"}, secrets={"HF_TOKEN": "secret"})
    assert (job.space_id, job.docker_image, job.flavor) == (SPACE, None, "cpu-basic")
    environment, folder = json.loads(log_of(ann, job)[0])
    assert folder == [".gitattributes", "Dockerfile"]
    environment.pop("LC_CTYPE", None)  # CPython adds it to itself in some locales
    assert environment.pop("HOME") != os.environ["HOME"]
    assert environment.pop("CPU_CORES").isdigit()
    assert environment.pop("MEMORY").removesuffix("Gi").isdigit()
    assert "PATH" in environment
    del environment["PATH"]
    assert environment == {
        "MODE": "job",
        "KIND": "image",
        "HF_TOKEN": "secret",
        "LANG": "C.UTF-8",
        "JOB_ID": job.id,
        "ACCELERATOR": "none",
    }


def test_the_accelerator_is_the_hardware_that_was_asked_for(ann: HfApi) -> None:
    job = run(ann, "import os; print(os.environ['ACCELERATOR'])", flavor="t4-small")
    assert log_of(ann, job) == ["t4-small"]


def test_no_secret_comes_back_with_its_value(ann: HfApi) -> None:
    job = run(ann, "", secrets={"KEY": "very secret"}, env={"A": "b"})
    assert "very secret" not in repr(ann.inspect_job(job_id=job.id))
    assert job.environment == {"A": "b"}


# --- the end


@pytest.mark.parametrize(("code", "stage"), [("", "COMPLETED"), ("raise SystemExit(3)", "ERROR")])
def test_the_stage_at_the_end_follows_from_the_exit_code(
    ann: HfApi, hub: LocalHub, code: str, stage: str
) -> None:
    job = run(ann, code)
    assert ann.wait_for_job(job.id, namespace="ann", poll_interval=0.05).status.stage == stage
    message = ann.inspect_job(job_id=job.id).status.message
    assert message == (None if stage == "COMPLETED" else "Job failed with exit code: 3. Reason: Error")


def test_a_job_whose_time_is_up_is_ended_with_its_children_even_if_they_ignore_sigterm(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "held")
    reading_end = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    stubborn = (
        "import os, signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"held = os.open({str(tmp_path / 'held')!r}, os.O_WRONLY);"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], pass_fds=[held]);"
        "signal.pause()"
    )
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True, space_grace_seconds=0.2) as hub:
        ann = HfApi(endpoint=hub.url, token="hf_ann")
        job = run(ann, stubborn, timeout="2s")
        assert stage_of(ann, hub, job) == "ERROR"
        assert ann.inspect_job(job_id=job.id).status.message == "Job timeout"
        os.set_blocking(reading_end, True)
        assert os.read(reading_end, 1) == b""  # waits until the last process that holds the other end is gone
    os.close(reading_end)


def test_a_job_without_a_time_out_has_half_an_hour(ann: HfApi, hub: LocalHub) -> None:
    from rehearsal.job_host import TIMEOUT_SECONDS

    job = run(ann, "")
    assert "timeoutSeconds" not in hub.job_host.jobs[job.id].spec
    assert TIMEOUT_SECONDS == 1800


def test_a_cancelled_job_is_ended(ann: HfApi, hub: LocalHub) -> None:
    job = run(ann, WAIT)
    lines = iter(ann.fetch_job_logs(job_id=job.id, namespace="ann", follow=True))
    assert next(lines) == "waiting"
    ann.cancel_job(job_id=job.id)
    assert stage_of(ann, hub, job) == "CANCELED"
    assert list(lines) == []


def test_a_job_that_fails_is_tried_as_often_as_was_asked(ann: HfApi, hub: LocalHub) -> None:
    once = "import pathlib; p = pathlib.Path('tried'); was = p.exists(); p.touch(); raise SystemExit(not was)"
    job = run(ann, once, attempts=2)
    assert job.retry == 1
    assert stage_of(ann, hub, job) == "COMPLETED"


def test_a_command_that_does_not_exist_is_an_error(ann: HfApi, hub: LocalHub) -> None:
    job = ann.run_job(image="python:3.12", command=["no-such-program"])
    assert stage_of(ann, hub, job) == "ERROR"


def test_a_job_of_a_space_that_is_not_there_is_an_error(ann: HfApi, hub: LocalHub) -> None:
    job = ann.run_job(image="hf.co/spaces/ann/absent", command=python(""))
    assert stage_of(ann, hub, job) == "ERROR"


def test_closing_the_hub_ends_its_jobs(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as hub:
        ann = HfApi(endpoint=hub.url, token="hf_ann")
        job = run(ann, WAIT)
    assert hub.job_host.jobs[job.id].stage == "CANCELED"


# --- looking at Jobs


def test_jobs_are_listed_newest_first_by_stage_and_label(ann: HfApi, hub: LocalHub) -> None:
    first, second = (run(ann, "", labels={"of": name}) for name in ("urgency", "department"))
    for job in (first, second):
        hub.job_host.jobs[job.id].wait()
    ann = HfApi(endpoint=hub.url, token="hf_ann")
    assert [job.id for job in ann.list_jobs(namespace="ann")] == [second.id, first.id]
    assert [job.id for job in ann.list_jobs(namespace="ann", labels={"of": "urgency"})] == [first.id]
    assert list(ann.list_jobs(namespace="ann", status="RUNNING")) == []


def test_a_job_has_a_name_labels_and_an_initiator(ann: HfApi) -> None:
    job = run(ann, "", name="retrain", labels={"of": "urgency"})
    assert job.labels == {"of": "urgency", "name": "retrain"}
    assert job.initiator is not None
    assert (job.initiator.type, job.initiator.name) == ("user", "ann")
    assert ann.update_job_labels(job_id=job.id, labels={"of": "x"}).labels == {"of": "x"}
    assert ann.rerun_job(job_id=job.id).initiator.type == "duplicated-job"


def test_the_last_lines_of_a_log_are_those_asked_for(ann: HfApi, hub: LocalHub) -> None:
    job = run(ann, "print('a'); print('b'); print('c')")
    hub.job_host.jobs[job.id].wait()
    # Without `follow` the client takes five silent seconds, as on a busy machine, for the end of the log.
    lines = ann.fetch_job_logs(job_id=job.id, namespace="ann", tail=2, follow=True)
    assert list(lines) == ["b", "c"]


def test_the_hardware_is_listed(ann: HfApi) -> None:
    assert "cpu-basic" in [each.name for each in ann.list_jobs_hardware()]


def test_a_job_that_is_not_there_is_not_found(ann: HfApi) -> None:
    with pytest.raises(JobNotFoundError):
        ann.inspect_job(job_id="no-such-job")


def test_jobs_are_for_their_owners(ann: HfApi, hub: LocalHub) -> None:
    job = run(ann, "")
    bob, reader = (HfApi(endpoint=hub.url, token=token) for token in ("hf_bob", "hf_reader"))
    with pytest.raises(JobNotFoundError):
        bob.inspect_job(job_id=job.id, namespace="ann")
    for other in (bob, reader):
        with pytest.raises(HfHubHTTPError, match="403"):
            run(other, "")
    assert ann.run_job(image="x", command=["true"], namespace="city").owner.name == "city"


@pytest.mark.parametrize(
    "wrong", [{"labels": {"of": "a/b"}}, {"labels": {"a b": "c"}}, {"labels": {"a": "x" * 101}}]
)
def test_labels_of_other_characters_are_refused(ann: HfApi, wrong: dict) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid job: label"):
        run(ann, "", **wrong)
