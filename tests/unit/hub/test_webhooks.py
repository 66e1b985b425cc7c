"""A webhook on the data set that starts a Job: made once, with the secrets and without a Job that goes on."""

from dataclasses import replace

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import HubError
from retrain.hub.jobs import Jobs
from retrain.hub.webhooks import Webhooks
from tests.conftest import CITY
from tests.unit.hub.test_jobs import PLAN

OURS = replace(PLAN, variables={"LABEL": "urgency", "HUB_MODEL_ID": "city/model"})


@pytest.fixture
def webhooks(api: HfApi) -> Webhooks:
    api.create_repo("city/data", repo_type="dataset")
    return Webhooks(api, Jobs(api, "city"), "HUB_MODEL_ID", "city/model")


def test_a_webhook_watches_the_data_set_and_starts_the_planned_job(
    hub: LocalHub, api: HfApi, webhooks: Webhooks
) -> None:
    made = webhooks.create(OURS, "city/data", "shared")
    assert webhooks.list() == [made]
    assert made.watched == ("city/data",)
    assert replace(OURS, bucket=None).differs_from(made.spec) == []
    (source,) = hub.job_host.jobs.values()
    assert source.stage == "CANCELED"
    api.create_tag("city/data", tag="v20250101_000000", repo_type="dataset")
    (_, started) = hub.job_host.jobs.values()
    assert started.spec["secrets"] == {"HF_TOKEN": CITY}
    assert started.spec["extra"]["WEBHOOK_SECRET"] == "shared"


def test_other_webhooks_of_the_account_are_not_ours(api: HfApi, webhooks: Webhooks) -> None:
    watched = [{"type": "dataset", "name": "city/data"}]
    api.create_webhook(url="https://elsewhere.example/", watched=watched)
    api.create_webhook(job_id=api.run_job(image="x", command=["true"]).id, watched=watched)
    assert webhooks.list() == []


def test_a_creation_that_answered_500_although_it_was_done_makes_one(
    hub: LocalHub, webhooks: Webhooks
) -> None:
    hub.faults.add(path="/api/settings/webhooks$", method="POST", status=500, lose_answer=True)
    made = webhooks.create(OURS, "city/data", "shared")
    assert webhooks.list() == [made]
    webhooks.remove(made.id)
    assert webhooks.list() == []


def test_the_started_job_is_cancelled_even_if_the_webhook_is_refused(
    hub: LocalHub, webhooks: Webhooks
) -> None:
    hub.faults.add(path="/api/settings/webhooks$", method="POST", status=403)
    with pytest.raises(HubError, match="Could not create a webhook on city/data"):
        webhooks.create(OURS, "city/data", "shared")
    assert [job.stage for job in hub.job_host.jobs.values()] == ["CANCELED"]


def test_a_shorter_time_out_is_an_error_and_leaves_no_webhook(hub: LocalHub, webhooks: Webhooks) -> None:
    hub.jobs.webhook_timeout = 1800
    with pytest.raises(HubError, match=r"120 minutes were asked for, and the Hub has 30 minutes"):
        webhooks.create(OURS, "city/data", "shared")
    assert webhooks.list() == []
