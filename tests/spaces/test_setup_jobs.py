"""Runs as Jobs, set up and scheduled by command, against the local Hub."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.local_hub import LocalHub
from rehearsal.world import push_splits
from tests.conftest import CITY, USERS, tiny_splits
from tests.spaces.test_setup_spaces import SetUp

JOB = {"HOST": "job", "JOB_IMAGE": "ghcr.io/city/retrain:cpu"}
URGENCY = {"LABEL": "urgency"}


@pytest.fixture
def set_up(tmp_path: Path) -> Iterator[SetUp]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        yield SetUp(tmp_path, hub)


def schedule(set_up: SetUp, *arguments: str, **settings: str) -> str:
    """`python -m retrain schedule`, which must succeed; returns what it prints."""
    done = set_up.run("schedule", *arguments, "--env-file", str(set_up.write(**settings)))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_jobs_the_set_up_schedules_instead_of_creating_a_space(set_up: SetUp) -> None:
    planned = set_up(**JOB)
    assert planned.returncode == 0, planned.stderr
    assert re.search(
        r"would: schedule the Job city-urgency-model-\w+ @daily \(it is not there\)", planned.stdout
    )
    assert not set_up.hub.jobs.scheduled.all
    done = set_up("--yes", **JOB)
    assert done.returncode == 0, done.stderr
    assert CITY not in done.stdout
    assert not set_up.api.repo_exists("city/urgency-retrain", repo_type="space")
    specs = [each["spec"] for each in set_up.hub.jobs.scheduled.all.values()]
    assert [spec["environment"]["LABEL"] for spec in specs] == ["urgency", "department"]
    assert {spec["flavor"] for spec in specs} == {"cpu-upgrade"}
    again = set_up("--yes", **JOB)
    assert "done:" not in again.stdout, again.stdout


def test_with_a_space_a_job_is_scheduled_only_if_that_is_set(set_up: SetUp) -> None:
    assert "schedule" not in set_up(**URGENCY).stdout
    assert " @hourly (it is not there)" in set_up(**URGENCY, SCHEDULE="@hourly").stdout


def test_a_job_is_scheduled_listed_run_and_removed_by_command(set_up: SetUp) -> None:
    assert "done: schedule the Job" in schedule(set_up, "@daily", **URGENCY)
    assert "everything is as it should be" in schedule(set_up, "@daily", **URGENCY)
    assert "@weekly, not @daily" in schedule(set_up, "@weekly", **URGENCY)
    assert ": @weekly" in schedule(set_up, "--list", **URGENCY)
    (made,) = set_up.hub.jobs.scheduled.all
    assert re.search(r"runs now: http://\S+/jobs/city/\w{24}", schedule(set_up, "now", **URGENCY))
    (job,) = set_up.hub.job_host.jobs.values()
    assert job.initiator == {"type": "scheduled-job", "id": made}
    assert f"done: delete the scheduled Job {made}" in schedule(set_up, "--remove", **URGENCY)
    assert "nothing is scheduled" in schedule(set_up, "--list", **URGENCY)
    assert "nothing is scheduled" in schedule(set_up, "--remove", **URGENCY)


def test_a_new_version_starts_a_job_by_command(set_up: SetUp) -> None:
    push_splits(set_up.api, "city/urgency-data", tiny_splits(), "v20250101_000000")
    said = schedule(set_up, "--on-new-version", **URGENCY)
    assert "for each new version of city/urgency-data" in said
    (webhook,) = set_up.hub.jobs.webhooks.all.values()
    assert webhook["secret"] not in said
    assert f"webhook {webhook['id']}" in schedule(set_up, "--list", **URGENCY)


def test_the_check_shows_the_schedule_and_what_is_wrong_with_it(set_up: SetUp) -> None:
    jobs = JOB | URGENCY
    assert "retrain setup --yes would: schedule the Job" in set_up(command="check", **jobs).stdout
    schedule(set_up, "@daily", **jobs)
    checked = set_up(command="check", **jobs).stdout
    assert "ok  runs by schedule: scheduled Job" in checked
    assert "would: schedule" not in checked


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("often",), "The schedule 'often' should be one of @annually"),
        (("--list", "--remove"), "--list and --remove stand without a schedule"),
        (("@daily", "--remove"), "--list and --remove stand without a schedule"),
    ],
)
def test_a_call_that_can_not_be_used_changes_nothing(
    set_up: SetUp, arguments: tuple[str, ...], fault: str
) -> None:
    done = set_up.run("schedule", *arguments, "--env-file", str(set_up.write(**URGENCY)))
    assert done.returncode == 2
    assert fault in done.stderr
    assert not set_up.hub.jobs.scheduled.all


def test_a_time_out_that_the_hub_did_not_keep_is_something_wrong(set_up: SetUp) -> None:
    set_up.hub.jobs.keeps_timeouts = False
    done = set_up.run("schedule", "@daily", "--env-file", str(set_up.write(**URGENCY)))
    assert done.returncode == 1
    assert "its time-out was not kept: 735 minutes were asked for" in done.stderr
    assert not set_up.hub.jobs.scheduled.all
