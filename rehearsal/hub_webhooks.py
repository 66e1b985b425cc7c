"""The Hub's routes for webhooks that start Jobs, and their delivery; jobs_protocol.md has the shapes."""

from __future__ import annotations

import json

from fastapi import APIRouter

from .hub_call import Asked, Call, Json
from .hub_jobs import JobsOfHub, described_spec, jobs_of
from .hub_storage import HubError, Repository
from .job_host import new_id

WEBHOOKS = "/api/settings/webhooks"
ONE = WEBHOOKS + "/{webhook_id}"

api = APIRouter()


def described(record: Json) -> Json:
    """A webhook in the form of the Hub's JSON."""
    shown = {name: record.get(name) for name in ("id", "url", "watched", "domains", "secret", "disabled")}
    return shown | {"job": described_spec(record["job"]) if record.get("job") else None}


def require_user(call: Call) -> str:
    """Webhooks belong to a user; 401 or 403 for others."""
    call.require_writer()
    return str(call.user["name"])


def changed_by(call: Call, payload: Json) -> Json:
    """What a request sets: the specification of a Job is copied, without its secrets and its volumes."""
    user = require_user(call)
    if not payload.get("watched"):
        raise HubError(400, "watched should not be empty")
    values: Json = {
        name: payload[name] for name in ("url", "watched", "domains", "secret") if name in payload
    }
    if source := payload.get("jobSourceId"):
        job = jobs_of(call).host.jobs.get(source)
        if job is None or not call.owns(f"{job.namespace}/"):
            raise HubError(404, "Job not found")
        spec = {
            name: value for name, value in job.spec.items() if name not in ("secrets", "volumes", "extra")
        }
        if other := jobs_of(call).webhook_timeout:
            spec["timeoutSeconds"] = other
        values["job"] = spec | {"secrets": payload.get("secrets", {})}
        values["namespace"] = job.namespace
    return values | {"user": user}


def webhook_in(call: Call) -> Json:
    """The webhook in the path, or 404."""
    user, record = require_user(call), jobs_of(call).webhooks.all.get(call.part("webhook_id"))
    if record is None or record["user"] != user:
        raise HubError(404, "Webhook not found")
    return record


@api.post(WEBHOOKS)
def create_webhook(call: Asked, payload: Json) -> Json:
    """A new webhook, whether or not there is one like it."""
    record = {"id": new_id(), "disabled": False} | changed_by(call, payload)
    if ("url" in record) == ("job" in record):
        raise HubError(400, "Set url or jobSourceId")
    return {"webhook": described(jobs_of(call).webhooks.save(record))}


@api.get(WEBHOOKS)
def list_webhooks(call: Asked) -> list[Json]:
    """The user's webhooks."""
    user = require_user(call)
    return [described(each) for each in jobs_of(call).webhooks.all.values() if each["user"] == user]


@api.get(ONE)
def get_webhook(call: Asked) -> Json:
    """One webhook."""
    return {"webhook": described(webhook_in(call))}


@api.post(ONE)
def update_webhook(call: Asked, payload: Json) -> Json:
    """Change what is given."""
    record = webhook_in(call)
    watched = payload.get("watched") or record["watched"]
    return {
        "webhook": described(
            jobs_of(call).webhooks.save(record | changed_by(call, payload | {"watched": watched}))
        )
    }


@api.post(ONE + "/enable")
@api.post(ONE + "/disable")
def enable_or_disable(call: Asked) -> Json:
    """Deliver no events, or deliver them again."""
    record = webhook_in(call)
    saved = jobs_of(call).webhooks.save(record | {"disabled": call.path.endswith("/disable")})
    return {"webhook": described(saved)}


@api.delete(ONE)
def delete_webhook(call: Asked) -> None:
    """Delete a webhook."""
    jobs_of(call).webhooks.remove(webhook_in(call)["id"])


def deliver(call: Call, ref: str, old: str | None, new: str | None) -> None:
    """After a change of a ref: start the Job of each webhook that watches the repository in the path."""
    repository = call.repository
    updated = [{"ref": ref, "oldSha": old, "newSha": new}]
    for record in list(jobs_of(call).webhooks.all.values()):
        wants = not record["disabled"] and "repo" in record["domains"] and record.get("job")
        if wants and any(_watches(item, repository) for item in record["watched"]):
            payload = payload_of(repository, updated, record["id"])
            start(jobs_of(call), record, payload, delivery=new_id())


def payload_of(repository: Repository, updated_refs: list[Json], webhook_id: str) -> Json:
    """The payload for a change of a repository's content."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": repository.kind.removesuffix("s"),
            "name": repository.id,
            "private": repository.meta["private"],
            "headSha": repository.resolve("main").id.decode(),
        },
        "updatedRefs": updated_refs,
        "webhook": {"id": webhook_id, "version": 3},
    }


def start(jobs: JobsOfHub, record: Json, payload: Json, delivery: str) -> None:
    """Start the Job of a webhook with a payload in its environment."""
    added = {
        "WEBHOOK_PAYLOAD": json.dumps(payload),
        "WEBHOOK_REPO_ID": payload["repo"]["name"],
        "WEBHOOK_REPO_TYPE": payload["repo"]["type"],
        "WEBHOOK_ID": delivery,
    }
    added |= {"WEBHOOK_SECRET": record["secret"]} if record.get("secret") else {}
    initiator = {"type": "webhook", "id": record["id"]}
    jobs.host.start(record["namespace"], record["job"] | {"extra": added}, initiator)


def _watches(item: Json, repository: Repository) -> bool:
    kind, name = item["type"], item["name"].lower()
    if kind in ("user", "org"):
        return bool(repository.id.lower().split("/")[0] == name)
    return bool(f"{kind}s" == repository.kind and repository.id.lower() == name)
