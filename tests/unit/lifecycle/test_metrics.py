"""The state of a run as Prometheus metrics."""

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from retrain.events import Ended, Entry, Paused, PauseFailed, Progress, Stage, Started, Validation, Warned
from retrain.lifecycle.metrics import metrics
from retrain.lifecycle.run_status import run_status
from retrain.records import Scores, Verdict


def samples(*events: Any) -> list[Any]:
    entries = [Entry("2026-01-01T00:00:00.000+00:00", event) for event in events]
    text = metrics(run_status(entries)).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def values(*events: Any) -> dict[str, float]:
    return {sample.name: sample.value for sample in samples(*events)}


def test_a_space_that_is_not_paused_is_an_alarm() -> None:
    failed = PauseFailed("city/retrain", "x")
    assert values()["retrain_space_not_paused"] == 0
    assert values(failed)["retrain_space_not_paused"] == 1
    assert values(failed, Paused("city/retrain"))["retrain_space_not_paused"] == 0


def test_what_is_not_known_is_left_out() -> None:
    assert values() == {"retrain_run": 1, "retrain_warnings": 0, "retrain_space_not_paused": 0}


def test_the_newest_points_and_the_number_of_warnings_are_shown() -> None:
    found = values(
        Warned("one"),
        Warned("two"),
        Validation(1, 4, 0.6, 0.5),
        Validation(2, 4, 0.7, 0.4),
        Progress("train", 1, 4, 0.9),
        Progress("train", 3, 4, 0.8),
    )
    assert found["retrain_warnings"] == 2
    assert found["retrain_training_f1_macro"] == 0.7
    assert found["retrain_training_loss"] == 0.8
    assert found["retrain_progress_ratio"] == 0.75


def test_a_run_is_known_by_its_label_stage_and_outcome() -> None:
    (began,) = (sample.labels for sample in samples() if sample.name == "retrain_run")
    assert began == {"label": "", "stage": "start", "outcome": "running"}
    events = (Started("x", "urgency"), Stage("load data"), Stage("train"), Ended("failed"))
    (ended,) = (sample.labels for sample in samples(*events) if sample.name == "retrain_run")
    assert ended == {"label": "urgency", "stage": "train", "outcome": "failed"}


def test_scores_and_gain_of_the_new_model_are_shown() -> None:
    scores = Scores(10, 0.5, 0.5, 0.5, 0.75, 0.5, 0.5, 0.5, {}, [])
    verdict = Verdict("rejected", (), delta=-0.125)
    found = values(scores, verdict)
    assert (found["retrain_test_f1_macro"], found["retrain_gain_f1_macro"]) == (0.75, -0.125)
    assert "retrain_gain_f1_macro" not in values(replace(verdict, delta=None))
