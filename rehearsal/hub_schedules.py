"""The Hub's routes for scheduled Jobs; jobs_protocol.md has the shapes.

A scheduled Job is not started by the clock here, only by its trigger. It outlives a restart of the server, as
it does on the Hub.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter

from .hub_call import Asked, Call, Json
from .hub_jobs import checked, described, described_spec, has_label, jobs_of, owner, owner_of
from .hub_storage import HubError, iso
from .job_host import OVER, new_id

SCHEDULED = "/api/scheduled-jobs/{namespace}"
ONE_SCHEDULED = SCHEDULED + "/{job_id}"
EVERY = {"@hourly": timedelta(hours=1), "@daily": timedelta(days=1)}
NAMES = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly")

api = APIRouter()


def schedule_in(payload: Json) -> str:
    """When a scheduled Job runs; 400 if it is neither a name nor five fields."""
    schedule = str(payload.get("schedule"))
    if schedule not in NAMES and not re.fullmatch(r"[\d*/,A-Za-z-]+( [\d*/,A-Za-z-]+){4}", schedule):
        raise HubError(400, f"Invalid schedule: {schedule}")
    return schedule


def described_schedule(record: Json) -> Json:
    """A scheduled Job in the form of the Hub's JSON."""
    shown = {name: record[name] for name in ("id", "createdAt", "schedule", "suspend", "concurrency")}
    every, now = EVERY.get(record["schedule"]), datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    upcoming = midnight + ((now - midnight) // every + 1) * every if every else None
    status = {
        "lastJob": record["lastJob"],
        "nextJobRunAt": iso(upcoming.timestamp()) if upcoming and not record["suspend"] else None,
    }
    return shown | {
        "owner": owner(record["namespace"]),
        "jobSpec": described_spec(record["spec"]),
        "status": status,
    }


@api.post(SCHEDULED)
def create_scheduled_job(call: Asked, payload: Json) -> Json:
    """A new scheduled Job, whether or not there is one like it."""
    namespace, jobs = owner_of(call), jobs_of(call)
    spec = checked(payload["jobSpec"])
    if not jobs.keeps_timeouts:
        spec.pop("timeoutSeconds", None)
    switches = {name: bool(payload.get(name)) for name in ("suspend", "concurrency")}
    record = {"id": new_id(), "createdAt": iso(time.time()), "lastJob": None, "namespace": namespace}
    return described_schedule(
        jobs.scheduled.save(record | switches | {"schedule": schedule_in(payload), "spec": spec})
    )


@api.get(SCHEDULED)
def list_scheduled_jobs(call: Asked) -> list[Json]:
    """The scheduled Jobs of a namespace; of those that have one label, if asked."""
    namespace, label = owner_of(call), call.request.query_params.get("label")
    found = [each for each in jobs_of(call).scheduled.all.values() if each["namespace"] == namespace]
    return [described_schedule(each) for each in found if not label or has_label(each["spec"], label)]


def scheduled_in(call: Call) -> Json:
    """The scheduled Job in the path, or 404."""
    namespace = owner_of(call)
    record = jobs_of(call).scheduled.all.get(call.part("job_id"))
    if record is None or record["namespace"] != namespace:
        raise HubError(404, "Scheduled job not found")
    return record


@api.get(ONE_SCHEDULED)
def inspect_scheduled_job(call: Asked) -> Json:
    """One scheduled Job."""
    return described_schedule(scheduled_in(call))


@api.delete(ONE_SCHEDULED)
def delete_scheduled_job(call: Asked) -> None:
    """Delete a scheduled Job; a Job of it that runs goes on."""
    jobs_of(call).scheduled.remove(scheduled_in(call)["id"])


@api.post(ONE_SCHEDULED + "/suspend")
@api.post(ONE_SCHEDULED + "/resume")
def suspend_or_resume(call: Asked) -> None:
    """Let no Job start by schedule, or let them start again."""
    record = scheduled_in(call)
    jobs_of(call).scheduled.save(record | {"suspend": call.path.endswith("/suspend")})


@api.post(ONE_SCHEDULED + "/schedule")
def set_schedule(call: Asked, payload: Json) -> Json:
    """Change when it runs, and nothing else."""
    record = scheduled_in(call)
    return described_schedule(jobs_of(call).scheduled.save(record | {"schedule": schedule_in(payload)}))


@api.put(ONE_SCHEDULED + "/labels")
def set_scheduled_labels(call: Asked, payload: Json) -> Json:
    """Other labels."""
    record = scheduled_in(call)
    spec = checked(record["spec"] | {"labels": payload["labels"]})
    return described_schedule(jobs_of(call).scheduled.save(record | {"spec": spec}))


@api.post(ONE_SCHEDULED + "/run")
def trigger_scheduled_job(call: Asked) -> Json:
    """Run it once, now; 409 while a Job of it runs, unless it allows for several."""
    record, jobs = scheduled_in(call), jobs_of(call)
    initiator = {"type": "scheduled-job", "id": record["id"]}
    at_work: list[Any] = [
        job for job in jobs.host.jobs.values() if job.initiator == initiator and job.stage not in OVER
    ]
    if at_work and not record["concurrency"]:
        raise HubError(409, "Another instance of this scheduled job is running")
    job = jobs.host.start(record["namespace"], record["spec"], initiator)
    jobs.scheduled.save(record | {"lastJob": {"id": job.id, "at": iso(job.created_at)}})
    return described(job)
