"""What can happen in a run: a frozen record for each kind of event, and its line in the journal.

Some values of `records` are events by themselves: a verdict that is written to the journal is the event
"verdict". On disk an event is a JSON object of its fields, with its kind as `event` and its `time`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

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
class Started:
    """A run began, with these settings (no secret is among them).

    job: what it is, unless it retrains; planned: its stages, if it comes to them all.
    """

    folder: str
    label: str | None = None
    settings: Mapping[str, Any] | None = None
    job: str | None = None
    planned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """Versions of Python and the libraries, and the hardware."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Everything that the result depends on: the settings, and the commits of data set and checkpoint."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage of the run began."""

    name: str


@dataclass(frozen=True)
class Tracking:
    """Where the run is tracked: a page on Weights & Biases, or a folder."""

    url: str | None
    folder: str
    run_id: str | None = None


@dataclass(frozen=True)
class Resumed:
    """Training went on from a checkpoint of an earlier run."""

    step: int
    run: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far something is: `done` of `total`, or a state in words. `again`: known from before a restart."""

    stage: str | None = None
    done: int | None = None
    total: int | None = None
    loss: float | None = None
    state: str | None = None
    again: bool = False


@dataclass(frozen=True)
class Validation:
    """Macro F1 and loss on the validation split after a step."""

    step: int
    total: int
    f1_macro: float
    loss: float


@dataclass(frozen=True)
class Reliability:
    """The points of the new model's reliability diagram: see evaluation.scores.reliability_of."""

    bins: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Restored(Release):
    """An earlier version was released again."""


@dataclass(frozen=True)
class Warned:
    """Something that people should know, and that did not end the run."""

    message: str


@dataclass(frozen=True)
class Ended:
    """How the run ended. Of several, the first one counts: later ones are how its processes ended."""

    outcome: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notified:
    """The summary was delivered by this service."""

    by: str


@dataclass(frozen=True)
class Archived:
    """Record and report of the run are on the Hub, at this address."""

    url: str


@dataclass(frozen=True)
class Pausing:
    """The Space is about to be paused."""

    space_id: str


@dataclass(frozen=True)
class Paused:
    """The Space is paused."""

    space_id: str


@dataclass(frozen=True)
class PauseFailed:
    """The Space could not be paused, and is still billed."""

    space_id: str
    message: str


@dataclass(frozen=True)
class Alive:
    """A sign of life in a long wait."""


# By the name on disk. The names are those of the first version: installations have journals that use them.
EVENTS: dict[str, type[Any]] = {
    "started": Started,
    "environment": Environment,
    "inputs": Inputs,
    "stage": Stage,
    "tracking": Tracking,
    "history": Health,
    "dataset": DatasetInfo,
    "resumed": Resumed,
    "progress": Progress,
    "validation": Validation,
    "training": TrainingSummary,
    "test_scores": Scores,
    "reliability": Reliability,
    "compared": ComparisonFigures,
    "verdict": Verdict,
    "release": Release,
    "restored": Restored,
    "prepared": PreparedDataset,
    "warning": Warned,
    "outcome": Ended,
    "told": Notified,
    "kept": Archived,
    "pausing": Pausing,
    "paused": Paused,
    "pause_failed": PauseFailed,
    "alive": Alive,
}
NAMES = {kind: name for name, kind in EVENTS.items()}
# These stand for whatever keys there are.
_OPEN = (Environment, Inputs)


@dataclass(frozen=True)
class Entry:
    """An event and when it happened, ISO 8601 in UTC."""

    time: str
    event: Any

    def as_json(self) -> dict[str, Any]:
        """The line of the journal, as a JSON object."""
        return {"time": self.time, "event": NAMES[type(self.event)]} | event_fields(self.event)

    @classmethod
    def parse(cls, line: Any) -> Self | None:
        """Read what as_json made, also by another version of this program; None for anything else."""
        if not isinstance(line, dict) or not isinstance(line.get("time"), str):
            return None
        kind = EVENTS.get(str(line.get("event")))
        values = {name: value for name, value in line.items() if name not in ("event", "time")}
        event = kind and parse_event(kind, values)
        return cls(line["time"], event) if event is not None else None


def event_fields(event: Any) -> dict[str, Any]:
    """The fields of an event as they stand on disk."""
    if isinstance(event, _OPEN):
        return dict(event.values)
    values = asdict(event)
    if isinstance(event, Started | Progress):  # most have few of them
        return {
            name: value
            for name, value in values.items()
            if not (value is None or value is False or value == ())
        }
    if isinstance(event, Resumed):
        return {"step": event.step, "from": event.run}  # Python can't name a field "from"
    return values


def parse_event(kind: Any, values: Any) -> Any:
    """An event of this kind from its fields; None if they are not those of one."""
    if not isinstance(values, Mapping):
        return None
    if kind in _OPEN:
        return kind(values=values)
    if kind is Resumed:
        values = {"run" if name == "from" else name: value for name, value in values.items()}
    try:
        return _reader(kind).validate_python(values)
    except ValidationError:
        return None


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
