"""What the world may see of a run: a pure function of its journal's events. Holds no text, no secret."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from retrain.events import (
    Ended,
    Entry,
    Paused,
    PauseFailed,
    Pausing,
    Progress,
    Resumed,
    Stage,
    Validation,
    Warned,
)
from retrain.records import OUTCOMES, DatasetInfo, PreparedDataset, Release, Scores, Verdict
from retrain.run_record import RunRecord, run_record

LOG_LINES = 12
CURVE_POINTS = 200

# What is shown of a value. The page is public: a field is not shown unless it is named here.
_SHOWN = {
    Scores: "rows accuracy f1_macro confusion per_class",
    Verdict: "outcome reasons rules compared_with rows_compared f1_macro_candidate f1_macro_live delta "
    "interval probability_of_gain served",
    DatasetInfo: "repo_id revision version_tag split_sizes",
    PreparedDataset: "label repo_id outcome version_tag url split_sizes label_counts added corrected "
    "withdrawn groups masked left_out",
    Release: "version_tag revision url",
}


def run_status(entries: Sequence[Entry]) -> dict[str, Any]:
    """The state of a run as JSON values. Times are ISO 8601 in UTC, durations seconds, shares 0..1."""
    record = run_record(entries)
    meaning = OUTCOMES.get(record.outcome) if record.outcome else None
    losses = [
        (event.done, event.loss)
        for event in (entry.event for entry in entries)
        if isinstance(event, Progress) and event.done is not None and event.loss is not None
    ]
    return {
        "title": record.job or f"Retraining{f' the {record.label} model' if record.label else ''}",
        "label": record.label,
        "outcome": record.outcome,
        "headline": meaning.meaning if meaning else "The run is under way.",
        "reasons": list(record.reasons),
        "what_to_do": meaning.what_to_do if meaning else "",
        "warnings": [warning.message for warning in record.warnings],
        "pause_failed": record.pause_failed.space_id if record.pause_failed else None,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "stages": _stages(record),
        "progress": None if record.outcome else _progress(entries),
        "curves": {
            "loss": _thinned(losses),
            "f1_macro": _thinned([(e.step, e.f1_macro) for e in record.validations]),
        },
        "scores": _shown(record.test_scores),
        "verdict": _shown(record.verdict),
        "dataset": _shown(record.dataset),
        "release": _shown(record.release),
        "prepared": [_shown(each) for each in record.prepared],
        "tracking_url": record.tracking.url if record.tracking else None,
        "record_url": record.kept.url if record.kept else None,
        "history": asdict(record.history) if record.history else None,
        "log": _log(entries),
    }


def _shown(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    fields = asdict(value)
    return {name: fields[name] for name in _SHOWN[type(value)].split()}


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _stages(record: RunRecord) -> list[dict[str, Any]]:
    """Each stage with its beginning, and its seconds once it is over."""
    ends = [stage.started_at for stage in record.stages[1:]] + [record.finished_at]
    return [
        asdict(stage) | {"seconds": _seconds(stage.started_at, end) if end else None}
        for stage, end in zip(record.stages, ends, strict=False)
    ]


def _progress(entries: Sequence[Entry]) -> Mapping[str, Any] | None:
    """How far the last step that counts is, and the seconds left at the speed so far."""
    counted = [
        entry
        for entry in entries
        if isinstance(entry.event, Progress) and entry.event.total and entry.event.done is not None
    ]
    if not counted:
        return None
    last = counted[-1]
    if any(isinstance(entry.event, Stage) and entry.time > last.time for entry in entries):
        return None  # that step is over
    first = last
    for entry in reversed(counted):  # back to where it began to count, and not what a restart repeated
        event, done = entry.event, entry.event.done
        if event.stage != last.event.stage or done > first.event.done or event.again:
            break
        first = entry
    done, total = last.event.done, last.event.total
    steps, seconds = done - first.event.done, _seconds(first.time, last.time)
    return {
        "stage": last.event.stage,
        "done": done,
        "total": total,
        "share": done / total,
        "seconds_left": seconds / steps * (total - done) if steps > 0 else None,
    }


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many of the points, the last one among them."""
    every = -(-len(points) // CURVE_POINTS) or 1
    return points[::-1][::every][::-1]


def _log(entries: Sequence[Entry]) -> list[str]:
    lines = [(entry.time, line) for entry in entries if (line := _in_words(entry.event))]
    return [f"{time[11:19]}  {line}" for time, line in lines[-LOG_LINES:]]


def _in_words(event: Any) -> str | None:
    """How an event reads in the log of the page; None for what is not shown."""
    match event:
        case Stage(name):
            return name
        case DatasetInfo(repo_id, revision):
            return f"{repo_id} at {revision:.12}"
        case Resumed(step):
            return f"going on from step {step}"
        case Validation(step, total, f1_macro):
            return f"step {step} of {total}: validation macro F1 {f1_macro:.4f}"
        case Scores() as scores:
            return f"test macro F1 {scores.f1_macro:.4f}, accuracy {scores.accuracy:.4f}, {scores.rows} rows"
        case PreparedDataset(label, _, outcome):
            return f"{label}: {outcome}"
        case Verdict(outcome) | Ended(outcome):
            return outcome
        case Release(version_tag) if type(event) is Release:
            return f"{version_tag} is on the Hub"
        case Warned(message):
            return f"warning: {message}"
        case Pausing(space_id):
            return f"pausing {space_id}"
        case Paused(space_id):
            return f"{space_id} is paused"
        case PauseFailed(space_id):
            return f"{space_id} could not be paused"
    return None
