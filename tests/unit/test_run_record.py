"""The record of a run: what its journal is folded into, and what is read back from run.json."""

import json
from dataclasses import fields
from typing import Any

import pytest

from retrain.events import (
    Alive,
    Archived,
    Ended,
    Entry,
    Notified,
    Paused,
    PauseFailed,
    Pausing,
    Progress,
    Resumed,
    Stage,
    Started,
    Validation,
    Warned,
)
from retrain.records import (
    Histogram,
    Version,
)
from retrain.run_record import RunRecord, StageBegun, run_record
from tests.unit.test_events import EXAMPLES, TAG, TIME


def at(second: int, event: Any) -> Entry:
    return Entry(f"2026-01-01T00:00:{second:02}.000+00:00", event)


def test_a_record_holds_the_last_of_each_kind_and_all_of_some() -> None:
    record = run_record(
        [
            at(1, Started("runs/x", "urgency", {"SEED": 42})),
            at(2, Stage("load data")),
            at(3, Stage("train")),
            at(4, Progress("train", 1, 2, 0.5)),
            at(5, Validation(1, 2, 0.5, 0.4)),
            at(6, Validation(2, 2, 0.6, 0.3)),
            at(7, Warned("one")),
            at(7, Warned("two")),
            at(8, Alive()),
            at(8, Archived("one")),
            at(9, Archived("two")),
        ]
    )
    assert record.started_at == "2026-01-01T00:00:01.000+00:00"
    assert (record.folder, record.label, record.settings) == ("runs/x", "urgency", {"SEED": 42})
    assert [stage.name for stage in record.stages] == ["load data", "train"]
    assert record.stages[1] == StageBegun("train", "2026-01-01T00:00:03.000+00:00")
    assert [validation.step for validation in record.validations] == [1, 2]
    assert [warning.message for warning in record.warnings] == ["one", "two"]
    assert record.kept == Archived("two")
    assert (record.outcome, record.finished_at) == (None, None)
    assert not {"progress", "alive", "finished_at"} & record.as_json().keys()


def test_of_two_outcomes_the_first_one_counts() -> None:
    record = run_record(
        [at(1, Ended("rejected", ("why",))), at(2, Ended("failed", ("how the process ended",)))]
    )
    assert (record.outcome, record.reasons) == ("rejected", ("why",))
    assert record.finished_at == "2026-01-01T00:00:01.000+00:00"


def test_a_pause_that_succeeds_takes_back_that_it_failed() -> None:
    failed = at(1, PauseFailed("city/retrain", "x"))
    assert run_record([failed]).pause_failed == PauseFailed("city/retrain", "x")
    record = run_record([failed, at(2, Paused("city/retrain"))])
    assert record.pause_failed is None
    assert "pause_failed" not in record.as_json()


def test_a_record_without_events_is_that_of_a_run_that_has_not_ended() -> None:
    assert run_record([]) == RunRecord()
    assert run_record([]).as_json() == {"outcome": None, "reasons": []}


def read_again(record: RunRecord) -> RunRecord | None:
    return RunRecord.parse(json.loads(json.dumps(record.as_json())))


@pytest.mark.parametrize("paused", [False, True])
def test_a_record_is_read_as_it_was_written(paused: bool) -> None:
    events = [each for each in EXAMPLES if paused or not isinstance(each, Paused)]
    record = run_record(at(second, event) for second, event in enumerate(events))
    unknown = {each.name for each in fields(record) if getattr(record, each.name) in (None, ())}
    assert unknown == ({"pause_failed"} if paused else set())
    assert read_again(record) == record
    assert list(record.as_json())[:2] == ["outcome", "reasons"]


def test_the_record_of_a_run_that_hardly_began_is_read_too() -> None:
    record = run_record([at(0, Started("runs/x")), at(1, Ended("bad_settings", ("x",)))])
    assert read_again(record) == record


@pytest.mark.parametrize(
    "record", [None, [], "failed", {}, {"outcome": None, "reasons": []}, {"outcome": 3}, {"reasons": ["x"]}]
)
def test_what_is_no_record_of_an_ended_run_is_none(record: Any) -> None:
    assert RunRecord.parse(record) is None


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("test_scores", None, None),
        ("test_scores", {"f1_macro": 0.75}, None),
        ("test_scores", [0.75], None),
        ("stages", {"train": TIME}, ()),
        ("stages", ["train", {"name": "train"}, {"name": "x", "started_at": TIME}], (StageBegun("x", TIME),)),
        ("validations", None, ()),
        ("warnings", [{"message": "one"}, "two", {"text": "three"}, None], (Warned("one"),)),
        ("reasons", "why", ()),
        ("reasons", [1, "two"], ("1", "two")),
        ("label", 3, None),
        ("started_at", 1767225600, None),
        ("settings", [["SEED", 42]], None),
        ("inputs", "all", None),
        ("verdict", {"outcome": "accepted"}, None),
        ("release", {"version_tag": TAG}, None),
        ("history", {"runs": "many"}, None),
        ("of a later version", {"a": 1}, None),
    ],
)
def test_what_can_not_be_read_is_left_out_and_the_rest_is_read(name: str, value: Any, left: Any) -> None:
    events = [at(0, Started("runs/x", "urgency", {"SEED": 42})), at(1, Ended("failed", ("x",)))]
    record = run_record([*events, at(2, Pausing("city/retrain"))])
    found = RunRecord.parse(record.as_json() | {name: value})
    assert found is not None
    assert getattr(found, name, None) == left
    for each in fields(record):
        if each.name != name:
            assert getattr(found, each.name) == getattr(record, each.name)


