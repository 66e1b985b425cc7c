"""Webhooks on the Hub that start a Job when a data set changes."""

from dataclasses import dataclass, field

from huggingface_hub import HfApi, WebhookInfo
from huggingface_hub._jobs_api import JobSpec  # not exported

from retrain.errors import HubError
from retrain.hub.client import hub_errors
from retrain.hub.jobs import HasId, JobPlan, Jobs, in_minutes, once


@dataclass(frozen=True)
class Webhook:
    """A webhook on the Hub that starts a Job."""

    id: str
    watched: tuple[str, ...]
    disabled: bool
    spec: JobSpec = field(repr=False)


class Webhooks:
    """The webhooks of the token's account that start a certain Job: those with the same value of a variable.

    Its methods raise HubError if the Hub refuses.
    """

    def __init__(self, api: HfApi, jobs: Jobs, variable: str, value: str) -> None:
        self._api, self._jobs = api, jobs
        self._variable, self._value = variable, value

    def list(self) -> list[Webhook]:
        """One, unless something went wrong."""
        with hub_errors("list the webhooks of", self._api.endpoint):
            found = self._api.list_webhooks()
        parsed = (_webhook(each) for each in found)
        return [each for each in parsed if each and self._is_ours(each.spec)]

    def create(self, plan: JobPlan, dataset: str, secret: str) -> Webhook:
        """Have a change of a data set start the planned Job, which is given this secret.

        The Hub copies the Job of a webhook from one that was started, without its volumes. That one is
        cancelled at once.

        Raises:
            HubError: it was refused, or the Hub kept a shorter time-out; then the webhook is deleted.
        """
        known = {each.id for each in self.list()}
        source = self._jobs.start(plan)

        def create() -> HasId:
            return self._api.create_webhook(
                job_id=source.id,
                watched=[{"type": "dataset", "name": dataset}],
                domains=["repo"],
                secret=secret,
                secrets=dict(plan.secrets),
            )

        def look() -> list[HasId]:
            return [each for each in self.list() if each.id not in known]

        try:
            made = once(f"create a webhook on {dataset}", create, look, self.remove)
        finally:
            self._jobs.cancel(source.id)
        (webhook,) = [each for each in self.list() if each.id == made.id]
        kept = webhook.spec.timeout
        if kept is not None and kept < plan.timeout_seconds:
            self.remove(webhook.id)
            raise HubError(
                "The webhook was made, but the time-out of its Job was not kept: "
                f"{in_minutes(plan.timeout_seconds)} were asked for, and the Hub has {in_minutes(kept)}. It "
                "was deleted; the schedule does without it."
            )
        return webhook

    def remove(self, webhook_id: str) -> None:
        """Delete a webhook."""
        with hub_errors("delete the webhook", webhook_id):
            self._api.delete_webhook(webhook_id)

    def _is_ours(self, spec: JobSpec) -> bool:
        return bool((spec.environment or {}).get(self._variable) == self._value)


def _webhook(info: WebhookInfo) -> Webhook | None:
    if info.job is None:
        return None
    return Webhook(info.id, tuple(each.name for each in info.watched), info.disabled, info.job)
