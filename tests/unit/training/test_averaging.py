"""The moving average of the weights."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from retrain.training.averaging import AVERAGED_WEIGHTS, AveragedWeights, load_weights


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)


class OneWeight(nn.Module):
    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))

    def forward(self) -> torch.Tensor:
        return self.weight


def followed(arguments: TrainingArguments, values: list[float], max_steps: int) -> AveragedWeights:
    """The average after a model has had these weights, one after each step."""
    model = OneWeight()
    average, state, control = AveragedWeights(model), TrainerState(max_steps=max_steps), TrainerControl()
    average.on_train_begin(arguments, state, control)
    for value in values:
        model.weight.data.fill_(value)
        average.on_step_end(arguments, state, control)
    return average


def value_of(average: AveragedWeights) -> float:
    assert average.averaged is not None
    return float(next(average.averaged.module.parameters()))


def test_as_long_as_the_steps_are_few_it_is_their_mean(arguments: TrainingArguments) -> None:
    assert value_of(followed(arguments, [1.0, 2.0, 6.0], max_steps=100)) == pytest.approx(3.0)


def test_then_it_forgets_at_the_pace_of_a_tenth_of_all_steps(arguments: TrainingArguments) -> None:
    """Of twenty steps the horizon is two: the mean of the first two, and half of each further one."""
    assert value_of(followed(arguments, [1.0, 3.0, 4.0, 8.0], max_steps=20)) == pytest.approx(5.5)


def test_where_training_began_does_not_count(arguments: TrainingArguments) -> None:
    assert value_of(followed(arguments, [7.0], max_steps=100)) == 7.0


def test_inside_the_block_the_model_computes_with_the_average(arguments: TrainingArguments) -> None:
    average = followed(arguments, [1.0, 2.0], max_steps=100)
    with average.in_place():
        assert float(average.model()) == pytest.approx(1.5)
    assert float(average.model()) == 2.0


def test_after_an_error_in_the_block_the_model_has_its_own_weights(arguments: TrainingArguments) -> None:
    average = followed(arguments, [1.0, 2.0], max_steps=100)
    with pytest.raises(MemoryError), average.in_place():
        raise MemoryError
    assert float(average.model()) == 2.0


def test_after_training_no_average_is_kept_in_memory(arguments: TrainingArguments) -> None:
    average = followed(arguments, [1.0, 2.0], max_steps=100)
    average.on_train_end(arguments, TrainerState(), TrainerControl())
    assert average.averaged is None


def test_before_training_there_is_no_average_to_compute_with() -> None:
    average = AveragedWeights(OneWeight(3.0))
    with average.in_place():
        assert float(average.model()) == 3.0


def test_an_average_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    arguments: TrainingArguments, tmp_path: Path
) -> None:
    whole = followed(arguments, [1.0, 3.0, 4.0, 8.0], max_steps=20)
    first = followed(arguments, [1.0, 3.0, 4.0], max_steps=20)
    (tmp_path / "checkpoint-3").mkdir()
    state, control = TrainerState(global_step=3, max_steps=20), TrainerControl()
    first.save(tmp_path / "checkpoint-3")

    model = OneWeight(4.0)
    again = AveragedWeights(model, str(tmp_path / "checkpoint-3"))
    again.on_train_begin(arguments, state, control)
    model.weight.data.fill_(8.0)
    again.on_step_end(arguments, state, control)
    assert value_of(again) == value_of(whole)


def test_the_average_of_another_model_is_refused(arguments: TrainingArguments, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    followed(arguments, [1.0], max_steps=20).save(tmp_path / "checkpoint-1")
    assert [file.name for file in (tmp_path / "checkpoint-1").iterdir()] == [AVERAGED_WEIGHTS]
    with pytest.raises(SafetensorError, match="is not of this model"):
        load_weights(nn.Linear(1, 1), tmp_path / "checkpoint-1")
