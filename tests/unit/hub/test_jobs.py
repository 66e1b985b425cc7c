"""Scheduled Jobs: created once whatever the Hub answers, read back, changed; and a Job's own time-out."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import HubError
from retrain.hub.client import connect
from retrain.hub.jobs import JobPlan, Jobs, own_timeout
from tests.conftest import CITY, STRANGER, USERS

PLAN = JobPlan(
    purpose="city-model-urgency",
    image="hf.co/spaces/city/retrain",
    command=("python", "train_model.py"),
    variables={"LABEL": "urgency"},
    secrets={"HF_TOKEN": CITY},
    hardware="cpu-basic",
    timeout_seconds=7200,
    bucket=("city/runs", "/runs"),
)
CREATION = r"/api/scheduled-jobs/city$"


@pytest.fixture
def jobs(api: HfApi) -> Jobs:
    return Jobs(api, "city")


def test_a_scheduled_job_is_on_the_hub_as_it_was_planned(hub: LocalHub, jobs: Jobs) -> None:
    made = jobs.schedule(PLAN, "@daily")
    (found,) = jobs.scheduled(PLAN.purpose)
    assert found == made
    assert (found.when, found.suspended) == ("@daily", False)
    assert PLAN.differs_from(found.spec) == []
    (record,) = hub.jobs.scheduled.all.values()
    assert record["spec"]["secrets"] == {"HF_TOKEN": CITY}
    assert record["concurrency"] is False


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("image", {"image": "ghcr.io/city/retrain:cpu"}),
        ("command", {"command": ("python", "other.py")}),
        ("variables", {"variables": {"LABEL": "department"}}),
        ("hardware", {"hardware": "t4-small"}),
        ("time-out", {"timeout_seconds": 3600}),
        ("bucket", {"bucket": None}),
    ],
)
def test_what_differs_from_the_plan_is_named(jobs: Jobs, what: str, other: dict) -> None:
    found = jobs.schedule(PLAN, "@daily")
    assert replace(PLAN, **other).differs_from(found.spec) == [what]


def test_other_jobs_of_the_account_are_not_ours(api: HfApi, jobs: Jobs) -> None:
    jobs.schedule(replace(PLAN, purpose="city-model-department"), "@daily")
    api.create_scheduled_job(image="x", command=["true"], schedule="@daily")
    assert jobs.scheduled(PLAN.purpose) == []


def test_a_schedule_is_changed_resumed_and_removed(api: HfApi, jobs: Jobs) -> None:
    made = jobs.schedule(PLAN, "@daily")
    api.suspend_scheduled_job(scheduled_job_id=made.id)
    jobs.reschedule(made.id, "0 3 * * 1")
    (found,) = jobs.scheduled(PLAN.purpose)
    assert (found.when, found.suspended) == ("0 3 * * 1", True)
    jobs.resume(made.id)
    assert not jobs.scheduled(PLAN.purpose)[0].suspended
    jobs.remove(made.id)
    assert jobs.scheduled(PLAN.purpose) == []


# --- faults


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {}], ids=["500", "503", "no answer"])
def test_a_creation_that_failed_although_the_job_was_made_makes_one(
    hub: LocalHub, jobs: Jobs, fault: dict
) -> None:
    hub.faults.add(path=CREATION, method="POST", lose_answer=True, **fault)
    made = jobs.schedule(PLAN, "@daily")
    assert [each.id for each in jobs.scheduled(PLAN.purpose)] == [made.id]


def test_a_creation_that_failed_and_made_nothing_is_repeated(hub: LocalHub, jobs: Jobs) -> None:
    hub.faults.add(path=CREATION, method="POST", status=500)
    made = jobs.schedule(PLAN, "@daily")
    assert [each.id for each in jobs.scheduled(PLAN.purpose)] == [made.id]


def test_a_job_that_shows_up_after_the_second_try_is_removed(hub: LocalHub, jobs: Jobs) -> None:
    """The first creation was done, but neither answered nor listed before the second."""
    hub.faults.add(path=CREATION, method="POST", status=500, lose_answer=True)
    listing = r"/api/scheduled-jobs/city$"
    hub.faults.add(path=listing, method="GET", status=200, times=2)  # an empty answer: nothing is found
    made = jobs.schedule(PLAN, "@daily")
    assert [each.id for each in jobs.scheduled(PLAN.purpose)] == [made.id]
    creations = [each for each in hub.requests if each.method == "POST" and each.path.endswith("/city")]
    assert len(creations) == 2


def test_a_creation_that_fails_for_good_is_an_error(hub: LocalHub, jobs: Jobs) -> None:
    fault = hub.faults.add(path=CREATION, method="POST", status=500, times=None)
    with pytest.raises(HubError, match=r"Could not schedule a Job in city: the Hub is overloaded or down"):
        jobs.schedule(PLAN, "@daily")
    assert fault.hits == 3
    assert jobs.scheduled(PLAN.purpose) == []


def test_a_refused_creation_is_not_repeated(hub: LocalHub) -> None:
    stranger = Jobs(HfApi(endpoint=hub.url, token=STRANGER), "city")
    with pytest.raises(HubError, match="lacks the permission"):
        stranger.schedule(PLAN, "@daily")
    assert sum(each.method == "POST" for each in hub.requests) == 1


def test_a_refusal_for_lack_of_credit_says_what_to_do(hub: LocalHub, jobs: Jobs) -> None:
    hub.faults.add(path=CREATION, method="POST", status=402)
    with pytest.raises(HubError, match=r"it has to be paid for\. Add credit to the account that owns it"):
        jobs.schedule(PLAN, "@daily")


def test_a_time_out_that_was_not_kept_is_an_error_and_leaves_no_job(hub: LocalHub, jobs: Jobs) -> None:
    hub.jobs.keeps_timeouts = False
    with pytest.raises(
        HubError, match=r"time-out was not kept: 120 minutes were asked for, and the Hub has none"
    ):
        jobs.schedule(PLAN, "@daily")
    assert jobs.scheduled(PLAN.purpose) == []


def test_our_own_client_does_not_repeat_a_creation_by_itself(hub: LocalHub) -> None:
    connect(CITY)
    hub.faults.add(path=CREATION, method="POST", status=500, lose_answer=True)
    jobs = Jobs(HfApi(endpoint=hub.url, token=CITY), "city")
    jobs.schedule(PLAN, "@daily")
    assert len(jobs.scheduled(PLAN.purpose)) == 1


# --- a Job run now


def test_a_job_that_was_started_although_the_hub_answered_500_is_started_once(
    hub: LocalHub, jobs: Jobs
) -> None:
    hub.faults.add(path=r"/api/jobs/city$", method="POST", status=500, lose_answer=True)
    made = jobs.start(PLAN)
    assert list(hub.job_host.jobs) == [made.id]
    jobs.cancel(made.id)
    assert hub.job_host.jobs[made.id].stage == "CANCELED"


# --- a Job's own time-out


def test_a_job_of_a_schedule_reads_its_own_time_out(api: HfApi, jobs: Jobs) -> None:
    job = api.trigger_scheduled_job(scheduled_job_id=jobs.schedule(PLAN, "@daily").id)
    assert own_timeout(api, job.id) == 7200


def test_a_job_of_a_schedule_without_a_time_out_has_half_an_hour(api: HfApi) -> None:
    scheduled = api.create_scheduled_job(image="x", command=["true"], schedule="@daily")
    job = api.trigger_scheduled_job(scheduled_job_id=scheduled.id)
    assert own_timeout(api, job.id) == 1800


def test_a_job_of_an_organisation_is_found_there(tmp_path: Path) -> None:
    users = {CITY: USERS[CITY] | {"orgs": ["ministry"]}}
    with LocalHub(tmp_path / "hub", users) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        made = Jobs(api, "ministry").schedule(PLAN, "@daily")
        job = api.trigger_scheduled_job(scheduled_job_id=made.id, namespace="ministry")
        assert own_timeout(api, job.id) == 7200


def test_the_time_out_of_a_job_started_otherwise_is_not_known(api: HfApi) -> None:
    assert own_timeout(api, api.run_job(image="x", command=["true"], timeout="2h").id) is None
    assert own_timeout(api, "no-such-job") is None