# A run.json of the version before the events had types.
BEFORE = """{
  "outcome": "accepted",
  "reasons": ["Macro F1 0.8100 against 0.7400 on 60 rows: the gain of +0.0700 exceeds 0.0010."],
  "label": "urgency",
  "folder": "/data/runs/20251101_020304_urgency_1a2b",
  "settings": {
    "LABEL": "urgency", "DATASET_REPO_ID": "city/data", "DATASET_REVISION": null,
    "HUB_MODEL_ID": "city/model", "FOCAL_ALPHA": [0.1, 0.2, 0.7], "SEED": 42, "RUN_DIR": "/data/runs"
  },
  "started_at": "2025-11-01T02:03:04.005+00:00",
  "environment": {"python": "3.11.9", "hardware": "x86_64", "cpus": 8, "torch": "2.7.1"},
  "stages": [
    {"name": "load data", "started_at": "2025-11-01T02:03:10.000+00:00"},
    {"name": "train", "started_at": "2025-11-01T02:04:00.000+00:00"},
    {"name": "evaluate", "started_at": "2025-11-01T02:34:00.000+00:00"}
  ],
  "history": {
    "runs": 1, "success_rate": 1.0, "acceptance_rate": 0.0, "training_minutes": 29.5,
    "f1_macro": [["2025-10-01T02:03:04.005+00:00", 0.79]],
    "in_production": [["2025-09-01T02:03:04.005+00:00", "v20250901_020304"]]
  },
  "inputs": {"LABEL": "urgency", "HUB_MODEL_ID": "city/model", "dataset": "aaaa", "checkpoint": null},
  "dataset": {
    "repo_id": "city/data", "revision": "aaaa", "version_tag": "v20251031_000000",
    "split_sizes": {"train": 60, "eval": 30, "test": 60},
    "label_counts": {"train": {"NORMAL": 20, "URGENT": 20, "HIGHLY URGENT": 20}},
    "exact_duplicates": {"train": 0}, "normalised_duplicates": {"train": 1},
    "removed_from_train": {"eval": 0, "test": 1}, "shared_by_eval_and_test": 0
  },
  "tracking": {"url": null, "folder": "/data/runs/20251101_020304_urgency_1a2b/wandb", "run_id": "x1"},
  "resumed": {"step": 50, "from": "/data/runs/20251101_000000_urgency_3c4d"},
  "validations": [{"step": 50, "total": 90, "f1_macro": 0.75, "loss": 0.125}],
  "training": {
    "steps": 90, "best_step": 50, "best_f1_macro": 0.75, "precision": "fp32", "device": "cpu", "devices": 1
  },
  "test_scores": {
    "rows": 60, "accuracy": 0.82, "precision_macro": 0.81, "recall_macro": 0.8, "f1_macro": 0.81,
    "precision_weighted": 0.82, "recall_weighted": 0.82, "f1_weighted": 0.82,
    "per_class": {"NORMAL": {"precision": 0.8, "recall": 0.8, "f1": 0.8, "support": 20}},
    "confusion": [[16, 4], [3, 17]]
  },
  "reliability": {"bins": [[0.55, 0.5, 20], [0.95, 1.0, 40]]},
  "compared": {
    "confusion_candidate": [[16, 4], [3, 17]], "confusion_live": [[12, 8], [6, 14]],
    "reliability_live": [[0.9, 0.7, 60]], "gains": {"edges": [0.0, 0.05, 0.1], "counts": [300, 700]}
  },
  "verdict": {
    "outcome": "accepted",
    "reasons": ["Macro F1 0.8100 against 0.7400 on 60 rows: the gain of +0.0700 exceeds 0.0010."],
    "compared_with": "api", "rows_asked": 60, "rows_compared": 59, "failures": {"status 500": 1},
    "rules": [{"name": "DECISION_THRESHOLD", "passed": true, "reason": "The gain exceeds 0.0010."}],
    "f1_macro_candidate": 0.81, "f1_macro_live": 0.74, "delta": 0.07, "interval": [0.01, 0.13],
    "probability_of_gain": 0.98, "mcnemar_p": 0.03,
    "served": {"tag": "v20250901_020304", "revision": "bbbb", "verified": true, "given_up": false},
    "warnings": []
  },
  "release": {
    "version_tag": "v20251101_023500", "revision": "cccc", "previous_revision": "bbbb",
    "url": "https://huggingface.co/city/model/tree/v20251101_023500"
  },
  "finished_at": "2025-11-01T02:40:00.000+00:00",
  "told": {"by": "W&B"},
  "kept": {"url": "https://huggingface.co/city/model/tree/runs/20251101_020304_urgency_1a2b"},
  "warnings": [{"message": "1 of 60 rows was not answered."}],
  "pausing": {"space_id": "city/retrain"}
}"""


def test_a_record_of_the_version_before_is_read_whole() -> None:
    before = json.loads(BEFORE)
    record = RunRecord.parse(before)
    assert record is not None
    later = {  # what that version did not record
        "training": {"best_loss": None, "epochs": None},
        "verdict": {"counts": None, "threshold": None},
        "dataset": {"contradictory_texts": 0, "contradictory_rows": {}, "read_as": {}},
    }
    assert json.loads(json.dumps(record.as_json())) == before | {
        name: before[name] | fields for name, fields in later.items()
    }
    assert record.resumed == Resumed(50, "/data/runs/20251101_000000_urgency_3c4d")
    assert record.told == Notified("W&B")
    assert record.warnings == (Warned("1 of 60 rows was not answered."),)
    assert record.verdict is not None
    assert record.verdict.served == Version("v20250901_020304", "bbbb", verified=True)
    assert record.compared is not None
    assert record.compared.gains == Histogram((0.0, 0.05, 0.1), (300, 700))
