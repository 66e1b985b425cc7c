"""The process that does the work, started by prepare_dataset.py: python preparation_process.py FOLDER."""

import os
import sys
from functools import partial
from pathlib import Path

from preparation.pipeline import OUTCOMES_IN_ORDER, prepare_datasets
from preparation.settings import PreparationSettings, get_settings
from retrain.events import Ended
from retrain.hub.client import check_token, connect
from retrain.journal import Journal
from retrain.lifecycle.worker import run_to_outcome
from retrain.processes import die_with_parent
from retrain.records import OUTCOMES
from retrain.redaction import Redactor, set_up_logging
from retrain.threads import usable_cores


def main(folder: Path) -> int:
    """Prepare the data sets and record how it ended; returns the exit code."""
    die_with_parent()
    settings = get_settings(os.environ)
    redact = Redactor(settings.secrets)
    set_up_logging(redact)
    journal = Journal(folder, redact)
    return OUTCOMES[run_to_outcome(partial(prepare, settings, journal), journal)].exit_code


def prepare(settings: PreparationSettings, journal: Journal) -> Ended:
    """All label sets; the outcome is the worst of theirs."""
    api = connect(settings.token, journal)
    check_token(api, settings.repo_ids().values())
    results = prepare_datasets(settings, api, journal, usable_cores(os.environ))
    outcome = max((each.outcome for each in results), key=OUTCOMES_IN_ORDER.index)
    return Ended(outcome, tuple(f"{each.label}: {reason}" for each in results for reason in each.reasons))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
