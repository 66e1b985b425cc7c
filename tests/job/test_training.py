"""Whole trainings of a tiny model: the best weights go on, and two processes learn what one learns."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from configs import UrgencyConfig, urgency2id
from model_pipeline import GrievanceClassifier
from retrain.journal import Journal
from retrain.reporting.tracking import Tracker
from retrain.training.devices import train_on_devices
from retrain.training.fine_tuning import fine_tune, training_summary
from tests.conftest import NEEDED


@pytest.fixture
def classifier(checkpoint: Path) -> GrievanceClassifier:
    labels = urgency2id
    return GrievanceClassifier(str(checkpoint), 3, {i: n for n, i in labels.items()}, labels)


def test_the_best_weights_go_on_not_the_last(
    classifier: GrievanceClassifier, good_splits: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    ids = urgency2id
    rows = good_splits["train"] + good_splits["test"]
    sets = {
        name: classifier.tokenize_dataset(
            datasets.Dataset.from_list([r | {"label": ids[r["label"]]} for r in part])
        )
        for name, part in (("train", rows), ("eval", good_splits["eval"]))
    }
    # With these settings the validation loss rises in the end, so that the best one is not the last.
    config = UrgencyConfig.read(
        NEEDED
        | {
            "NUM_TRAIN_EPOCHS": "14",
            "MIN_TRAIN_STEPS": "0",
            "LEARNING_RATE": "0.002",
            "EVAL_STEPS": "8",
            "EARLY_STOPPING_PATIENCE": "50",
        }
    )
    journal = Journal.create(tmp_path / "run")
    classifier.train(sets["train"], sets["eval"], config, journal, Tracker("t", None, tmp_path, {}))
    validations = journal.record().validations
    best = min(validations, key=lambda each: each.loss)
    assert best.loss < validations[-1].loss, "this seed does not put the rule to the test"
    assert best.f1_macro != validations[-1].f1_macro, "nor would it show"
    scores, _ = classifier.evaluate(sets["eval"])
    assert scores.f1_macro == pytest.approx(best.f1_macro)


def test_a_run_shorter_than_eval_steps_is_validated_once(
    classifier: GrievanceClassifier, good_splits: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    ids = urgency2id
    rows = datasets.Dataset.from_list([r | {"label": ids[r["label"]]} for r in good_splits["eval"]])
    config = UrgencyConfig.read(NEEDED | {"NUM_TRAIN_EPOCHS": "1", "MIN_TRAIN_STEPS": "0"})
    journal = Journal.create(tmp_path / "run")
    tokenized = classifier.tokenize_dataset(rows)
    classifier.train(tokenized, tokenized, config, journal, Tracker("t", None, tmp_path, {}))
    assert [each.step for each in journal.record().validations] == [2]


def test_two_processes_learn_what_one_learns_from_the_same_batches(
    classifier: GrievanceClassifier, good_splits: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """With gloo, in float32, without dropout, whose draws differ; long texts exceed the budget of a batch."""
    classifier.model.save_pretrained(tmp_path / "start")
    config = AutoConfig.from_pretrained(tmp_path / "start")
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    ids = urgency2id
    rows = [
        row | {"label": ids[row["label"]], "grievance": row["grievance"] * (40 if i % 16 < 3 else 1)}
        for i, row in enumerate((good_splits["train"] + good_splits["test"])[:64])
    ]
    sets = [classifier.tokenize_dataset(datasets.Dataset.from_list(part)) for part in (rows, rows[:32])]
    assert max(map(len, sets[0]["input_ids"])) > 256
    chosen = {"NUM_TRAIN_EPOCHS": "2", "MIN_TRAIN_STEPS": "0", "LEARNING_RATE": "0.001", "EVAL_STEPS": "2"}
    patient = NEEDED | chosen | {"EARLY_STOPPING_PATIENCE": "9", "PRECISION": "fp32"}
    settings = UrgencyConfig.read(patient)
    trained, summaries = [], []
    for processes in (1, 2):
        load = AutoModelForSequenceClassification.from_pretrained
        model, folder = load(tmp_path / "start", config=config), tmp_path / str(processes)
        journal = Journal.create(folder)
        if processes == 1:
            trainer = fine_tune(model, *sets, settings, folder / "checkpoints")
            summaries.append(training_summary(trainer))
        else:
            environ = os.environ | patient | {"OMP_NUM_THREADS": "1"}
            summaries.append(train_on_devices(model, *sets, folder, processes, environ))
            validations = journal.record().validations
            assert len({validation.step for validation in validations}) == 4
            assert len(validations) == 4, "one process alone tells"
        trained.append(model.state_dict())
    assert [summary.devices for summary in summaries] == [1, 2]
    assert summaries[0].best_f1_macro == pytest.approx(summaries[1].best_f1_macro)
    assert summaries[0].best_loss == pytest.approx(summaries[1].best_loss, rel=1e-3)
    first, second = (replace(each, devices=0, best_f1_macro=None, best_loss=None) for each in summaries)
    assert first == second
    for name, alone in trained[0].items():
        if name.endswith("key.bias"):
            continue  # softmax takes no notice of it: its gradient is rounding error, which Adam makes large
        torch.testing.assert_close(trained[1][name], alone, rtol=1e-3, atol=1e-5, msg=name)
