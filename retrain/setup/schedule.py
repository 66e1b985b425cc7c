"""Runs as Jobs of the Hub: what the scheduled Job and the webhook of an installation should be.

The Job has the image, the command, the variables and the secrets that the retrain Space has, or would have.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from secrets import token_hex
from typing import TYPE_CHECKING

from configs import JOB_MARGIN_MINUTES, get_config
from retrain.errors import SettingsError
from retrain.hub.jobs import JOB_HARDWARE, SPACE_IMAGE, JobPlan, Jobs, Scheduled
from retrain.hub.webhooks import Webhook, Webhooks
from retrain.lifecycle.webhook import EXPECTED_SECRET
from retrain.setup.installation import (
    BUILD,
    JOB_BUCKET,
    JOB_IMAGE,
    SCHEDULE,
    SECRETS,
    VARIABLES,
    hardware_of,
)
from retrain.setup.plan import Step

if TYPE_CHECKING:
    from huggingface_hub import HfApi

COMMAND = ("python", "train_model.py")  # the image's own, which a Job has to give
WORKDIR = PurePosixPath("/app")  # the image's
DAILY = "@daily"
NAMED = ("@annually", "@yearly", "@monthly", "@weekly", DAILY, "@hourly")
_FIELD = r"(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?"
_CRON = re.compile(rf"{_FIELD}(,{_FIELD})*( {_FIELD}(,{_FIELD})*){{4}}")


class Schedule:
    """The scheduled Job and the webhook of one label set's installation."""

    def __init__(self, api: "HfApi", values: Mapping[str, str]) -> None:
        self.plan = job_plan(values)
        self.dataset = values["DATASET_REPO_ID"]
        self.jobs = Jobs(api, values["HUB_MODEL_ID"].partition("/")[0])
        self.webhooks = Webhooks(api, self.jobs, "HUB_MODEL_ID", values["HUB_MODEL_ID"])

    def steps(self, when: str | None, *, renew_secrets: bool = False) -> Iterator[Step]:
        """What makes the scheduled Job what it should be; there is one afterwards.

        when: a name or a cron line; None keeps what is there, or is daily. Of a Job on the Hub only the
        schedule can be changed, so that any other change is a new one in its place.
        """
        found, plan = self.jobs.scheduled(self.plan.purpose), self.plan
        newest = found[-1] if found else None
        wanted = when or (newest.when if newest else DAILY)
        differs = plan.differs_from(newest.spec) if newest else ["it is not there"]
        if renew_secrets:
            differs.append("secrets")
        if newest is None or differs:
            what = f"schedule the Job {plan.purpose} {wanted} ({', '.join(differs)})"
            yield Step(what, partial(self.jobs.schedule, plan, wanted))
        else:
            found.remove(newest)
            if newest.when != wanted:
                what = f"run the Job {plan.purpose} {wanted}, not {newest.when}"
                yield Step(what, partial(self.jobs.reschedule, newest.id, wanted))
            if newest.suspended:
                yield Step(f"resume the Job {plan.purpose}", partial(self.jobs.resume, newest.id))
        for each in found:
            yield Step(f"delete the scheduled Job {each.id}", partial(self.jobs.remove, each.id))

    def webhook_steps(self, *, renew_secrets: bool = False) -> Iterator[Step]:
        """What has a new version of the data set start a run. Its secret is made up and known to nobody."""
        secret = token_hex(32)
        plan = replace(
            self.plan, bucket=None, secrets={**self.plan.secrets, EXPECTED_SECRET: secret}
        )  # the Hub drops volumes here
        found = self.webhooks.list()
        good = [each for each in found if self._is_good(plan, each)] if not renew_secrets else []
        if not good:
            create = partial(self.webhooks.create, plan, self.dataset, secret)
            yield Step(f"start the Job {plan.purpose} for each new version of {self.dataset}", create)
        for each in found:
            if each not in good[:1]:
                yield Step(f"delete the webhook {each.id}", partial(self.webhooks.remove, each.id))

    def run_now(self) -> str:
        """Run the scheduled Job once; returns the page of that Job."""
        (job,) = self.jobs.scheduled(self.plan.purpose)
        return self.jobs.trigger(job.id)

    def removal(self) -> Iterator[Step]:
        """What leaves neither."""
        for job in self.jobs.scheduled(self.plan.purpose):
            yield Step(f"delete the scheduled Job {job.id}", partial(self.jobs.remove, job.id))
        for webhook in self.webhooks.list():
            yield Step(f"delete the webhook {webhook.id}", partial(self.webhooks.remove, webhook.id))

    def lines(self) -> Iterator[str]:
        """What there is, for people."""
        for job in self.jobs.scheduled(self.plan.purpose):
            yield _line(job)
        for webhook in self.webhooks.list():
            state = ", disabled" if webhook.disabled else ""
            yield f"webhook {webhook.id}: for each new version of {', '.join(webhook.watched)}{state}"

    def _is_good(self, plan: JobPlan, webhook: Webhook) -> bool:
        # If the Hub does not show the time-out of a webhook's Job, it may have kept it.
        ignored = {"time-out"} if webhook.spec.timeout is None else set()
        as_planned = not set(plan.differs_from(webhook.spec)) - ignored
        return as_planned and webhook.watched == (self.dataset,) and not webhook.disabled


