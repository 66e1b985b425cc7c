"""The moving average of the weights: it is validated, kept and released in place of the last weights.

Towards its end, training moves about a good point, and two neighbouring validations differ by chance. The
average is closer to that point: Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging"
(1992); as an exponential average: Tarvainen & Valpola, "Mean teachers" (2017), section 2.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# The average reaches back over about this share of the steps.
HORIZON = 0.1
AVERAGED_WEIGHTS = "averaged.safetensors"
Tensors = tuple[Tensor, ...] | list[Tensor]


class AveragedWeights(TrainerCallback):
    """Averages the weights of `model` after each step.

    It is the mean of all weights until there are as many as the horizon, and an exponential average from then
    on: so it is free of the bias towards where it began, without a correction.

    resume_from: the checkpoint that training goes on from.
    """

    def __init__(self, model: nn.Module, resume_from: str | None = None) -> None:
        self.model = model
        self.resume_from = resume_from
        self.averaged: AveragedModel | None = None
        self.horizon = 1.0

    def _follow(self, averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        weight = max(1 / (int(steps) + 1), 1 / self.horizon)
        torch._foreach_lerp_(list(averaged), list(current), weight)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.horizon = max(1.0, HORIZON * state.max_steps)
        self.averaged = AveragedModel(self.model, multi_avg_fn=self._follow)
        if self.resume_from:
            load_weights(self.averaged.module, Path(self.resume_from))
            self.averaged.n_averaged += state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        assert self.averaged is not None, "training has begun"
        with torch.no_grad():
            self.averaged.update_parameters(self.model)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.averaged = None

    def save(self, folder: Path) -> None:
        """Put the average beside the weights of a checkpoint that is being saved."""
        assert self.averaged is not None, "training has begun"
        weights = {name: weight.detach().cpu() for name, weight in self.averaged.module.named_parameters()}
        save_file(weights, folder / AVERAGED_WEIGHTS)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the model computes with the averaged weights, outside of it with its own."""
        if self.averaged is None:
            yield
            return
        pairs = list(zip(self.model.parameters(), self.averaged.module.parameters(), strict=True))
        _swap(pairs)
        try:
            yield
        finally:
            _swap(pairs)


def load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Give a model the averaged weights of a checkpoint.

    Raises:
        SafetensorError, OSError: they can't be read.
    """
    weights = load_file(checkpoint / AVERAGED_WEIGHTS)
    parameters = dict(model.named_parameters())
    if weights.keys() != parameters.keys():
        raise SafetensorError(f"{AVERAGED_WEIGHTS} is not of this model")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _swap(pairs: Sequence[tuple[nn.Parameter, nn.Parameter]]) -> None:
    for mine, averaged in pairs:
        mine.data, averaged.data = averaged.data, mine.data
