"""The end of a run: steps that must not keep the Space from its pause, and the pause itself."""

import logging
import threading
from collections.abc import Callable

from huggingface_hub import HfApi

from retrain.errors import Interrupted, RetrainError
from retrain.hub.spaces import is_being_replaced, pause_space
from retrain.journal import Journal
from retrain.lifecycle.supervisor import interruptible

# A pause that was refused for good is tried again so often, while the process stays up.
PAUSE_AGAIN_SECONDS = 300.0

logger = logging.getLogger(__name__)


def guest(what: str, step: Callable[[], object], seconds: float, journal: Journal) -> None:
    """Run a step that may fail or hang: then it is left behind, and what went wrong is recorded."""

    def guarded() -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 (whatever it is, the Space is paused)
            journal.warn(f"{what} failed: {error or type(error).__name__}")

    thread = threading.Thread(target=guarded, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        journal.warn(f"{what} took longer than {seconds:.0f} seconds and was left behind.")


def pause_or_stay(
    api: HfApi,
    space_id: str,
    journal: Journal,
    on_failure: Callable[[], object],
    *,
    interrupted: bool = False,
    again_seconds: float = PAUSE_AGAIN_SECONDS,
) -> None:
    """Pause the Space. Where that fails for good, say so and stay up, rather than exit into a restart loop.

    on_failure: called once, when it is known; afterwards the pause is tried again until it is done or a
    signal asks us to end. An interrupted run leaves a Space alone that the platform is restarting or
    stopping, and does not stay up.
    """
    if interrupted and is_being_replaced(api, space_id):
        logger.info("%s is being restarted or stopped already: not paused by this run", space_id)
        return
    if not (refused := _pause(api, space_id, journal)):
        return
    try:
        with interruptible():
            journal.write("pause_failed", space_id=space_id, message=refused)
            on_failure()
            while refused and not interrupted:
                logger.info("This process stays up and tries again in %.0f s. Ctrl-C ends it.", again_seconds)
                threading.Event().wait(again_seconds)
                refused = _pause(api, space_id, journal)
    except Interrupted as error:
        logger.info("%s", error)


def _pause(api: HfApi, space_id: str, journal: Journal) -> str | None:
    """Pause, with its record before and after; returns why it failed."""
    journal.write("pausing", space_id=space_id)
    journal.write_run_record()
    logger.info("Pausing %s", space_id)
    try:
        pause_space(api, space_id)
    except Exception as error:  # noqa: BLE001 (whatever it is, this process must not end before the pause)
        reason = str(error) if isinstance(error, RetrainError) else f"{type(error).__name__}: {error}"
        logger.error("%s It is still billed: pause it by hand in its settings.", reason)
        return reason
    journal.write("paused", space_id=space_id)
    journal.write_run_record()
    return None
