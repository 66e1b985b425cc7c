"""The Hub's routes for Jobs, and what it keeps of Jobs; jobs_protocol.md has the shapes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from .hub_call import Asked, Call, Json
from .hub_storage import HubError, iso
from .job_host import HostedJob, JobHost

JOBS = "/api/jobs/{namespace}"
ONE_JOB = JOBS + "/{job_id}"
LABEL = re.compile(r"[A-Za-z0-9_-]{1,100}")
HARDWARE = {
    "cpu-basic": ("CPU Basic", "2 vCPU", "16 GB", 167),
    "cpu-upgrade": ("CPU Upgrade", "8 vCPU", "32 GB", 500),
}

api = APIRouter()


class Records:
    """What outlives the server, as one JSON file each: scheduled Jobs or webhooks, oldest first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.all: dict[str, Json] = {
            file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))
        }

    def save(self, record: Json) -> Json:
        """Add a record, or make its change durable."""
        self.all[record["id"]] = record
        (self._folder / f"{record['id']}.json").write_text(json.dumps(record, indent=1))
        return record

    def remove(self, record_id: str) -> None:
        """Delete a record."""
        del self.all[record_id]
        (self._folder / f"{record_id}.json").unlink()


class JobsOfHub:
    """Jobs, scheduled Jobs and webhooks of a Hub.

    Without `keeps_timeouts` it forgets the time-outs of scheduled Jobs; `webhook_timeout` is what it gives
    the Jobs of webhooks instead of theirs.
    """

    def __init__(self, root: Path, host: JobHost) -> None:
        self.host = host
        self.scheduled = Records(root / "scheduled_jobs")
        self.webhooks = Records(root / "webhooks")
        self.keeps_timeouts = True
        self.webhook_timeout: int | None = None


def jobs_of(call: Call) -> JobsOfHub:
    """What this Hub has of Jobs."""
    jobs: JobsOfHub = call.request.app.state.jobs
    return jobs


def owner_of(call: Call) -> str:
    """The namespace in the path; 401, 403 or 404 if the user may not do this in it."""
    namespace = call.part("namespace")
    if call.request.method != "GET":
        call.require_writer(f"{namespace}/")
    elif not call.user:
        raise HubError(401, "Invalid username or password.")
    elif not call.owns(f"{namespace}/"):
        raise HubError(404, "Not found")
    return namespace


def checked(spec: Json) -> Json:
    """A Job's specification as it was sent; 400 if it can't be one."""
    labels = spec.get("labels", {})
    faults = [f"label {key}={value}" for key, value in labels.items() if not (_fits(key) and _fits(value))]
    if not isinstance(spec.get("command"), list) or not spec["command"]:
        faults.append("command")
    if ("dockerImage" in spec) == ("spaceId" in spec):
        faults.append("dockerImage or spaceId")
    if any("mountPath" not in each for each in spec.get("volumes", [])):
        faults.append("volumes")
    if faults:
        raise HubError(400, f"Invalid job: {', '.join(faults)}")
    return spec


def _fits(text: str) -> bool:
    return LABEL.fullmatch(str(text).replace(".", "-")) is not None  # dots: in names only, which become tags


def described_spec(spec: Json) -> Json:
    """What is shown of a specification: secrets without their values, and `timeout` for timeoutSeconds."""
    kept = {
        name: value for name, value in spec.items() if name not in ("timeoutSeconds", "attempts", "extra")
    }
    kept["secrets"] = dict.fromkeys(spec.get("secrets", {}), "")
    attempts = {"retry": spec["attempts"] - 1} if spec.get("attempts") else {}
    return kept | attempts | {"timeout": spec.get("timeoutSeconds")}


