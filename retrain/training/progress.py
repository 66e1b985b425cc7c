"""Trainer callbacks: progress for the journal and the tracker, and a last validation. Knows no model."""

import logging
import time
from collections.abc import Callable, Mapping, Sized
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from retrain.events import Progress, Validation
from retrain.journal import Journal

logger = logging.getLogger(__name__)


class EvaluateAtTheEnd(TrainerCallback):
    """Validate after the last step too: otherwise a run shorter than EVAL_STEPS has no best weights."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        return control


class Heartbeat(TrainerCallback):
    """Writes into the journal how far a prediction is, so that a long one is not taken for a hang."""

    EVERY_SECONDS = 10.0

    def __init__(self, journal: Journal, stage: str) -> None:
        self.journal, self.stage = journal, stage
        self.done, self.written_at = 0, time.monotonic()

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Sized | None = None,
        **_: Any,
    ) -> None:
        assert eval_dataloader is not None
        self.done += 1
        if (now := time.monotonic()) - self.written_at > self.EVERY_SECONDS:
            self.written_at = now
            self.journal.write(Progress(self.stage, self.done, len(eval_dataloader)))
        if self.done == len(eval_dataloader):
            self.done = 0


class ProgressCallback(TrainerCallback):
    """Writes progress and validations to log and journal, and passes curves to `log_curves(values, step)`."""

    def __init__(self, journal: Journal, log_curves: Callable[[Mapping[str, float], int], None]) -> None:
        self.journal = journal
        self.log_curves = log_curves

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """A resumed run shows the curves from their beginning."""
        for logs in state.log_history:
            self.record(int(logs["step"]), state.max_steps, logs, again=True)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.journal.alive()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self.record(state.global_step, state.max_steps, logs or {})

    def record(self, step: int, total: int, logs: Mapping[str, float], *, again: bool = False) -> None:
        """Record an entry of the Trainer's log, if it is a loss or a validation."""
        if "loss" in logs:
            self.journal.write(Progress("train", step, total, logs["loss"], again=again))
            logger.info("step %d of %d: loss %.4f", step, total, logs["loss"])
            self.log_curves({"train/loss": logs["loss"], "train/learning_rate": logs["learning_rate"]}, step)
        elif "eval_loss" in logs:
            loss, f1_macro = logs["eval_loss"], logs["eval_f1_macro"]
            self.journal.write(Validation(step, total, f1_macro, loss))
            logger.info("step %d of %d: validation macro F1 %.4f", step, total, f1_macro)
            self.log_curves({"eval/loss": loss, "eval/f1_macro": f1_macro}, step)
