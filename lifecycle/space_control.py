"""Stops the bill: pauses the Space that the job runs in. Knows the Hub, and nothing of the run."""

from huggingface_hub import HfApi, SpaceStage

from errors import hub_errors

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
    """Pause the Space.

    Raises:
        HubError: the Hub refused, also after retries.
    """
    with hub_errors("pause the Space", space_id):
        api.pause_space(space_id)


def is_being_replaced(api: HfApi, space_id: str) -> bool:
    """Whether a restart or a pause by somebody else is under way: then a pause would hit the next run."""
    with hub_errors("ask for the state of the Space", space_id):
        return api.get_space_runtime(space_id).stage in _ON_THE_WAY
