"""Jobs on the Hub: by schedule, and what a Job can learn of itself. Knows nothing of the run.

A creation that fails is looked up before it is repeated: the Hub sometimes answers 500 although it was done
(huggingface_hub issue 3972), and two scheduled Jobs would be two runs. So each creation has a marker.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from huggingface_hub import HfApi, JobHardware, JobInfo, Volume
from huggingface_hub._jobs_api import JobSpec, ScheduledJobInfo  # not exported
from huggingface_hub.errors import HfHubHTTPError

from retrain.errors import HubError
from retrain.hub.client import account, hub_errors

JOB_HARDWARE = frozenset(each.value for each in JobHardware)
SPACE_IMAGE = "hf.co/spaces/"
DEFAULT_TIMEOUT_SECONDS = 30 * 60  # the Hub's, for a Job that has none of its own
# Labels: whose Job it is, and by which creation it was made.
PURPOSE, REQUEST = "retrain", "retrain-request"
# After each, a creation that was not answered is looked for again.
LOOK_SECONDS = (0.5, 2.0)
TRIES = 3

logger = logging.getLogger(__name__)


class HasId(Protocol):
    """What the Hub has made."""

    @property
    def id(self) -> str: ...


Made = TypeVar("Made", bound=HasId)


@dataclass(frozen=True)
class JobPlan:
    """What a Job should be.

    purpose: a label that no other Job of the namespace has; bucket: the repository of a bucket and the path
    at which it is mounted, if any.
    """

    purpose: str
    image: str
    command: Sequence[str]
    variables: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    hardware: str
    timeout_seconds: int
    bucket: tuple[str, str] | None = None

    def differs_from(self, spec: JobSpec) -> list[str]:
        """What a Job on the Hub has that is not as planned. Secrets can't be compared."""
        volumes = [(each.source, each.mount_path) for each in spec.volumes or ()]
        pairs: dict[str, tuple[object, object]] = {
            "image": (f"{SPACE_IMAGE}{spec.space_id}" if spec.space_id else spec.docker_image, self.image),
            "command": (spec.command, list(self.command)),
            "variables": (spec.environment or {}, dict(self.variables)),
            "hardware": (spec.flavor, self.hardware),
            "time-out": (spec.timeout, self.timeout_seconds),
            "bucket": (volumes, [self.bucket] if self.bucket else []),
        }
        return [name for name, (found, planned) in pairs.items() if found != planned]

    def as_options(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """The client's options for a Job with these labels."""
        bucket = (
            Volume(type="bucket", source=self.bucket[0], mount_path=self.bucket[1]) if self.bucket else None
        )
        return {
            "image": self.image,
            "command": list(self.command),
            "env": dict(self.variables),
            "secrets": dict(self.secrets),
            "flavor": self.hardware,
            "timeout": self.timeout_seconds,
            "labels": {PURPOSE: self.purpose, "name": self.purpose, **labels},
            "volumes": [bucket] if bucket else None,
        }


@dataclass(frozen=True)
class Scheduled:
    """A scheduled Job on the Hub."""

    id: str
    when: str
    suspended: bool
    next_at: datetime | None
    last_at: datetime | None
    spec: JobSpec = field(repr=False)


class Jobs:
    """The Jobs of an account or an organisation. Its methods raise HubError if the Hub refuses."""

    def __init__(self, api: HfApi, namespace: str) -> None:
        self.namespace = namespace
        self._api = api

    def scheduled(self, purpose: str) -> list[Scheduled]:
        """The scheduled Jobs of a purpose, oldest first: one, unless something went wrong."""
        return [_scheduled(each) for each in self._list({PURPOSE: purpose})]

    def schedule(self, plan: JobPlan, when: str) -> Scheduled:
        """Create a scheduled Job, and read it back.

        Raises:
            HubError: it was refused, or the Hub did not keep its time-out; then it is deleted.
        """
        marker = {REQUEST: uuid.uuid4().hex}

        def create() -> ScheduledJobInfo:
            options = plan.as_options(marker)
            return self._api.create_scheduled_job(
                schedule=when, concurrency=False, namespace=self.namespace, **options
            )

        made = once(f"schedule a Job in {self.namespace}", create, lambda: self._list(marker), self.remove)
        with hub_errors("read the scheduled Job", made.id):
            found = self._api.inspect_scheduled_job(scheduled_job_id=made.id, namespace=self.namespace)
        if found.job_spec.timeout != plan.timeout_seconds:
            self.remove(made.id)
            raise HubError(
                "The scheduled Job was made, but its time-out was not kept: "
                f"{in_minutes(plan.timeout_seconds)} were asked for, and the Hub has "
                f"{in_minutes(found.job_spec.timeout)}. It would be ended in the middle of a run, so it was "
                "deleted. Try again later; until then, start runs in another way (docs/starting.md)."
            )
        return _scheduled(found)

    def reschedule(self, job_id: str, when: str) -> None:
        """Change when a scheduled Job runs."""
        with hub_errors("change the schedule of the Job", job_id):
            self._api.update_scheduled_job_schedule(
                scheduled_job_id=job_id, schedule=when, namespace=self.namespace
            )

    def resume(self, job_id: str) -> None:
        """Let a suspended one run again."""
        with hub_errors("resume the scheduled Job", job_id):
            self._api.resume_scheduled_job(scheduled_job_id=job_id, namespace=self.namespace)

    def remove(self, job_id: str) -> None:
        """Delete a scheduled Job. One that has started goes on."""
        with hub_errors("delete the scheduled Job", job_id):
            self._api.delete_scheduled_job(scheduled_job_id=job_id, namespace=self.namespace)

    def trigger(self, job_id: str) -> str:
        """Run a scheduled Job once, now; returns the address of its page."""
        with hub_errors("start the scheduled Job", job_id):
            job = self._api.trigger_scheduled_job(scheduled_job_id=job_id, namespace=self.namespace)
        return job.url

    def start(self, plan: JobPlan) -> JobInfo:
        """Run a Job now."""
        marker = {REQUEST: uuid.uuid4().hex}

        def create() -> JobInfo:
            return self._api.run_job(namespace=self.namespace, **plan.as_options(marker))

        def look() -> list[JobInfo]:
            with hub_errors("list the Jobs of", self.namespace):
                return list(self._api.list_jobs(labels=marker, namespace=self.namespace))

        return once(f"start a Job in {self.namespace}", create, look, self.cancel)

    def cancel(self, job_id: str) -> None:
        """End a Job."""
        with hub_errors("cancel the Job", job_id):
            self._api.cancel_job(job_id=job_id, namespace=self.namespace)

    def _list(self, labels: dict[str, str]) -> list[ScheduledJobInfo]:
        with hub_errors("list the scheduled Jobs of", self.namespace):
            found = self._api.list_scheduled_jobs(labels=labels, namespace=self.namespace)
        return sorted(found, key=lambda each: each.id)


def once(
    doing: str, create: Callable[[], Made], look: Callable[[], list[Made]], remove: Callable[[str], None]
) -> Made:
    """Create something, but not twice. After an error that may pass, see whether it was made all the same.

    look: finds what this creation has made, and nothing else; remove: takes away one too many, by its id.

    Raises:
        HubError: it was refused, or failed each time.
    """
    what, _, where = doing.rpartition(" ")
    for failures in range(1, TRIES + 1):
        try:
            with hub_errors(what, where):
                made = create()
        except HubError as error:
            if not error.transient:
                raise
            logger.info("%s Looking whether it was made all the same.", error)
            found = _look_for(look)
            if not found and failures == TRIES:
                raise
            if not found:
                continue
            made = found[0]
        for double in look():  # an earlier try may have succeeded late
            if double.id != made.id:
                remove(double.id)
        return made
    raise AssertionError("the last try returns or raises")


def _look_for(look: Callable[[], list[Made]]) -> list[Made]:
    for seconds in LOOK_SECONDS:
        time.sleep(seconds)
        if found := look():
            return found
    return []


def own_timeout(api: HfApi, job_id: str) -> int | None:
    """The seconds that the Job in which we run may take; None if nothing says so.

    The client shows the time-out of a scheduled Job only, so a Job asks for the one that it comes from.

    Raises:
        HubError: the Hub refused or did not answer.
    """
    about = account(api)
    with hub_errors("read the Job", job_id):
        for namespace in (str(about["name"]), *(str(each["name"]) for each in about.get("orgs", ()))):
            try:
                job = api.inspect_job(job_id=job_id, namespace=namespace)
            except HfHubHTTPError as error:
                if error.response.status_code in (401, 403, 404):
                    continue  # it is somebody else's
                raise
            if job.initiator is None or job.initiator.type != "scheduled-job":
                return None
            found = api.inspect_scheduled_job(scheduled_job_id=job.initiator.id, namespace=namespace)
            return found.job_spec.timeout or DEFAULT_TIMEOUT_SECONDS
    return None


def _scheduled(info: ScheduledJobInfo) -> Scheduled:
    last = info.status.last_job
    when, suspended = info.schedule or "?", bool(info.suspend)
    return Scheduled(
        info.id, when, suspended, info.status.next_job_run_at, last.at if last else None, info.job_spec
    )


def in_minutes(seconds: int | None) -> str:
    """A time-out in words."""
    default = DEFAULT_TIMEOUT_SECONDS / 60
    return f"none, which is {default:g} minutes" if seconds is None else f"{seconds / 60:g} minutes"
