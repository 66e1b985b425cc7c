"""The record of a run: everything in its journal folded into one value, as run.json holds it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Self

from retrain.events import (
    EVENTS,
    NAMES,
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
    event_fields,
    parse_event,
)
from retrain.records import (
    ComparisonFigures,
    DatasetInfo,
    Health,
    PreparedDataset,
    Release,
    Scores,
    TrainingSummary,
    Verdict,
)


@dataclass(frozen=True)
class StageBegun:
    """A stage, and when it began."""

    name: str
    started_at: str


@dataclass(frozen=True)
class RunRecord:
    """All that is known of a run, finished or not: the last event of each kind, or all where there are many.

    `run.json` holds it, outcome and reasons first. Times are ISO 8601 in UTC.
    """

    outcome: str | None = None
    reasons: tuple[str, ...] = ()
    folder: str | None = None
    label: str | None = None
    settings: Mapping[str, Any] | None = None
    job: str | None = None
    planned: tuple[str, ...] = ()
    started_at: str | None = None
    finished_at: str | None = None
    environment: Environment | None = None
    inputs: Inputs | None = None
    stages: tuple[StageBegun, ...] = ()
    tracking: Tracking | None = None
    history: Health | None = None
    dataset: DatasetInfo | None = None
    resumed: Resumed | None = None
    validations: tuple[Validation, ...] = ()
    training: TrainingSummary | None = None
    test_scores: Scores | None = None
    reliability: Reliability | None = None
    compared: ComparisonFigures | None = None
    verdict: Verdict | None = None
    release: Release | None = None
    restored: Restored | None = None
    prepared: tuple[PreparedDataset, ...] = ()
    warnings: tuple[Warned, ...] = ()
    told: Notified | None = None
    kept: Archived | None = None
    pausing: Pausing | None = None
    pause_failed: PauseFailed | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of run.json; what is not known is left out."""
        record: dict[str, Any] = {"outcome": self.outcome, "reasons": list(self.reasons)}
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if name in record or value is None or value == ():
                continue
            if is_dataclass(value):
                record[name] = event_fields(value)
            else:
                is_list = isinstance(value, tuple)
                record[name] = [_plain(each) for each in value] if is_list else value
        return record

    @classmethod
    def parse(cls, record: Any) -> Self | None:
        """Read what as_json made; what can't be read in it is left out, and None is for what is no record."""
        if not isinstance(record, dict) or not isinstance(record.get("outcome"), str):
            return None
        found: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            value = record.get(name)
            if name in _PARTS:
                items = value if isinstance(value, list) else []
                parts = (parse_event(_PARTS[name], item) for item in items)
                found[name] = tuple(part for part in parts if part is not None)
            elif name in _WORDS:
                found[name] = value if isinstance(value, str) else None
            elif name in ("reasons", "planned"):
                found[name] = tuple(map(str, value)) if isinstance(value, list) else ()
            elif name == "settings":
                found[name] = value if isinstance(value, dict) else None
            else:
                found[name] = parse_event(EVENTS[name], value)
        return cls(**found)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else asdict(value)


_WORDS = ("outcome", "folder", "label", "job", "started_at", "finished_at")
_PARTS: dict[str, type[Any]] = {
    "stages": StageBegun,
    "validations": Validation,
    "prepared": PreparedDataset,
    "warnings": Warned,
}


def run_record(entries: Iterable[Entry]) -> RunRecord:
    """Fold a journal into one record. Pure; works on an unfinished run too."""
    found: dict[str, Any] = {name: [] for name in _PARTS}
    for entry in entries:
        match entry.event:
            case Started() as event:
                found |= vars(event) | {"started_at": entry.time}
            case Stage(name):
                found["stages"].append(StageBegun(name, entry.time))
            case Validation() as event:
                found["validations"].append(event)
            case PreparedDataset() as event:
                found["prepared"].append(event)
            case Warned() as event:
                found["warnings"].append(event)
            case Ended() as event:
                if "outcome" not in found:  # what comes later is how the process ended, not why
                    found |= vars(event) | {"finished_at": entry.time}
            case Progress() | Alive():
                pass
            case Paused():
                found.pop("pause_failed", None)
            case event:
                found[NAMES[type(event)]] = event
    lists = {name: tuple(found[name]) for name in _PARTS}
    return replace(RunRecord(), **found | lists)
