"""The Hub's routes for Spaces: runtime, pause, restart, hardware, secrets and variables."""

from __future__ import annotations

import time

from fastapi import APIRouter

from .hub_call import Asked, Json
from .hub_storage import iso

SPACE = "/api/{kind}/{owner}/{name}"

api = APIRouter()


@api.get(SPACE + "/runtime")
def runtime(call: Asked) -> Json:
    """The stage and hardware of a Space."""
    return call.space.runtime()


@api.post(SPACE + "/pause")
@api.post(SPACE + "/restart")
def pause_or_restart(call: Asked) -> Json:
    """Stop a Space until it is restarted, or build and start it anew. The answer doesn't wait for that."""
    call.space.wish("PAUSED" if call.path.endswith("/pause") else "BUILDING")
    return call.space.runtime()


@api.post(SPACE + "/hardware")
@api.post(SPACE + "/sleeptime")
def set_hardware(call: Asked, payload: Json) -> Json:
    """Other hardware, which restarts the Space, or another time until it would sleep: both only recorded."""
    settings = call.space.settings
    settings["sleep"] = payload.get("sleepTimeSeconds", payload.get("seconds", settings["sleep"]))
    if "flavor" in payload:
        settings["hardware"] = payload["flavor"]
        call.space.changed()
    call.repository.save()
    return call.space.runtime()


@api.api_route(SPACE + "/secrets", methods=["GET", "POST", "DELETE"])
@api.api_route(SPACE + "/variables", methods=["GET", "POST", "DELETE"])
def values(call: Asked, payload: Json | None = None) -> Json:
    """Secrets (shown without their values) or variables. To set or remove one restarts the Space."""
    what = call.path.rsplit("/", 1)[1]
    found = call.space.settings[what]
    if payload and call.request.method == "POST":
        found[payload["key"]] = payload | {"updatedAt": iso(time.time())}
    elif payload:
        found.pop(payload["key"], None)
    if payload:
        call.space.changed()
    hidden = {"value"} if what == "secrets" else set()
    return {key: {name: each[name] for name in each.keys() - hidden} for key, each in found.items()}
