"""Restarts the inference Space and waits until it answers with what was released."""

import time
from collections.abc import Callable

from huggingface_hub import HfApi

from errors import RolloutError, hub_errors
from run_record import Release, ServedVersion

SECONDS_BETWEEN_LOOKS = 1.0


def restart_space(api: HfApi, space_id: str) -> None:
    """Ask the Hub to restart a Space."""
    with hub_errors("restart the Space", space_id, RolloutError):
        api.restart_space(space_id)


def wait_until_served(
    stage: Callable[[], str],
    served_version: Callable[[], ServedVersion | None],
    answers: Callable[[], bool],
    space_id: str,
    release: Release,
    *,
    timeout_minutes: float,
    on_state: Callable[[str], None] = lambda state: None,
) -> None:
    """Wait until the Space serves the released revision and answers a real request.

    stage, served_version: ask the Hub and the Space itself; answers: whether a text is answered with a label.
    Where the Space does not tell its revision, the stage RUNNING and a real answer must do.

    Raises:
        RolloutError: it did not within the time.
    """
    deadline = time.monotonic() + timeout_minutes * 60
    last = ""
    while time.monotonic() < deadline:
        now, served = stage(), served_version()
        state, may_be_it = f"stage {now}", now == "RUNNING"
        if served:
            may_be_it = served.revision == release.revision
            state += f", serving {served.tag or served.revision[:12]}"
        if may_be_it and answers():
            on_state(f"{state}, answering")
            return
        if state != last:
            last = state
            on_state(state)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise RolloutError(
        f"{release.version_tag} is published, but {space_id} did not serve it within "
        f"{timeout_minutes:g} minutes (last seen: {last}). Look at the Space's log. "
        "To go back, set the Space's MODEL_REVISION to "
        f"{release.previous_revision or 'an earlier version tag'}."
    )
