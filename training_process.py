"""The heavy process that train_model.py starts and watches: `python training_process.py RUN_FOLDER`.

Whatever happens in it becomes the journal's outcome and its exit code.
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import datasets
import transformers
from huggingface_hub import HfApi

from configs import BaseConfig, get_config
from errors import Interrupted, RetrainError, resource_errors
from lifecycle.hub_client import check_token, configure_hub_client
from lifecycle.supervisor import interruptible
from load_dataset import load_splits
from model_pipeline import GrievanceClassifier
from reporting.redaction import Redactor, set_up_logging
from reporting.summary import summary
from reporting.tracking import Tracker
from run_record import EXIT_CODES, Journal, Verdict, run_record

logger = logging.getLogger(__name__)


def run_training(config: BaseConfig, tracker: Tracker, journal: Journal) -> Verdict:
    """The run: data, checkpoint, pipeline."""
    token = config.hf_token.get_secret_value()
    api = HfApi(token=token)
    check_token(api)

    journal.write("stage", name="load data")
    with resource_errors():
        splits = load_splits(api, config.dataset_repo_id, config.label2id, config.dataset_revision)
    journal.write("dataset", **vars(splits.info))
    tracker.log_dataset(splits.info)

    journal.write("stage", name="load checkpoint")
    classifier = GrievanceClassifier(
        config.model_checkpoint,
        len(config.label2id),
        config.id2label,
        config.label2id,
        token,
        wandb_project_name=config.wandb_project_name,
        seed=config.seed,
        max_length=config.max_length,
    )
    return classifier.train_pipeline(config, splits, tracker, journal)


def start_tracking(config: BaseConfig, journal: Journal) -> Tracker:
    """Track online if that can be had, and say where."""
    key = config.wandb_api_key.get_secret_value() if config.wandb_api_key else None
    tracker = Tracker(config.wandb_project_name, key, journal.folder, config.public_values())
    if tracker.warning:
        journal.warn(tracker.warning)
    journal.write("tracking", url=tracker.url, folder=str(journal.folder / "wandb"))
    return tracker


def main(folder: Path, environ: Mapping[str, str]) -> int:
    """The error boundary: whatever happens becomes the journal's outcome, an alert and an exit code."""
    config = get_config(environ)
    redact = Redactor(config.secrets)
    set_up_logging(redact)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    configure_hub_client()
    journal, tracker = Journal(folder, redact), None
    reasons: tuple[str, ...]
    try:
        with interruptible():
            tracker = start_tracking(config, journal)
            verdict = run_training(config, tracker, journal)
        outcome, reasons = verdict.outcome, verdict.reasons
    except (RetrainError, Interrupted) as error:
        logger.error("%s", error)
        outcome, reasons = error.outcome, (str(error),)
    except Exception as error:
        logger.exception("A bug ended the run")
        outcome, reasons = "bug", (f"{type(error).__name__}: {error}",)
    journal.write("outcome", outcome=outcome, reasons=reasons)
    if tracker:  # told from the journal, in which no secret is left
        tracker.finish(outcome, summary(run_record(journal.read())), EXIT_CODES[outcome])
    return EXIT_CODES[outcome]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), os.environ))
