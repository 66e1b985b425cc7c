"""What can happen in a run, as lines of its journal."""

import json
from typing import Any

import pytest

from retrain.events import (
    EVENTS,
    Alive,
    Archived,
    Ended,
    Entry,
    Environment,
    Inputs,
    Notified,
    Paused,
    PauseFailed,
    Pausing,
    Progress,
    Reliability,
    Restored,
    Resumed,
    Stage,
    Started,
    Tracking,
    Validation,
    Warned,
)
from retrain.records import (
    ClassScores,
    ComparisonFigures,
    DatasetInfo,
    Health,
    Histogram,
    PreparedDataset,
    Release,
    RuleResult,
    Scores,
    TrainingSummary,
    Verdict,
    Version,
)

TIME, HEAD, TAG = "2026-01-01T00:00:00.000+00:00", "a" * 40, "v20260101_000000"
# An event of each kind with all that it can hold.
EXAMPLES: list[Any] = [
    Started(
        "runs/x",
        "urgency",
        {"SEED": 42, "FOCAL_ALPHA": [0.1, 0.9], "LABELS": None},
        "Preparing data sets",
        ("load data", "train"),
    ),
    Environment({"python": "3.11.9", "cpus": 2}),
    Inputs({"HUB_MODEL_ID": "city/model", "dataset": HEAD}),
    Stage("train"),
    Tracking("https://wandb.ai/city/run", "runs/x/wandb", "x1"),
    Health(3, 0.5, 1.0, 12.5, ((TIME, 0.8),), ((TIME, TAG),)),
    DatasetInfo(
        "city/data",
        HEAD,
        TAG,
        {"train": 60, "test": 60},
        {"train": {"NORMAL": 60}},
        {"train": 1},
        {"train": 2},
        {"test": 3},
        4,
        5,
        {"test": (0, 7)},
        {"eval": "validation"},
    ),
    Resumed(50, "runs/w"),
    Progress("train", 5, 10, 0.5, "on its way", again=True),
    Validation(5, 10, 0.75, 0.5),
    TrainingSummary(10, 5, 0.75, "fp32", "cpu", 2),
    Scores(
        4, 0.5, 0.5, 0.5, 0.75, 0.5, 0.5, 0.5, {"NORMAL": ClassScores(0.5, 0.5, 0.5, 4)}, [[3, 1], [0, 0]]
    ),
    Reliability(((0.75, 0.5, 4),)),
    ComparisonFigures(
        ((3, 1), (0, 0)), ((2, 2), (0, 0)), ((0.75, 0.5, 4),), Histogram((0.0, 0.5, 1.0), (3, 4))
    ),
    Verdict(
        "accepted",
        ("It is better.",),
        compared_with="api",
        rows_asked=4,
        rows_compared=3,
        failures={"status 500": 1},
        rules=(RuleResult("DECISION_THRESHOLD", True, "It is better."),),
        f1_macro_candidate=0.75,
        f1_macro_live=0.5,
        delta=0.25,
        interval=(0.125, 0.5),
        probability_of_gain=0.875,
        mcnemar_p=0.0625,
        served=Version(TAG, HEAD, verified=True, given_up=True),
        warnings=("Few rows.",),
    ),
    Release(TAG, HEAD, "b" * 40, "http://hub/city/model"),
    PreparedDataset(
        "urgency",
        "city/data",
        "published",
        ("v1: 9 rows",),
        "v1",
        None,
        "http://hub/v1",
        {"train": 7},
        {"train": {"URGENT": 7}},
        7,
        1,
        {"forgotten": 1},
        5,
        {"phone": 2},
        {"no text": 1},
    ),
    Restored("v20260102_000000", "c" * 40, None, "http://hub/city/model"),
    Warned("सडक"),
    Ended("rolled_back", ("why", "and why")),
    Notified("W&B"),
    Archived("http://hub/city/model/tree/runs/x"),
    Pausing("city/retrain"),
    PauseFailed("city/retrain", "refused"),
    Paused("city/retrain"),
    Alive(),
]


def test_there_is_an_example_of_each_kind() -> None:
    assert sorted(type(event).__name__ for event in EXAMPLES) == sorted(
        kind.__name__ for kind in EVENTS.values()
    )


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Any) -> None:
    entry = Entry(TIME, event)
    assert Entry.parse(json.loads(json.dumps(entry.as_json()))) == entry


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Started("runs/x"), {"event": "started", "folder": "runs/x"}),
        (Progress("train", 1, 2), {"event": "progress", "stage": "train", "done": 1, "total": 2}),
        (Resumed(5, "runs/w"), {"event": "resumed", "step": 5, "from": "runs/w"}),
        (Ended("failed", ("x",)), {"event": "outcome", "outcome": "failed", "reasons": ("x",)}),
        (Notified("W&B"), {"event": "told", "by": "W&B"}),
        (Archived("u"), {"event": "kept", "url": "u"}),
        (Warned("x"), {"event": "warning", "message": "x"}),
        (Alive(), {"event": "alive"}),
    ],
)
def test_the_names_on_disk_are_those_of_the_first_version(event: Any, line: dict[str, Any]) -> None:
    assert Entry(TIME, event).as_json() == {"time": TIME} | line


@pytest.mark.parametrize(
    "line",
    [
        None,
        True,
        3,
        "stage",
        [],
        {},
        {"event": "stage", "name": "train"},
        {"time": None, "event": "stage", "name": "train"},
        {"time": 3, "event": "stage", "name": "train"},
        {"time": TIME},
        {"time": TIME, "event": None},
        {"time": TIME, "event": ["stage"], "name": "train"},
        {"time": TIME, "event": "Stage", "name": "train"},
        {"time": TIME, "event": "of a later version", "name": "train"},
        {"time": TIME, "event": "stage"},
        {"time": TIME, "event": "stage", "name": None},
        {"time": TIME, "event": "validation", "step": "many", "total": 2, "f1_macro": 0.5, "loss": 0.5},
        {"time": TIME, "event": "outcome", "outcome": "failed", "reasons": "x"},
        {"time": TIME, "event": "resumed", "from": "runs/w"},
        {"time": TIME, "event": "reliability", "bins": [[0.5, 0.5]]},
    ],
)
def test_what_is_no_event_of_ours_is_none(line: Any) -> None:
    assert Entry.parse(line) is None


def test_fields_of_a_later_version_are_left_out() -> None:
    line = {"time": TIME, "event": "stage", "name": "train", "of": "a later version"}
    assert Entry.parse(line) == Entry(TIME, Stage("train"))


def test_a_zero_is_written_and_what_is_not_known_is_not() -> None:
    line = Entry(TIME, Progress("train", 0, 10, 0.0)).as_json()
    assert line == {"time": TIME, "event": "progress", "stage": "train", "done": 0, "total": 10, "loss": 0.0}
