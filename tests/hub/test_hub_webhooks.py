"""Webhooks of the local Hub that start Jobs, through the official client."""

import json

from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from tests.hub.test_job_host import ann, hub, run

__all__ = ["ann", "hub"]  # fixtures

SHOW_WEBHOOK = (
    "import os; print(*(os.environ.get(f'WEBHOOK_{n}') for n in 'REPO_ID REPO_TYPE SECRET PAYLOAD'.split()))"
)


def test_a_new_tag_starts_the_job_of_a_webhook(ann: HfApi, hub: LocalHub) -> None:
    ann.create_repo("ann/data", repo_type="dataset")
    source = run(ann, SHOW_WEBHOOK, secrets={"KEY": "of the source"}, timeout="2h")
    hub.job_host.jobs[source.id].wait()
    made = ann.create_webhook(
        job_id=source.id,
        watched=[{"type": "dataset", "name": "ann/data"}],
        domains=["repo"],
        secret="shared",
        secrets={"KEY": "of the webhook"},
    )
    assert made.job is not None
    assert (made.job.timeout, made.secret, made.disabled) == (7200, "shared", False)
    assert [each.id for each in ann.list_webhooks()] == [made.id]
    ann.create_tag("ann/data", tag="v1", repo_type="dataset")
    (started,) = [job for job in hub.job_host.jobs.values() if job.initiator["type"] == "webhook"]
    assert started.wait() == "COMPLETED"
    *_, line = started.log.splitlines()
    repo_id, repo_type, secret, payload = line.split(" ", 3)
    assert (repo_id, repo_type, secret) == ("ann/data", "dataset", "shared")
    assert started.spec["secrets"] == {"KEY": "of the webhook"}
    (updated,) = json.loads(payload)["updatedRefs"]
    assert (updated["ref"], updated["oldSha"]) == ("refs/tags/v1", None)


def test_only_what_a_webhook_watches_starts_its_job(ann: HfApi, hub: LocalHub) -> None:
    for name in ("ann/data", "ann/other"):
        ann.create_repo(name, repo_type="dataset")
    source = run(ann, "")
    made = ann.create_webhook(
        job_id=source.id, watched=[{"type": "dataset", "name": "ann/data"}], domains=["repo"], secret="s"
    )
    ann.create_tag("ann/other", tag="v1", repo_type="dataset")
    ann.disable_webhook(made.id)
    ann.create_tag("ann/data", tag="v1", repo_type="dataset")
    ann.enable_webhook(made.id)
    ann.delete_tag("ann/data", tag="v1", repo_type="dataset")
    (deleted,) = [job for job in hub.job_host.jobs.values() if job.initiator["type"] == "webhook"]
    assert json.loads(deleted.spec["extra"]["WEBHOOK_PAYLOAD"])["updatedRefs"][0]["newSha"] is None
    ann.delete_webhook(made.id)
    assert ann.list_webhooks() == []
