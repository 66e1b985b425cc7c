"""Restarts the inference Space and waits until it answers with what was released."""

import time
from collections.abc import Callable
from urllib.parse import urljoin

import requests
from huggingface_hub import HfApi

from errors import RetrainError, RolloutError, hub_errors
from run_record import Release

SECONDS_BETWEEN_LOOKS = 1.0
TIMEOUT = (5.0, 30.0)


def restart_space(api: HfApi, space_id: str) -> None:
    """Ask the Hub to restart a Space."""
    with hub_errors("restart the Space", space_id, RolloutError):
        api.restart_space(space_id)


def wait_until_served(
    api: HfApi,
    session: requests.Session,
    space_id: str,
    endpoint: str,
    release: Release,
    *,
    canary: str,
    timeout_minutes: float,
    on_state: Callable[[str], None] = lambda state: None,
) -> None:
    """Wait until the Space serves the released revision and answers a real request.

    Where the Space does not tell its revision, the stage RUNNING and a real answer must do.

    Raises:
        RolloutError: it did not within the time.
    """
    deadline = time.monotonic() + timeout_minutes * 60
    last = ""
    while time.monotonic() < deadline:
        state, served = _look(api, session, space_id, endpoint, release, canary)
        if state != last:
            last = state
            on_state(state)
        if served:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise RolloutError(
        f"{release.version_tag} is published, but {space_id} did not serve it within "
        f"{timeout_minutes:g} minutes (last seen: {last}). Look at the Space's log. "
        "To go back, set the Space's MODEL_REVISION to "
        f"{release.previous_revision or 'an earlier version tag'}."
    )


def _look(
    api: HfApi, session: requests.Session, space_id: str, endpoint: str, release: Release, canary: str
) -> tuple[str, bool]:
    """What the Space says now, and whether that is what was waited for."""
    try:
        with hub_errors("ask for the state of", space_id, RolloutError):
            stage = str(api.get_space_runtime(space_id).stage)
    except RetrainError as error:
        stage = str(error)
    told = None
    try:
        about = session.get(urljoin(endpoint, "/"), timeout=TIMEOUT)
        if about.ok and about.headers.get("Content-Type", "").startswith("application/json"):
            body = about.json()
            told = body.get("model_revision") if isinstance(body, dict) else None
        if told is None and stage != "RUNNING":
            return f"stage {stage}", False
        if told is not None and told != release.revision:
            return f"stage {stage}, still serving {str(told)[:12]}", False
        answer = session.post(endpoint, json={"text": canary}, timeout=TIMEOUT)
        return f"stage {stage}, answering with status {answer.status_code}", answer.ok
    except (requests.RequestException, ValueError) as error:
        return f"stage {stage}, {type(error).__name__}", False
