"""Focal loss for several classes, and the Trainer that uses it.

Source: Lin et al., "Focal Loss for Dense Object Detection" (2017), section 3:
FL(p_t) = -α_t (1 - p_t)^γ log p_t.
"""

import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

from retrain.errors import DivergedError
from retrain.training.averaging import AveragedWeights, load_weights
from retrain.training.batching import Batch, micro_batches, token_budget
from retrain.training.checksums import checksums, record_checksums


class FocalLossMultiClass(nn.Module):
    """The mean focal loss of a batch.

    gamma: how strongly easy rows are down-weighted; 0 gives α-weighted cross entropy.
    alpha: one number, or one per class in id order.
    """

    alpha: Tensor

    def __init__(self, gamma: float = 2.0, alpha: float | Sequence[float] = 0.25) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", torch.as_tensor(alpha, dtype=torch.float32))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits: (batch, classes), any float type; labels: (batch,) ids. Returns a float32 scalar."""
        log_pt = torch.log_softmax(logits.float(), dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
        self.alpha = self.alpha.to(logits.device)
        alpha_t = self.alpha[labels] if self.alpha.ndim else self.alpha
        # 1 - p_t without cancellation; clamped above zero, where a gamma below 1 has no finite gradient.
        missing = (-torch.expm1(log_pt)).clamp(min=torch.finfo(torch.float32).eps)
        return (-alpha_t * missing.pow(self.gamma) * log_pt).mean()


class FocalLossTrainer(Trainer):
    """A Trainer for packed batches; its loss, in training and evaluation, is the given focal loss.

    Training and evaluation raise DivergedError at the first loss that is not finite.
    """

    # The loss is a plain mean over its batch: the Trainer has to divide it by the accumulation steps.
    loss_is_scaled_for_ga = False
    # Which share of a batch's rows compute_loss receives: the weight of its mean loss.
    share = 1.0

    def __init__(
        self,
        *args: Any,
        focal_loss: FocalLossMultiClass,
        average: AveragedWeights | None = None,
        max_tokens: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.focal_loss = focal_loss
        self.average = average
        self.max_tokens = max_tokens or token_budget(self.model.model.config, self.args.device)

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward in parts within the token budget: the same gradient, in bounded memory."""
        texts = len(inputs["labels"])
        losses = []
        parts = list(micro_batches(inputs, self.max_tokens))
        for i, part in enumerate(parts, 1):
            self.share = len(part["labels"]) / texts
            # Devices exchange gradients once for each batch, however many parts each of them has.
            unsynced = self.accelerator.no_sync(model) if i < len(parts) else nullcontext()
            with unsynced:
                losses.append(super().training_step(model, part, num_items_in_batch))
        self.share = 1.0
        loss = torch.stack(losses).sum()
        self._check(f"the loss of step {self.state.global_step + 1}", loss.item())
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights, and their average with them."""
        super().save_model(output_dir, _internal_call)
        if self.average and output_dir and self.args.should_save:
            self.average.save(Path(output_dir))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint with its checksums, and only then remove those before it: none is as good."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process has a file in it
        if self.args.should_save:
            checkpoint = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            record_checksums(checkpoint, checksums(checkpoint))
            for other in checkpoint.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
                if other != checkpoint:
                    shutil.rmtree(other, ignore_errors=True)

    def _load_best_model(self) -> None:
        """Load what was validated: the average, not the weights beside it."""
        assert self.state.best_model_checkpoint, "called if there is one"
        load_weights(self.model, Path(self.state.best_model_checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Go on from fp16 in another precision; the other way, a new scaler finds its scale in some steps."""
        if getattr(self.accelerator, "scaler", None) is not None:
            super()._load_scaler(checkpoint)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate the averaged weights, if there is an average."""
        with self.average.in_place() if self.average else nullcontext():
            figures: dict[str, float] = super().evaluate(*args, **kwargs)
        return figures

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Validate; what is not finite is not logged first."""
        output = super().evaluation_loop(*args, **kwargs)
        loss = (output.metrics or {}).get("eval_loss", 0.0)
        self._check(f"the validation loss after step {self.state.global_step}", loss)
        return output

    def _check(self, what: str, loss: float) -> None:
        if not math.isfinite(loss):
            args, focal = self.args, self.focal_loss
            raise DivergedError(
                f"The training diverged: {what} is {loss}. Lower LEARNING_RATE={args.learning_rate:g}, and "
                f"look at FOCAL_ALPHA={focal.alpha.tolist()}, FOCAL_GAMMA={focal.gamma:g}, "
                f"WEIGHT_DECAY={args.weight_decay:g} and the base checkpoint."
            )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The focal loss of a batch, with the model's outputs if requested."""
        features = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**features)
        loss = self.share * self.focal_loss(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss
