"""The Hub's routes for Spaces: runtime, pause, restart, hardware, secrets and variables."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from .hub_call import Asked, Call
from .hub_storage import iso

SPACE = "/api/{kind}/{owner}/{name}"
VALUES = SPACE + "/{what}"  # secrets or variables

api = APIRouter()


@api.get(SPACE + "/runtime")
def runtime(call: Asked) -> dict[str, Any]:
    """The stage and hardware of a Space."""
    return call.host.space(call.repository.id).runtime()


@api.post(SPACE + "/pause")
def pause(call: Asked) -> dict[str, Any]:
    """Stop a Space until it is restarted. The answer doesn't wait for the process to end."""
    call.own_space.wish("PAUSED")
    return call.own_space.runtime()


@api.post(SPACE + "/restart")
def restart(call: Asked) -> dict[str, Any]:
    """Build and start a Space anew."""
    call.own_space.wish("BUILDING")
    return call.own_space.runtime()


@api.post(SPACE + "/hardware")
@api.post(SPACE + "/sleeptime")
def configure(call: Asked, payload: dict[str, Any]) -> dict[str, Any]:
    """Other hardware, or another time without visitors before the Space sleeps: both only recorded."""
    names = {"flavor": "hardware", "sleepTimeSeconds": "sleep", "seconds": "sleep"}
    call.own_space.settings |= {names[key]: value for key, value in payload.items()}
    call.own_space.changed()
    return call.own_space.runtime()


def values(call: Call) -> dict[str, Any]:
    """The secrets or variables of the Space in the path."""
    if call.part("what") not in ("secrets", "variables"):
        raise call.not_found()
    return call.own_space.settings[call.part("what")]


def shown(call: Call) -> dict[str, Any]:
    """Variables, or secrets without their values."""
    hidden = ("value",) if call.part("what") == "secrets" else ()
    return {
        key: {name: each[name] for name in each if name not in hidden} for key, each in values(call).items()
    }


@api.get(VALUES)
def list_values(call: Asked) -> dict[str, Any]:
    """The secrets or variables of a Space."""
    return shown(call)


@api.post(VALUES)
def set_value(call: Asked, payload: dict[str, Any]) -> dict[str, Any]:
    """Set a secret or variable; the Space restarts."""
    values(call)[payload["key"]] = payload | {"updatedAt": iso(time.time())}
    call.own_space.changed()
    return shown(call)


@api.delete(VALUES)
def delete_value(call: Asked, payload: dict[str, Any]) -> dict[str, Any]:
    """Remove a secret or variable, if it is there."""
    if values(call).pop(payload["key"], None) is not None:
        call.own_space.changed()
    return shown(call)