def job_plan(values: Mapping[str, str]) -> JobPlan:
    """The Job of an installation.

    Raises:
        SettingsError: it has no image, or hardware that no Job can have.
    """
    image = values.get(JOB_IMAGE) or SPACE_IMAGE + values.get("RETRAIN_SPACE_ID", "")
    if image == SPACE_IMAGE:
        raise SettingsError(
            f"HOST=job needs {JOB_IMAGE}: an image that anybody may pull, such as "
            f"ghcr.io/your-name/grievance-retrain:cpu, or that of a Space, as {SPACE_IMAGE}owner/name. "
            "docs/image.md says how to build one."
        )
    hardware = hardware_of(values, "RETRAIN")
    if hardware not in JOB_HARDWARE:
        raise SettingsError(f"RETRAIN_HARDWARE={hardware}: no Job can run on it, only a Space.")
    config = get_config(values)
    bucket = values.get(JOB_BUCKET)
    # By a schedule it is a check whether there is something to learn, unless the file says otherwise.
    variables = {"SKIP_UNCHANGED": "true"} | {
        name: value for name, value in values.items() if name in VARIABLES - set(BUILD)
    }
    return JobPlan(
        _purpose(values["HUB_MODEL_ID"]),
        image,
        COMMAND,
        variables,
        {name: value for name, value in values.items() if name in SECRETS},
        hardware,
        round((config.max_run_minutes + JOB_MARGIN_MINUTES) * 60),
        (bucket, str(WORKDIR / config.run_dir)) if bucket else None,
    )


def check_schedule(when: str, name: str = "The schedule") -> str:
    """A schedule that the Hub takes.

    Raises:
        SettingsError: it is neither a name nor a cron line.
    """
    if when not in NAMED and not _CRON.fullmatch(when):
        raise SettingsError(
            f"{name} {when!r} should be one of {', '.join(NAMED)}, or a cron line of five fields, such as "
            "'0 3 * * 1' for Mondays at three."
        )
    return when


def schedule_in(values: Mapping[str, str]) -> str | None:
    """SCHEDULE of an env file, checked."""
    given = values.get(SCHEDULE)
    return check_schedule(given, f"{SCHEDULE}:") if given else None


def _purpose(model: str) -> str:
    """A label for a model repository: letters, digits and dashes. A hash keeps a.b apart from a-b."""
    readable = re.sub("[^A-Za-z0-9]+", "-", model)[:80]
    return f"{readable}-{hashlib.sha256(model.casefold().encode()).hexdigest()[:8]}"


def _line(job: Scheduled) -> str:
    times = {"next": job.next_at, "last": job.last_at}
    said = [f"{name} {at:%Y-%m-%d %H:%M} UTC" for name, at in times.items() if at]
    said += ["suspended"] if job.suspended else []
    return f"scheduled Job {job.id}: {job.when}" + (f" ({', '.join(said)})" if said else "")