def described(job: HostedJob) -> Json:
    """A Job in the form of the Hub's JSON, which has no time-out."""
    shown = {name: value for name, value in described_spec(job.spec).items() if name != "timeout"}
    times = {"createdAt": job.created_at, "startedAt": job.started_at, "finishedAt": job.finished_at}
    end = job.finished_at or time.time()
    durations = {
        "schedulingSecs": int(job.started_at - job.created_at) if job.started_at else None,
        "runningSecs": int(end - job.started_at) if job.started_at else None,
        "totalSecs": int(end - job.created_at),
    }
    return shown | {name: iso(at) if at else None for name, at in times.items()} | {
        "id": job.id,
        "owner": owner(job.namespace),
        "initiator": job.initiator,
        "status": {"stage": job.stage, "message": job.message or None},
        "durations": durations,
    }  # fmt: skip


def owner(namespace: str) -> Json:
    """The owner of a Job."""
    return {"id": f"id-of-{namespace}", "name": namespace, "type": "user"}


# --- Jobs


@api.get("/api/jobs/hardware")
def hardware() -> list[Json]:
    """Some of the hardware."""
    return [
        {"name": name, "prettyName": pretty, "cpu": cpu, "ram": ram, "ephemeralStorage": "50 GB"}
        | {"accelerator": None, "unitCostMicroUSD": cost, "unitCostUSD": cost / 1e6, "unitLabel": "minute"}
        for name, (pretty, cpu, ram, cost) in HARDWARE.items()
    ]


@api.post(JOBS)
def run_job(call: Asked, payload: Json) -> Json:
    """Run a Job."""
    namespace = owner_of(call)
    initiator = {"type": "user", "id": owner(namespace)["id"], "name": call.user["name"]}
    return described(jobs_of(call).host.start(namespace, checked(payload), initiator))


@api.get(JOBS)
def list_jobs(call: Asked) -> list[Json]:
    """The Jobs of a namespace, newest first."""
    namespace, asked = owner_of(call), call.request.query_params
    found = [job for job in reversed(jobs_of(call).host.jobs.values()) if job.namespace == namespace]
    stages, labels = asked.getlist("stage"), asked.getlist("label")
    return [
        described(job)
        for job in found
        if (not stages or job.stage in stages) and all(has_label(job.spec, each) for each in labels)
    ]


def has_label(spec: Json, wanted: str) -> bool:
    """Whether a specification has a label, given as key=value."""
    key, _, value = wanted.partition("=")
    return bool(spec.get("labels", {}).get(key) == value)


def job_in(call: Call) -> HostedJob:
    """The Job in the path, or 404."""
    namespace = owner_of(call)
    job = jobs_of(call).host.jobs.get(call.part("job_id"))
    if job is None or job.namespace != namespace:
        raise HubError(404, "Job not found")
    return job


@api.get(ONE_JOB)
def inspect_job(call: Asked) -> Json:
    """One Job."""
    return described(job_in(call))


@api.post(ONE_JOB + "/cancel")
def cancel_job(call: Asked) -> Json:
    """Ask for a Job's end; the answer doesn't wait for it."""
    job = job_in(call)
    job.cancel()
    return described(job)


@api.post(ONE_JOB + "/duplicate")
def rerun_job(call: Asked) -> Json:
    """A new Job with the specification of another."""
    job = job_in(call)
    return described(
        jobs_of(call).host.start(job.namespace, job.spec, {"type": "duplicated-job", "id": job.id})
    )


@api.put(ONE_JOB + "/labels")
def set_labels(call: Asked, payload: Json) -> Json:
    """Other labels."""
    job = job_in(call)
    job.spec = checked(job.spec | {"labels": payload["labels"]})
    return described(job)


@api.get(ONE_JOB + "/logs")
def logs(call: Asked) -> StreamingResponse:
    """Server-sent events: the lines so far, then new ones until the Job is over."""
    job, tail = job_in(call), call.request.query_params.get("tail")

    def events() -> Iterator[str]:
        for line in job.lines(int(tail) if tail else None):
            yield (
                f"data: {json.dumps({'timestamp': line[0], 'data': line[1]})}\n\n" if line else ": alive\n\n"
            )

    return StreamingResponse(events(), media_type="text/event-stream")
