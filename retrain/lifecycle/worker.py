"""The error boundary of the process that does the work: whatever happens in it becomes the journal's outcome.

Knows nothing of the work: what is run is passed in.
"""

import logging
from collections.abc import Callable

from retrain.errors import Interrupted, RetrainError, bug_reason
from retrain.events import Ended
from retrain.journal import Journal
from retrain.processes import interruptible
from retrain.records import Verdict

logger = logging.getLogger(__name__)


def run_to_outcome(run: Callable[[], Verdict | Ended], journal: Journal) -> str:
    """Run, and record how it ended; returns the outcome."""
    try:
        with interruptible():
            result = run()
        ended = Ended(result.outcome, result.reasons)
    except (RetrainError, Interrupted) as error:
        logger.error("%s", error)
        ended = Ended(error.outcome, (str(error),))
    except Exception as error:
        logger.exception("A bug ended the run")
        ended = Ended("bug", (bug_reason(error),))
    journal.write(ended)
    return ended.outcome
