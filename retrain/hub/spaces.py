"""Restarts, pauses and looks at Spaces. Knows the Hub, and nothing of the run."""

import logging
import time
from urllib.parse import urlsplit

from huggingface_hub import HfApi, SpaceStage
from huggingface_hub.utils import httpx

from retrain.errors import HubError, RolloutError, hub_errors

logger = logging.getLogger(__name__)

# Stages in which somebody else is already restarting or stopping the Space.
_ON_THE_WAY = {
    SpaceStage.BUILDING,
    SpaceStage.RUNNING_BUILDING,
    SpaceStage.APP_STARTING,
    SpaceStage.RUNNING_APP_STARTING,
    SpaceStage.PAUSED,
    SpaceStage.STOPPED,
    SpaceStage.DELETING,
}


def pause_space(api: HfApi, space_id: str) -> None:
    """Pause the Space; an answer that is lost is no failure if it is paused.

    Raises:
        HubError: the Hub refused, also after retries.
    """
    try:
        with hub_errors("pause the Space", space_id):
            api.pause_space(space_id)
    except HubError:
        time.sleep(1)
        if space_stage(api, space_id) == SpaceStage.PAUSED:
            return
        with hub_errors("pause the Space", space_id):
            api.pause_space(space_id)


def restart_space(api: HfApi, space_id: str) -> None:
    """Restart a Space. An answer that is lost is no failure: whether it restarted will be seen.

    Raises:
        RolloutError: the Hub refused, also after retries.
    """
    with hub_errors("restart the Space", space_id, RolloutError):
        try:
            api.restart_space(space_id)
        except httpx.TransportError as error:
            logger.warning("The restart of %s was not answered (%s)", space_id, type(error).__name__)


def space_stage(api: HfApi, space_id: str) -> str:
    """The stage of a Space, as in "RUNNING"; what went wrong where the Hub does not tell."""
    try:
        with hub_errors("ask for the state of the Space", space_id):
            return str(api.get_space_runtime(space_id).stage)
    except HubError as error:
        return f"unknown: {error}"


def is_private_space_at(api: HfApi, space_id: str, url: str) -> bool:
    """Whether the URL is that of this Space and the Space is private: only then may it be shown our token."""
    with hub_errors("read the Space", space_id):
        info = api.space_info(space_id)
    domains = info.runtime.raw.get("domains", []) if info.runtime else []
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost")
    return bool(info.private) and is_safe and parts.netloc in [each["domain"] for each in domains]


def is_being_replaced(api: HfApi, space_id: str) -> bool:
    """Whether a restart or a pause by somebody else is under way: then a pause would hit the next run."""
    return space_stage(api, space_id) in _ON_THE_WAY
