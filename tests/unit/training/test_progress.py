"""What journal and tracker hear of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from retrain.journal import Journal
from retrain.training.progress import EvaluateAtTheEnd, Heartbeat, ProgressCallback


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "run")


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)


def told(journal: Journal) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in entry.as_json().items() if name != "time"} for entry in journal.read()
    ]


@pytest.mark.parametrize(("step", "validated"), [(9, False), (10, True), (11, True)])
def test_the_last_step_is_validated(arguments: TrainingArguments, step: int, validated: bool) -> None:
    state = TrainerState(global_step=step, max_steps=10)
    control = EvaluateAtTheEnd().on_step_end(arguments, state, TrainerControl())
    assert control.should_evaluate == validated


def test_a_prediction_is_told_of_every_ten_seconds(journal: Journal, arguments: TrainingArguments) -> None:
    heartbeat, control = Heartbeat(journal, "evaluate"), TrainerControl()

    def step(seconds_since: float) -> None:
        heartbeat.written_at -= seconds_since
        heartbeat.on_prediction_step(arguments, TrainerState(), control, eval_dataloader=range(3))

    step(9)
    assert told(journal) == []
    step(2)
    first = {"event": "progress", "stage": "evaluate", "done": 2, "total": 3}
    assert told(journal) == [first]
    step(0)
    step(11)
    assert told(journal) == [first, first | {"done": 1}], "the next prediction begins at one"


class Curves:
    """What the tracker is given."""

    def __init__(self) -> None:
        self.points: list[tuple[Mapping[str, float], int]] = []

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        self.points.append((values, step))


LOSS = {"loss": 0.5, "learning_rate": 1e-5, "epoch": 0.1}
VALIDATION = {"eval_loss": 0.4, "eval_f1_macro": 0.8, "epoch": 0.2}


def test_losses_and_validations_are_told_to_journal_and_tracker(
    journal: Journal, arguments: TrainingArguments, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "retrain.training.progress")
    curves, state = Curves(), TrainerState(global_step=5, max_steps=10)
    callback = ProgressCallback(journal, curves)
    for logs in (LOSS, VALIDATION, {"train_runtime": 3.0}, None):
        callback.on_log(arguments, state, TrainerControl(), logs)
    assert told(journal) == [
        {"event": "progress", "stage": "train", "done": 5, "total": 10, "loss": 0.5},
        {"event": "validation", "step": 5, "total": 10, "f1_macro": 0.8, "loss": 0.4},
    ]
    assert curves.points == [
        ({"train/loss": 0.5, "train/learning_rate": 1e-5}, 5),
        ({"eval/loss": 0.4, "eval/f1_macro": 0.8}, 5),
    ]
    assert caplog.messages == ["step 5 of 10: loss 0.5000", "step 5 of 10: validation macro F1 0.8000"]


def test_a_training_that_goes_on_tells_its_curves_from_their_beginning(
    journal: Journal, arguments: TrainingArguments
) -> None:
    curves = Curves()
    history = [LOSS | {"step": 2}, VALIDATION | {"step": 4}]
    state = TrainerState(global_step=4, max_steps=10, log_history=history)
    ProgressCallback(journal, curves).on_train_begin(arguments, state, TrainerControl())
    assert [(event["event"], event.get("done"), event.get("again")) for event in told(journal)] == [
        ("progress", 2, True),
        ("validation", None, None),
    ]
    assert [step for _, step in curves.points] == [2, 4]


def test_a_step_is_a_sign_of_life_when_nothing_was_told_for_long(
    journal: Journal, arguments: TrainingArguments
) -> None:
    callback, state = ProgressCallback(journal, Curves()), TrainerState()
    callback.on_step_end(arguments, state, TrainerControl())
    assert told(journal) == []
    journal._written_at -= 61
    callback.on_step_end(arguments, state, TrainerControl())
    assert told(journal) == [{"event": "alive"}]
