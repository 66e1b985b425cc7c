"""The Hub's routes for Spaces: runtime, pause, restart, hardware, secrets and variables."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from .hub_access import OwnSpace, Payload, space_in_path, spaces_of
from .hub_errors import HubError
from .hub_storage import Repository, iso

SPACE = "/api/spaces/{owner}/{name}"

api = APIRouter()


@api.get(SPACE + "/runtime")
def space_runtime(request: Request, space: Annotated[Repository, Depends(space_in_path)]) -> dict[str, Any]:
    """The stage and hardware of a Space."""
    return spaces_of(request).runtime(space)


@api.post(SPACE + "/pause")
def pause_space(request: Request, space: OwnSpace) -> dict[str, Any]:
    """Stop a Space until it is restarted. The answer doesn't wait for the process to end."""
    spaces_of(request).pause(space)
    return spaces_of(request).runtime(space)


@api.post(SPACE + "/restart")
def restart_space(request: Request, space: OwnSpace) -> dict[str, Any]:
    """Build and start a Space anew."""
    spaces_of(request).restart(space)
    return spaces_of(request).runtime(space)


@api.post(SPACE + "/hardware")
def set_hardware(request: Request, space: OwnSpace, payload: Payload) -> dict[str, Any]:
    """Other hardware; a running Space restarts."""
    space.meta["space"]["hardware"] = payload["flavor"]
    if "sleepTimeSeconds" in payload:
        space.meta["space"]["sleep"] = payload["sleepTimeSeconds"]
    return configured(request, space)


@api.post(SPACE + "/sleeptime")
def set_sleep_time(request: Request, space: OwnSpace, payload: Payload) -> dict[str, Any]:
    """After how many seconds without a visitor the Space would sleep (recorded only)."""
    space.meta["space"]["sleep"] = payload["seconds"]
    space.save()
    return spaces_of(request).runtime(space)


def configured(request: Request, space: Repository) -> dict[str, Any]:
    space.save()
    spaces_of(request).configured(space)
    return spaces_of(request).runtime(space)


def shown(space: Repository, what: str) -> dict[str, Any]:
    """Variables, or secrets without their values."""
    hidden = {"key"} | ({"value"} if what == "secrets" else set())
    settings = space.meta["space"][what]
    return {
        key: {name: value for name, value in each.items() if name not in hidden}
        for key, each in settings.items()
    }


@api.get(SPACE + "/{what}")
def list_settings(space: OwnSpace, what: str) -> dict[str, Any]:
    """The secrets or variables of a Space."""
    check_setting(what)
    return shown(space, what)


@api.post(SPACE + "/{what}")
def add_setting(request: Request, space: OwnSpace, what: str, payload: Payload) -> dict[str, Any]:
    """Set a secret or variable; a running Space restarts."""
    check_setting(what)
    key = payload["key"]
    new = {"key": key, "value": payload["value"], "updatedAt": iso(time.time())}
    space.meta["space"][what][key] = new | (
        {"description": payload["description"]} if "description" in payload else {}
    )
    configured(request, space)
    return shown(space, what)


@api.delete(SPACE + "/{what}")
def delete_setting(request: Request, space: OwnSpace, what: str, payload: Payload) -> dict[str, Any]:
    """Remove a secret or variable, if it is there."""
    check_setting(what)
    if space.meta["space"][what].pop(payload["key"], None) is not None:
        configured(request, space)
    return shown(space, what)


def check_setting(what: str) -> None:
    if what not in ("secrets", "variables"):
        raise HubError(404, f"Sorry, we can't find {what}")
