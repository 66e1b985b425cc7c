"""The end of a run: what is recorded and sent before the Space is paused, and the pause itself."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from retrain.errors import Interrupted, RetrainError
from retrain.events import Paused, PauseFailed, Pausing
from retrain.journal import Journal
from retrain.processes import interruptible
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from retrain.hub.spaces import Space

# How long a step between the outcome and the pause may take.
STEP_SECONDS = 90.0
# A pause that was refused for good is tried again so often, while the process stays up.
PAUSE_AGAIN_SECONDS = 300.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """What happens at the end of a run. None of it can keep the Space from its pause.

    keep: steps that make the report and put it where it outlives this container; send: who is notified; both
    by what they are called in a warning. say: prints the summary; show: lets those who watch the page see the
    end before its Space is paused; space: what is paused, if anything; inside: whether this process runs in
    that Space, so that its exit restarts it.
    """

    journal: Journal
    keep: Mapping[str, Callable[[], object]]
    send: Mapping[str, Callable[[RunRecord], object]]
    space: "Space | None"
    say: Callable[[RunRecord], object] = lambda record: None
    show: Callable[[], object] = lambda: None
    inside: bool = True

    def finish(self, *, interrupted: bool = False) -> RunRecord:
        """Record, report, send, pause, in this order; returns the final record.

        An interrupted run has seconds: it makes its report last.
        """
        try:
            self.journal.write_run_record()
            if not interrupted:
                self._keep()
            self.say(self._send_to_all())
            if not interrupted:
                self.show()
        except Exception:  # whatever it is, the Space is paused
            logger.exception("A bug kept the end of the run from being sent")
        if self.space:
            pause_or_stay(
                self.space, self.journal, self._send_to_all, interrupted=interrupted, inside=self.inside
            )
        if interrupted:
            self._keep()
        return self.journal.write_run_record()

    def _keep(self) -> None:
        for what, step in self.keep.items():
            best_effort(what, step, STEP_SECONDS, self.journal)

    def _send_to_all(self) -> RunRecord:
        for what, send in self.send.items():
            step = partial(send, self.journal.write_run_record())
            best_effort(what, step, STEP_SECONDS, self.journal)
        return self.journal.write_run_record()


def best_effort(what: str, step: Callable[[], object], seconds: float, journal: Journal) -> None:
    """Run a step that may fail or hang: then it is left behind, and what went wrong is recorded."""

    def guarded() -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 (whatever it is, the Space is paused)
            journal.warn(f"{what} failed: {str(error) or type(error).__name__}")

    thread = threading.Thread(target=guarded, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        journal.warn(f"{what} took longer than {seconds:.0f} seconds and was left behind.")


def pause_or_stay(
    space: "Space",
    journal: Journal,
    on_failure: Callable[[], object],
    *,
    interrupted: bool = False,
    inside: bool = True,
    again_seconds: float = PAUSE_AGAIN_SECONDS,
) -> None:
    """Pause the Space. If that fails for good inside it, stay up rather than exit into a restart loop.

    on_failure: called once, when it is known; afterwards the pause is tried again until it is done or a
    signal asks us to end. An interrupted run does not touch a Space that the platform is restarting or
    stopping, and does not stay up. Neither does a process elsewhere: it would only be billed for longer.
    """
    if interrupted and space.is_being_replaced():
        logger.info("%s is being restarted or stopped already: not paused by this run", space.repo_id)
        return
    if not (refused := _pause(space, journal)):
        return
    try:
        with interruptible():
            _record(journal, PauseFailed(space.repo_id, refused))
            try:
                on_failure()
            except Exception:  # whatever it is, this process stays up
                logger.exception("A bug kept the failed pause from being sent")
            while refused and inside and not interrupted:
                logger.info("This process stays up and tries again in %.0f s. Ctrl-C ends it.", again_seconds)
                threading.Event().wait(again_seconds)
                refused = _pause(space, journal)
    except Interrupted as error:
        logger.info("%s", error)


def _pause(space: "Space", journal: Journal) -> str | None:
    """Pause, with its record before and after; returns why it failed."""
    _record(journal, Pausing(space.repo_id))
    logger.info("Pausing %s", space.repo_id)
    try:
        space.pause()
    except Exception as error:  # noqa: BLE001 (whatever it is, this process must not end before the pause)
        reason = str(error) if isinstance(error, RetrainError) else f"{type(error).__name__}: {error}"
        logger.error("%s It is still billed: pause it by hand in its settings.", reason)
        return reason
    _record(journal, Paused(space.repo_id))
    return None


def _record(journal: Journal, event: object) -> None:
    """Write an event and run.json, if that can be done."""
    try:
        journal.write(event)
        journal.write_run_record()
    except Exception:  # whatever it is, the Space is paused
        logger.exception("The end of the run could not be recorded")
