"""What the world may see of a run: a pure function of its journal's events. Holds no text, no secret."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from retrain.journal import run_record
from retrain.records import OUTCOMES

LOG_LINES = 12
CURVE_POINTS = 200

Event = Mapping[str, Any]

# How an event reads in the log of the page. What is not here is not shown: the page is public.
_WORDS = {
    "stage": "{name}",
    "dataset": "{repo_id} at {revision:.12}",
    "resumed": "going on from step {step}",
    "validation": "step {step} of {total}: validation macro F1 {f1_macro:.4f}",
    "test_scores": "test macro F1 {f1_macro:.4f}, accuracy {accuracy:.4f}, {rows} rows",
    "verdict": "{outcome}",
    "release": "{version_tag} is on the Hub",
    "warning": "warning: {message}",
    "outcome": "{outcome}",
    "pausing": "pausing {space_id}",
    "paused": "{space_id} is paused",
    "pause_failed": "{space_id} could not be paused",
}


def run_status(events: Sequence[Event]) -> dict[str, Any]:
    """The state of a run as JSON values. Times are ISO 8601 in UTC, durations seconds, shares 0..1."""
    record = run_record(events)
    outcome = record["outcome"]
    meaning = OUTCOMES.get(outcome) if outcome else None
    return {
        "label": record.get("label"),
        "outcome": outcome,
        "headline": meaning.meaning if meaning else "The run is under way.",
        "reasons": list(record["reasons"]),
        "what_to_do": meaning.what_to_do if meaning else "",
        "warnings": [warning["message"] for warning in record.get("warnings", ())],
        "pause_failed": record.get("pause_failed", {}).get("space_id"),
        "started_at": record.get("started_at"),
        "finished_at": record.get("finished_at"),
        "stages": _stages(record),
        "progress": None if outcome else _progress(events),
        "curves": {
            "loss": _thinned([(e["done"], e["loss"]) for e in events if "loss" in e and "done" in e]),
            "f1_macro": _thinned([(e["step"], e["f1_macro"]) for e in record.get("validations", ())]),
        },
        "scores": _chosen(record, "test_scores", "rows accuracy f1_macro confusion per_class"),
        "verdict": _chosen(
            record,
            "verdict",
            "outcome reasons rules compared_with rows_compared f1_macro_candidate f1_macro_live delta "
            "interval probability_of_gain served",
        ),
        "dataset": _chosen(record, "dataset", "repo_id revision version_tag split_sizes"),
        "release": _chosen(record, "release", "version_tag revision url"),
        "tracking_url": (record.get("tracking") or {}).get("url"),
        "record_url": (record.get("kept") or {}).get("url"),
        "history": record.get("history"),
        "log": _log(events),
    }


def _chosen(record: Mapping[str, Any], event: str, names: str) -> dict[str, Any] | None:
    return {name: record[event].get(name) for name in names.split()} if event in record else None


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _stages(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each stage with its beginning, and its seconds once it is over."""
    stages = record.get("stages", [])
    ends = [stage["started_at"] for stage in stages[1:]] + [record.get("finished_at")]
    return [
        stage | {"seconds": _seconds(stage["started_at"], end) if end else None}
        for stage, end in zip(stages, ends, strict=False)
    ]


def _progress(events: Sequence[Event]) -> dict[str, Any] | None:
    """How far the last step that counts is, and the seconds left at the speed so far."""
    counted = [event for event in events if event["event"] == "progress" and event.get("total")]
    if not counted:
        return None
    last = counted[-1]
    if any(e["event"] == "stage" and e["time"] > last["time"] for e in events):  # that step is over
        return None
    first = last
    for event in reversed(
        counted
    ):  # as far back as it was counted upwards, and not told again after a restart
        if event.get("stage") != last.get("stage") or event["done"] > first["done"] or "again" in event:
            break
        first = event
    steps, seconds = last["done"] - first["done"], _seconds(first["time"], last["time"])
    left = seconds / steps * (last["total"] - last["done"]) if steps > 0 else None
    return {
        "stage": last.get("stage"),
        "done": last["done"],
        "total": last["total"],
        "share": last["done"] / last["total"],
        "seconds_left": left,
    }


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many of the points, the last one among them."""
    every = -(-len(points) // CURVE_POINTS) or 1
    return points[::-1][::every][::-1]


def _log(events: Sequence[Event]) -> list[str]:
    told = [event for event in events if event["event"] in _WORDS]
    return [f"{e['time'][11:19]}  {_WORDS[e['event']].format_map(e)}" for e in told[-LOG_LINES:]]
