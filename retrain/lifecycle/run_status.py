"""What the world may see of a run: a pure function of its journal's events. Holds no text, no secret."""

from collections.abc import Iterator, Sequence
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
from retrain.records import FINISHED, DatasetInfo, PreparedDataset, Release, Scores, Verdict
from retrain.run_record import RunRecord, run_record
from retrain.words import in_words

LOG_LINES = 12
CURVE_POINTS = 200

# What is shown of a value. The page is public: a field is not shown unless it is named here.
_SHOWN = {
    Scores: "rows accuracy f1_macro confusion per_class",
    Verdict: "outcome reasons rules compared_with rows_compared f1_macro_candidate f1_macro_live delta "
    "interval probability_of_gain counts served",
    DatasetInfo: "repo_id revision version_tag split_sizes",
    PreparedDataset: "label repo_id outcome version_tag url split_sizes label_counts added corrected "
    "withdrawn groups masked left_out",
    Release: "version_tag revision url",
}


def run_status(entries: Sequence[Entry]) -> dict[str, Any]:
    """The state of a run as JSON values. Times are ISO 8601 in UTC, durations seconds, shares 0..1."""
    record = run_record(entries)
    words = in_words(record)
    losses = [
        (event.done, event.loss)
        for event in (entry.event for entry in entries)
        if isinstance(event, Progress) and event.done is not None and event.loss is not None
    ]
    return {
        "language": words.language,
        "title": words.title,
        "label": record.label,
        "outcome": record.outcome,
        "outcome_name": words.outcome if record.outcome else "",
        "headline": words.headline,
        "reasons": list(words.reasons),
        "what_to_do": words.what_to_do,
        "how_sure": list(words.how_sure),
        "warnings": [warning.message for warning in record.warnings],
        "notes": list(words.notes),
        "pause_failed": record.pause_failed.space_id if record.pause_failed else None,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "stages": _stages(record),
        "bars": [] if record.outcome else _bars(entries),
        "steps": max((event.total or 0 for event in _counted_in_steps(entries)), default=0),
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
    """Each stage, with its beginning once it has begun, its seconds once it is over, and its state.

    Those that are still to come follow; "skipped" are those that the run has ended without.
    """
    ends = [stage.started_at for stage in record.stages[1:]] + [record.finished_at]
    begun = [
        asdict(stage)
        | {"seconds": _seconds(stage.started_at, end) if end else None, "state": "done" if end else "now"}
        for stage, end in zip(record.stages, ends, strict=False)
    ]
    names = [stage.name for stage in record.stages]
    last = max((record.planned.index(name) for name in names if name in record.planned), default=-1)
    ahead = [name for name in record.planned[last + 1 :] if name not in names]
    state = "skipped" if record.outcome else "ahead"
    return begun + [{"name": name, "started_at": None, "seconds": None, "state": state} for name in ahead]


def _counted_in_steps(entries: Sequence[Entry]) -> Iterator[Progress | Validation]:
    for event in (entry.event for entry in entries):
        if isinstance(event, Validation) or (isinstance(event, Progress) and event.stage == "train"):
            yield event


def _bars(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """How far everything is that the present stage counts, and the seconds left at the speed so far.

    What is done is left out, unless it came last: a training goes on beside its validations.
    """
    began = max((i for i, entry in enumerate(entries) if isinstance(entry.event, Stage)), default=0)
    counted: dict[str | None, list[Entry]] = {}
    for entry in entries[began:]:
        event = entry.event
        if isinstance(event, Progress) and event.total and event.done is not None:
            counted.setdefault(event.stage, []).append(entry)
    newest = max((group[-1].time for group in counted.values()), default="")
    bars = [(_bar(group), group[-1].time) for group in counted.values()]
    return [bar for bar, time in bars if bar["done"] < bar["total"] or time == newest]


def _bar(counted: Sequence[Entry]) -> dict[str, Any]:
    last = counted[-1]
    first = last
    for entry in reversed(counted):  # back to where it began to count, and not what a restart repeated
        event, done = entry.event, entry.event.done
        if done > first.event.done or event.again:
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
        case Verdict(outcome):
            return f"decided: {outcome}"
        case Ended(outcome):  # the verdict has said those that finish
            return "ended" if outcome in FINISHED else f"ended: {outcome}"
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
