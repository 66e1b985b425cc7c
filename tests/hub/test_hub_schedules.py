"""Scheduled Jobs of the local Hub, through the official client."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, Volume
from huggingface_hub._jobs_api import ScheduledJobInfo  # not exported
from huggingface_hub.errors import HfHubHTTPError

from rehearsal.local_hub import LocalHub
from tests.hub.test_job_host import USERS, WAIT, ann, hub, log_of, python

__all__ = ["ann", "hub"]  # fixtures

# --- scheduled Jobs


def schedule(api: HfApi, code: str = "", when: str = "@daily", **options: object) -> ScheduledJobInfo:
    return api.create_scheduled_job(image="python:3.12", command=python(code), schedule=when, **options)


def test_a_scheduled_job_is_read_back_as_it_was_created(ann: HfApi) -> None:
    bucket = Volume(type="bucket", source="ann/runs", mount_path="/runs")
    made = schedule(
        ann,
        timeout="2h",
        env={"A": "b"},
        secrets={"K": "secret"},
        labels={"of": "x"},
        volumes=[bucket],
        attempts=3,
    )
    found = ann.inspect_scheduled_job(scheduled_job_id=made.id)
    spec = found.job_spec
    assert (found.schedule, found.suspend, found.concurrency) == ("@daily", False, False)
    assert (spec.timeout, spec.retry, spec.environment, spec.volumes) == (7200, 2, {"A": "b"}, [bucket])
    assert spec.labels is not None
    assert spec.labels["of"] == "x"
    assert "secret" not in repr(found).replace("secrets", "")
    assert found.status.next_job_run_at is not None
    assert found.status.next_job_run_at.hour == 0


def test_a_triggered_job_says_where_it_comes_from(ann: HfApi, hub: LocalHub) -> None:
    made = schedule(ann, "print('hello')")
    job = ann.trigger_scheduled_job(scheduled_job_id=made.id)
    assert job.initiator is not None
    assert (job.initiator.type, job.initiator.id) == ("scheduled-job", made.id)
    assert log_of(ann, job) == ["hello"]
    last = ann.inspect_scheduled_job(scheduled_job_id=made.id).status.last_job
    assert last is not None
    assert last.id == job.id


@pytest.mark.parametrize("concurrency", [True, False])
def test_a_second_trigger_waits_for_the_first_unless_several_are_allowed(
    ann: HfApi, concurrency: bool
) -> None:
    made = schedule(ann, WAIT, concurrency=concurrency)
    ann.trigger_scheduled_job(scheduled_job_id=made.id)
    if concurrency:
        ann.trigger_scheduled_job(scheduled_job_id=made.id)
    else:
        with pytest.raises(HfHubHTTPError, match="409"):
            ann.trigger_scheduled_job(scheduled_job_id=made.id)


def test_a_scheduled_job_is_changed_suspended_resumed_and_deleted(ann: HfApi) -> None:
    made = schedule(ann)
    which = {"scheduled_job_id": made.id}
    assert ann.update_scheduled_job_schedule(schedule="0 3 * * 1", **which).schedule == "0 3 * * 1"
    assert ann.update_scheduled_job_labels(labels={"of": "x"}, **which).job_spec.labels == {"of": "x"}
    ann.suspend_scheduled_job(**which)
    assert ann.inspect_scheduled_job(**which).suspend
    ann.resume_scheduled_job(**which)
    assert not ann.inspect_scheduled_job(**which).suspend
    assert [each.id for each in ann.list_scheduled_jobs(labels={"of": "x"})] == [made.id]
    ann.delete_scheduled_job(**which)
    assert ann.list_scheduled_jobs() == []


@pytest.mark.parametrize("when", ["daily", "@often", "0 3 * *", "0 3 * * 1 7", "; rm"])
def test_what_is_no_schedule_is_refused(ann: HfApi, when: str) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid schedule"):
        schedule(ann, when=when)


def test_scheduled_jobs_outlive_a_restart_of_the_server(tmp_path: Path) -> None:
    for _ in range(2):
        with LocalHub(tmp_path / "hub", USERS) as hub:
            schedule(HfApi(endpoint=hub.url, token="hf_ann"))
    with LocalHub(tmp_path / "hub", USERS) as hub:
        assert len(HfApi(endpoint=hub.url, token="hf_ann").list_scheduled_jobs()) == 2


def test_a_hub_that_loses_time_outs_says_so_to_who_asks(ann: HfApi, hub: LocalHub) -> None:
    hub.jobs.keeps_timeouts = False
    assert schedule(ann, timeout="2h").job_spec.timeout is None
