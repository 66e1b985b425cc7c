"""The recipe: a model and tokenised rows in, a Trainer with the best weights out. Knows no Hub."""

import contextlib
import ctypes
import functools
import gc
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from configs import TrainingSettings
from retrain.errors import resource_errors
from retrain.records import TrainingSummary
from retrain.training.averaging import AveragedWeights
from retrain.training.batching import collate_packed, packed
from retrain.training.checkpoint import last_checkpoint
from retrain.training.compact_vocabulary import compact_vocabulary
from retrain.training.focal_loss import FocalLossMultiClass, FocalLossTrainer
from retrain.training.progress import EvaluateAtTheEnd

WARM_UP = 0.06  # the share of the steps in which the rate rises to LEARNING_RATE

logger = logging.getLogger(__name__)


@resource_errors()
def fine_tune(
    model: PreTrainedModel,
    train_set: datasets.Dataset,
    eval_set: datasets.Dataset,
    settings: TrainingSettings,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> FocalLossTrainer:
    """Train; afterwards `model` holds the averaged weights with the lowest loss on `eval_set`.

    On a few hundred validation rows two neighbouring macro F1 differ by a point by chance; the loss of the
    averaged weights falls evenly, so that it shows when more training does not help (docs/training.md).
    Checkpoints are kept below `folder`; training goes on from one that is there already, in the same
    precision to the same end.

    Raises:
        DivergedError: a loss is not finite.
    """
    occurring = np.union1d(tokens_of(train_set), tokens_of(eval_set))
    alpha = class_weights(settings.focal_alpha, train_set["label"], model.config.num_labels)
    early_stopping = StopAfterAnEpoch(settings.early_stopping_patience)
    resume_from = last_checkpoint(folder)
    with compact_vocabulary(model, occurring), packed(model) as classifier:
        average = AveragedWeights(classifier, resume_from)
        trainer = FocalLossTrainer(
            model=classifier,
            args=training_arguments(settings, folder, len(train_set)),
            train_dataset=train_set,
            eval_dataset=eval_set,
            data_collator=collate_packed,
            compute_metrics=f1_macro,
            callbacks=[average, EvaluateAtTheEnd(), early_stopping, *callbacks],
            focal_loss=FocalLossMultiClass(settings.focal_gamma, alpha),
            average=average,
        )
        trainer.remove_callback(PrinterCallback)  # our own callback logs the same, once
        trainer.train(resume_from_checkpoint=resume_from)
        assert trainer.state.best_model_checkpoint, "it ends with a validation, whose loss is finite"
        _release_memory(trainer)
    return trainer


def _release_memory(trainer: Trainer) -> None:
    """Give back what only steps need, before the embedding is read in again; malloc keeps it otherwise."""
    for each in (trainer, trainer.callback_handler):
        each.optimizer = each.lr_scheduler = None
    trainer.accelerator.free_memory()
    gc.collect()
    with contextlib.suppress(AttributeError):  # a C library other than glibc has no such function
        ctypes.CDLL(None).malloc_trim(0)


@resource_errors()
def predict(
    model: PreTrainedModel,
    rows: datasets.Dataset,
    batch_size: int,
    callbacks: Sequence[TrainerCallback] = (),
) -> NDArray[np.float64]:
    """The probability of each class for tokenised rows: (rows, classes), in their order.

    Computed in float32, as the inference Space does.
    """
    with TemporaryDirectory() as folder, packed(model) as classifier:
        arguments = _arguments(folder, per_device_eval_batch_size=batch_size)
        trainer = Trainer(classifier, arguments, collate_packed, callbacks=[*callbacks])
        trainer.remove_callback(PrinterCallback)
        unlabelled = rows.select_columns(["input_ids"])
        logits = trainer.predict(unlabelled).predictions
    probabilities: NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
    return probabilities


def f1_macro(prediction: EvalPrediction) -> dict[str, float]:
    """What the Trainer measures at a validation; a class without rows counts as 0."""
    logits = np.asarray(prediction.predictions)
    # Heavy to import, and not needed before the first validation.
    from sklearn.metrics import f1_score

    labels, answers = prediction.label_ids, logits.argmax(axis=-1)
    every_class = range(logits.shape[-1])
    return {
        "f1_macro": float(f1_score(labels, answers, labels=every_class, average="macro", zero_division=0))
    }


class StopAfterAnEpoch(EarlyStoppingCallback):
    """Early stopping that lets every row be seen once before it counts."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **more: Any,
    ) -> None:
        stops_already = control.should_training_stop
        super().on_evaluate(args, state, control, metrics, **more)
        if (state.epoch or 0.0) < 1:
            self.early_stopping_patience_counter = 0
            control.should_training_stop = stops_already


def training_summary(trainer: Trainer) -> TrainingSummary:
    """How a training went."""
    state, arguments = trainer.state, trainer.args
    validations = [each for each in state.log_history if "eval_loss" in each]
    best: dict[str, float] = next(
        (each for each in validations if each["step"] == state.best_global_step), {}
    )
    return TrainingSummary(
        steps=state.global_step,
        best_step=state.best_global_step,
        best_f1_macro=best.get("eval_f1_macro"),
        best_loss=state.best_metric,
        epochs=round(arguments.num_train_epochs, 2),
        precision=next((name for name in ("bf16", "fp16") if getattr(arguments, name)), "fp32"),
        device=arguments.device.type,
        devices=arguments.world_size,
    )


def tokens_of(rows: datasets.Dataset) -> NDArray[np.integer]:
    """The sorted token ids that occur in tokenised rows; only a batch of rows is in memory at a time."""
    batches = rows.select_columns(["input_ids"]).with_format("arrow").iter(10_000)
    found = (pc.unique(batch["input_ids"].combine_chunks().flatten()).to_numpy() for batch in batches)
    return functools.reduce(np.union1d, found)


def epochs_of(settings: TrainingSettings, rows: int) -> float:
    """NUM_TRAIN_EPOCHS, or as many as MIN_TRAIN_STEPS needs: small corpora are starved of steps otherwise."""
    steps_of_an_epoch = -(-rows // settings.train_batch_size)
    return max(settings.num_train_epochs, settings.min_train_steps / steps_of_an_epoch)


def training_arguments(settings: TrainingSettings, folder: Path, rows: int) -> TrainingArguments:
    """The settings as transformers takes them, for so many training rows."""
    epochs = epochs_of(settings, rows)
    if epochs > settings.num_train_epochs:
        logger.info(
            "NUM_TRAIN_EPOCHS=%g of %d rows are fewer steps than MIN_TRAIN_STEPS=%d: training %.1f epochs",
            settings.num_train_epochs,
            rows,
            settings.min_train_steps,
            epochs,
        )
    return _arguments(
        str(folder),
        half_precision() if settings.precision == "auto" else None,
        num_train_epochs=epochs,
        warmup_steps=WARM_UP,
        # TRAIN_BATCH_SIZE is what the optimizer sees, on however many devices.
        per_device_train_batch_size=-(-settings.train_batch_size // int(os.environ.get("WORLD_SIZE", "1"))),
        per_device_eval_batch_size=settings.eval_batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        eval_strategy="steps",
        eval_steps=settings.eval_steps,
        logging_steps=max(1, settings.eval_steps // 5),
        # Saves at each new best validation, so that there is always one to load at the end, and all that is
        # needed to go on from there; FocalLossTrainer removes those before it.
        save_strategy="best",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        seed=settings.seed,
    )


def class_weights(
    alpha: float | Sequence[float] | str, labels: Sequence[int], num_labels: int
) -> float | tuple[float, ...]:
    """FOCAL_ALPHA as numbers; "balanced" is rows / (classes × rows of the class), King & Zeng (2001)."""
    if isinstance(alpha, str):
        counts = np.bincount(labels, minlength=num_labels)
        return tuple(float(weight) for weight in counts.sum() / (len(counts) * counts))
    return alpha if isinstance(alpha, float) else tuple(alpha)


def half_precision() -> Literal["bf16", "fp16"] | None:
    """The half precision that the GPU, or else the CPU, computes in; None if it would have to emulate it."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    cpu = torch.cpu.get_capabilities()
    return "bf16" if cpu.get("amx_bf16") or cpu.get("avx512_bf16") else None


def _arguments(folder: str, half: Literal["bf16", "fp16"] | None = None, **chosen: Any) -> TrainingArguments:
    """What training and prediction share: packed batches, computed in a half precision or float32."""
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=folder,
        bf16=half == "bf16",
        fp16=half == "fp16",
        use_cpu=not on_gpu,  # or several processes on CPUs would not find each other
        label_names=["labels"],
        remove_unused_columns=False,  # it would look at the argument names of the unpacked model
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        logging_nan_inf_filter=False,  # FocalLossTrainer looks at each loss itself
        # Every parameter gets a gradient in each step, and no buffer changes: nothing to look for or send.
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        **chosen,
    )
    # Several GPUs mean several processes: DataParallel would split a packed batch in the middle.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
