"""Loads a classifier from a base checkpoint or a released version: only safetensors, no remote code.

Also finds the checkpoints that a training run leaves behind.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from retrain.architectures import refusal
from retrain.errors import CheckpointError, resource_errors
from retrain.events import Resumed
from retrain.journal import Journal
from retrain.training.checksums import CHECKSUMS, checksum, record_checksums, verified_checksums
from retrain.training.finiteness import weights_not_finite

logger = logging.getLogger(__name__)


def load_classifier(
    folder: Path, named: str, id2label: Mapping[int, str] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an XLM-RoBERTa with a classification head, in float32, and its tokenizer.

    folder: config, tokenizer and safetensors; named: what it is called in messages, as in
    "MODEL_CHECKPOINT=xlm-roberta-base"; id2label: the labels of a head that is made anew; without it the
    checkpoint's own head is loaded.

    Raises:
        CheckpointError: it can't be loaded, has another shape than RoBERTa's, or is to be trained and has
            weights that are not finite.
    """
    labels = {}
    if id2label is not None:
        label2id = {name: i for i, name in id2label.items()}
        labels = {"num_labels": len(id2label), "id2label": dict(id2label), "label2id": label2id}
    with loading_errors(named):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **labels
        )
    if why := refusal(model.config.to_dict()):
        raise CheckpointError(f"{named} {why}.")
    if id2label is not None and (bad := weights_not_finite(model)):
        raise CheckpointError(
            f"{named} has weights that are not finite, in {', '.join(bad[:3])}. Name another checkpoint."
        )
    return model, tokenizer


@contextmanager
def loading_errors(named: str) -> Iterator[None]:
    """Turn what transformers raises while it loads a checkpoint into a CheckpointError."""
    try:
        with resource_errors():
            yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{named} can't be loaded ({reason}). Name a repository or a folder with the "
            "config, tokenizer and safetensors of an XLM-RoBERTa; a head in it must have the labels of LABEL."
        ) from error


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint of a training run: an interrupted save lacks its last file."""

    def is_whole(checkpoint: Path) -> bool:
        if not (checkpoint / CHECKSUMS).exists():
            return False
        try:
            step = json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())["global_step"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return isinstance(step, int) and step > 0

    steps = {each: each.name.removeprefix("checkpoint-") for each in folder.glob("checkpoint-*")}
    whole = [each for each, step in steps.items() if step.isdecimal() and is_whole(each)]
    return str(max(whole, key=lambda each: int(steps[each]))) if whole else None


def take_over_checkpoint(run_folder: Path, folder: Path, journal: Journal) -> None:
    """Copy another run's newest checkpoint into `folder` to resume from it; if that fails, start over.

    One that is damaged, or that an earlier version of this program saved without checksums, does not count.
    """
    checkpoints = run_folder / "checkpoints"
    if (found := last_checkpoint(checkpoints)) is None:
        if any(checkpoints.glob("checkpoint-*")):
            journal.warn(f"No checkpoint of {run_folder.name} was saved whole by this version: trained anew.")
        return
    copy = folder / Path(found).name
    partial = folder / "partial"  # a copy that is cut short is no checkpoint
    try:
        shutil.copytree(found, partial)
        saved = verified_checksums(partial)
        partial.rename(copy)
        # It was saved because it was the best so far, so the best checkpoint is now the copy.
        state = TrainerState.load_from_json(str(copy / TRAINER_STATE_NAME))
        state.best_model_checkpoint = str(copy)
        state.save_to_json(str(copy / TRAINER_STATE_NAME))
        record_checksums(copy, saved | {TRAINER_STATE_NAME: checksum(copy / TRAINER_STATE_NAME)})
    except (OSError, ValueError, TypeError) as error:
        journal.warn(f"The checkpoint of {run_folder.name} can't be taken over ({error}): trained anew.")
        shutil.rmtree(folder, ignore_errors=True)
        return
    logger.info("Going on from step %d of %s", state.global_step, run_folder.name)
    journal.write(Resumed(state.global_step, str(run_folder)))
