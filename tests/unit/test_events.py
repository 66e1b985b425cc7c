"""What can happen in a run, as lines of its journal, and the record that they fold into."""

from typing import Any

from retrain.events import (
    Alive,
    Archived,
    Ended,
    Entry,
    Paused,
    PauseFailed,
    Progress,
    Stage,
    StageBegun,
    Started,
    Validation,
    Warned,
    run_record,
)


def at(second: int, event: Any) -> Entry:
    return Entry(f"2026-01-01T00:00:{second:02}.000+00:00", event)


# --- the record


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
