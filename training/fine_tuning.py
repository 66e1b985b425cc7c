"""The recipe: a model and tokenised rows in, a Trainer with the best weights out. Knows no Hub."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from configs import BaseConfig
from training.focal_loss import FocalLossMultiClass, FocalLossTrainer
from training.progress import EvaluateAtTheEnd


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_set: datasets.Dataset,
    eval_set: datasets.Dataset,
    config: BaseConfig,
    folder: Path,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]],
    callbacks: Sequence[TrainerCallback] = (),
) -> FocalLossTrainer:
    """Train; afterwards `model` holds the weights with the best macro F1 on `eval_set`.

    compute_metrics must give f1_macro. Checkpoints are kept below `folder`.
    """
    trainer = FocalLossTrainer(
        model=model,
        args=training_arguments(config, folder),
        train_dataset=train_set,
        eval_dataset=eval_set,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
        callbacks=[EvaluateAtTheEnd(), EarlyStoppingCallback(config.early_stopping_patience), *callbacks],
        focal_loss=FocalLossMultiClass(config.focal_gamma, class_weights(config, train_set["label"])),
    )
    trainer.remove_callback(PrinterCallback)  # our own callback logs the same, once
    trainer.train()
    return trainer


def training_arguments(config: BaseConfig, folder: Path) -> TrainingArguments:
    """The settings as transformers takes them."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.num_train_epochs,
        per_device_train_batch_size=config.train_batch_size,
        per_device_eval_batch_size=config.eval_batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        eval_strategy="steps",
        eval_steps=config.eval_steps,
        logging_steps=max(1, config.eval_steps // 5),
        # Saves at each new best validation, so that there is always one to load at the end.
        save_strategy="best",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="f1_macro",
        greater_is_better=True,
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        **_precision(),
    )


def class_weights(config: BaseConfig, labels: Sequence[int]) -> float | tuple[float, ...]:
    """FOCAL_ALPHA as numbers; "balanced" is rows / (classes × rows of the class), King & Zeng (2001)."""
    if config.focal_alpha != "balanced":
        return config.focal_alpha
    counts = np.bincount(labels, minlength=len(config.label2id))
    return tuple(float(weight) for weight in counts.sum() / (len(counts) * counts))


def _precision() -> dict[str, Any]:
    """Half precision where the GPU has it in hardware; float32 everywhere else."""
    if not torch.cuda.is_available():
        return {}
    return {"bf16": True} if torch.cuda.is_bf16_supported(including_emulation=False) else {"fp16": True}
