"""The heavy process that train_model.py starts and watches: `python model_pipeline.py RUN_FOLDER`.

Whatever happens in it becomes the journal's outcome and its exit code.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from huggingface_hub import HfApi

from configs import BaseConfig, get_config
from load_dataset import load_splits, pinned_revision
from retrain.errors import CheckpointError, Interrupted, RetrainError, bug_reason, hub_errors, resource_errors
from retrain.hub.client import check_token, configure_hub_client
from retrain.journal import Journal, remove_checkpoints, resumable_run, run_record
from retrain.lifecycle.supervisor import interruptible
from retrain.records import FINISHED, OUTCOMES, Verdict
from retrain.redaction import Redactor, set_up_logging
from retrain.release.metadata import environment
from retrain.reporting.history import Record, health, last_finished, read_runs
from retrain.reporting.tracking import Tracker

logger = logging.getLogger(__name__)


def run_training(classifier_class: Any, config: BaseConfig, tracker: Tracker, journal: Journal) -> Verdict:
    """The run: data, checkpoint, pipeline; or none of it, where nothing has changed."""
    token = config.hf_token.get_secret_value()
    api = HfApi(token=token)
    check_token(api)

    journal.write("environment", **environment())
    journal.write("stage", name="load data")
    earlier = earlier_runs(api, config, journal)
    revision = pinned_revision(api, config.dataset_repo_id, config.dataset_revision)
    checkpoint_revision = pinned_checkpoint(api, config.model_checkpoint)
    inputs = config.inputs() | {"dataset": revision, "checkpoint": checkpoint_revision}
    journal.write("inputs", **inputs)
    if config.skip_unchanged and (finished := last_finished(earlier)) and finished.get("inputs") == inputs:
        if checkpoint_revision is not None:
            return unchanged(finished)
        journal.warn("SKIP_UNCHANGED can't tell whether a checkpoint in a folder has changed: it trains.")
    with resource_errors():
        splits = load_splits(api, config.dataset_repo_id, config.label2id, revision)
    journal.write("dataset", **vars(splits.info))
    tracker.log_dataset(splits.info)

    journal.write("stage", name="load checkpoint")
    classifier = classifier_class(
        config.model_checkpoint,
        len(config.label2id),
        config.id2label,
        config.label2id,
        token,
        wandb_project_name=config.wandb_project_name,
        seed=config.seed,
        max_length=config.max_length,
        revision=checkpoint_revision,
    )
    cut_short = resumable_run(journal.folder.parent, journal.folder, inputs)
    verdict = classifier.train_pipeline(config, splits, tracker, journal, earlier, cut_short)
    if verdict.outcome in FINISHED:
        remove_checkpoints(journal.folder.parent, inputs)
        shutil.rmtree(journal.folder / "checkpoints", ignore_errors=True)
    return verdict


def earlier_runs(api: HfApi, config: BaseConfig, journal: Journal) -> list[Record]:
    """What the Hub keeps of the runs before this one; none of them is needed to train."""
    try:
        runs = read_runs(api, config.hub_model_id)
    except RetrainError as error:
        journal.warn(f"The history of runs can't be read: {error}")
        return []
    journal.write("history", **health(runs))
    return runs


def pinned_checkpoint(api: HfApi, checkpoint: str) -> str | None:
    """The commit that the checkpoint's main is at; None for a folder."""
    if Path(checkpoint).is_dir():
        return None
    with hub_errors("find MODEL_CHECKPOINT", checkpoint, CheckpointError):
        return api.model_info(checkpoint).sha


def unchanged(finished: Record) -> Verdict:
    """The verdict where a run would only repeat the last finished one."""
    run = Path(finished["folder"]).name
    return Verdict(
        "unchanged",
        (
            f"Data set, checkpoint and settings are those of the last finished run ({run}: "
            f"{finished['outcome']}), and SKIP_UNCHANGED is set.",
        ),
    )


def warn_of_idle_gpu(environ: Mapping[str, str], journal: Journal) -> None:
    """An image built for the CPU trains on a GPU Space without an error: slowly, at the price of the GPU."""
    billed = environ.get("ACCELERATOR") or "none"  # as the platform tells it
    if billed != "none" and not torch.cuda.is_available():
        journal.warn(
            f"The Space's {billed} is paid for and not used: no CUDA device is seen. "
            "Build it with REQUIREMENTS=requirements-cuda.lock, or choose a CPU."
        )


def start_tracking(config: BaseConfig, journal: Journal) -> Tracker:
    """Track online if that can be had, and say where."""
    key = config.wandb_api_key.get_secret_value() if config.wandb_api_key else None
    tracker = Tracker(config.wandb_project_name, key, journal.folder, config.public_values())
    if tracker.warning:
        journal.warn(tracker.warning)
    run_id = tracker.run and tracker.run.id
    journal.write("tracking", url=tracker.url, folder=str(journal.folder / "wandb"), run_id=run_id)
    return tracker


def main(classifier_class: Any, folder: Path, environ: Mapping[str, str]) -> int:
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
            warn_of_idle_gpu(environ, journal)
            tracker = start_tracking(config, journal)
            verdict = run_training(classifier_class, config, tracker, journal)
        outcome, reasons = verdict.outcome, verdict.reasons
    except (RetrainError, Interrupted) as error:
        logger.error("%s", error)
        outcome, reasons = error.outcome, (str(error),)
    except Exception as error:
        logger.exception("A bug ended the run")
        outcome, reasons = "bug", (bug_reason(error),)
    journal.write("outcome", outcome=outcome, reasons=reasons)
    if tracker:  # told from the journal, in which no secret is left
        tracker.finish(run_record(journal.read()))
        if tracker.told:
            journal.write("told", by="W&B")
    return OUTCOMES[outcome].exit_code
