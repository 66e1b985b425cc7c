"""What a Space's runtime looks like from outside, and Spaces that only pretend to run.

`Spaces` is what the routes ask for; `space_host.SpaceHost` carries it out with processes, `SimulatedSpaces`
without.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from .hub_storage import Repository, iso

START_FILES = {"docker": "Dockerfile", "gradio": "app.py", "streamlit": "app.py", "static": "index.html"}


class Spaces(Protocol):
    """What the routes ask of Spaces. None of these calls waits for a process."""

    def runtime(self, space: Repository) -> dict[str, Any]: ...
    def restart(self, space: Repository) -> None: ...
    def pause(self, space: Repository) -> None: ...
    def committed(self, space: Repository) -> None: ...
    def configured(self, space: Repository) -> None: ...
    def deleted(self, space: Repository) -> None: ...
    def close(self) -> None: ...


class SimulatedSpaces:
    """Stages without processes: BUILDING for `build_seconds` after each start, then RUNNING."""

    def __init__(self, build_seconds: float = 0.0) -> None:
        self._build_seconds = build_seconds

    def runtime(self, space: Repository) -> dict[str, Any]:
        """The runtime as the Hub's API shows it."""
        settings, sdk = space.meta["space"], space.meta["sdk"]
        commit = space.resolve("main")
        if settings.get("paused"):
            stage = "PAUSED"
        elif sdk == "static":
            stage = "RUNNING"
        elif space.entry(commit, START_FILES.get(sdk, "app.py")) is None:
            stage = "NO_APP_FILE"
        else:
            stage = "BUILDING" if time.time() - settings["started"] < self._build_seconds else "RUNNING"
        return runtime_json(space, stage, sha=commit.id.decode())

    def restart(self, space: Repository) -> None:
        """Start the clock of the build anew."""
        self._set(space, paused=False)

    def pause(self, space: Repository) -> None:
        """Stay paused until a restart."""
        self._set(space, paused=True)

    def committed(self, space: Repository) -> None:
        """A commit builds anew, unless the Space is paused."""
        self._set(space, paused=bool(space.meta["space"].get("paused")))

    configured = committed

    def deleted(self, space: Repository) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to end."""

    def _set(self, space: Repository, *, paused: bool) -> None:
        space.meta["space"] |= {"paused": paused, "started": time.time()}
        space.save()


def runtime_json(
    space: Repository, stage: str, *, sha: str | None, error: str | None = None, port: int | None = None
) -> dict[str, Any]:
    """The Hub's JSON of a Space's runtime."""
    settings = space.meta["space"]
    hardware = settings.get("hardware") or "cpu-basic"
    runtime = {
        "stage": stage,
        "hardware": {
            "current": hardware if stage in ("RUNNING", "APP_STARTING") else None,
            "requested": hardware,
        },
        "storage": None,
        "gcTimeout": settings.get("sleep"),
        "replicas": {"current": int(stage == "RUNNING"), "requested": 1},
        "devMode": False,
        "sha": sha,
        "domains": [{"domain": f"127.0.0.1:{port}", "stage": "READY"}] if port else [],
    }
    return runtime | ({"errorMessage": error} if error else {})


def new_space_settings(payload: dict[str, Any]) -> dict[str, Any]:
    """A Space's metadata, from the request that creates it."""
    now = iso(time.time())
    settings: dict[str, Any] = {"started": time.time(), "paused": False}
    settings |= {"hardware": payload.get("hardware"), "sleep": payload.get("sleepTimeSeconds")}
    for kind in ("secrets", "variables"):
        settings[kind] = {each["key"]: {**each, "updatedAt": now} for each in payload.get(kind) or []}
    return settings
