"""Plain values that travel between the stages, and the journal that records a run.

The journal (`events.jsonl`) is the one channel between the training process, which writes what happens, and
everybody who tells people about it. Knows no network, torch or settings.
"""

import errno
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

EXIT_CODES = {
    "accepted": 0,
    "rejected": 0,
    "inconclusive": 1,
    "rolled_back": 1,
    "failed": 1,
    "bad_settings": 2,
    "bug": 3,
    "interrupted": 130,  # 128 + the signal's number, in the supervisor
}

# v{YYYYMMDD}_{HHMMSS}, UTC: versions of data sets and models sort by the time in their names.
VERSION_TAG = re.compile(r"^v\d{8}_\d{6}$")

# Given back when the disk is full, so that the end of the run can still be written.
BALLAST_BYTES = 256 * 1024


@dataclass(frozen=True)
class DatasetInfo:
    """What was trained on: one commit of a Hub data set, and what the checks found in it."""

    repo_id: str
    revision: str
    version_tag: str | None
    split_sizes: dict[str, int]
    label_counts: dict[str, dict[str, int]]
    exact_duplicates: dict[str, int]
    normalised_duplicates: dict[str, int]
    removed_from_train: dict[str, int]
    shared_by_eval_and_test: int


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall and F1 in 0..1, support in rows."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """Quality on one set of rows, over the full label set.

    confusion: (num_labels, num_labels) rows; [i][j] counts rows of class i that were predicted as j.
    """

    rows: int
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    precision_weighted: float
    recall_weighted: float
    f1_weighted: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Answer:
    """A model's answer to one text: class id, its probability, seconds taken; or why there is none.

    scores: the probability of each class, in id order, where the model tells them.
    """

    label: int | None = None
    confidence: float | None = None
    seconds: float | None = None
    scores: tuple[float, ...] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Both models on the same test rows, column by column. An answer that could not be had is None in `live`.

    rows: their numbers in the test split; labels, candidate, live: class ids, places in label_names;
    *_confidence: the answer's probability, 0..1; latency: seconds a text took; errors: why there is no
    answer; compared_with: "api" (the live API answered) or "hub" (the released model was scored here).
    """

    label_names: tuple[str, ...]
    compared_with: str
    rows: Sequence[int]
    labels: Sequence[int]
    candidate: Sequence[int]
    live: Sequence[int | None]
    candidate_confidence: Sequence[float | None]
    live_confidence: Sequence[float | None]
    latency: Sequence[float | None]
    errors: Sequence[str | None]


@dataclass(frozen=True)
class GateRules:
    """What the gate asks of a candidate; None is a rule that is not set. `seed` is that of the resampling."""

    threshold: float = 0.001
    min_coverage: float = 0.95
    confidence: float | None = None
    min_f1_macro: float | None = None
    max_class_recall_drop: float | None = None
    seed: int = 42


@dataclass(frozen=True)
class RuleResult:
    """One rule of the gate, by the variable that sets it, and how the candidate did."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Version:
    """A version of the model: its tag, if it has one, its commit, and what became of it, if known."""

    tag: str | None
    revision: str
    verified: bool = False
    given_up: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, from which figures. F1 and its difference are on the compared rows alone.

    probability_of_gain: the share of resamplings in which the gain exceeds the threshold;
    failures: rows without an answer, by cause; served: the version that gave the live answers, if known.
    """

    outcome: str
    reasons: tuple[str, ...]
    compared_with: str | None = None
    rows_asked: int = 0
    rows_compared: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    rules: tuple[RuleResult, ...] = ()
    f1_macro_candidate: float | None = None
    f1_macro_live: float | None = None
    delta: float | None = None
    interval: tuple[float, float] | None = None
    probability_of_gain: float | None = None
    mcnemar_p: float | None = None
    served: Version | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A version on the Hub: the commit, the tag on it, and the commit that was main before."""

    version_tag: str
    revision: str
    previous_revision: str | None
    url: str


class Journal:
    """Appends events to a file, one JSON object a line; several processes may hold it open.

    redact: applied to each line before it is written.
    """

    def __init__(self, folder: Path, redact: Callable[[str], str] = str) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self._redact = redact

    @classmethod
    def create(cls, folder: Path, redact: Callable[[str], str] = str) -> "Journal":
        """Make the run's folder, with the ballast that a full disk may need."""
        folder.mkdir(parents=True)
        (folder / "ballast").write_bytes(os.urandom(BALLAST_BYTES))
        return cls(folder, redact)

    def write(self, event: str, **fields: Any) -> None:
        """Record that `event` happened, now. A full disk costs the ballast first."""
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | fields
        line = self._redact(json.dumps(entry, ensure_ascii=False, default=_plain)) + "\n"
        try:
            self._append(line)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.drop_ballast()
            self._append(line)

    def warn(self, message: str) -> None:
        """Log a warning, and record it for the summary."""
        logger.warning("%s", message)
        self.write("warning", message=message)

    def _append(self, line: str) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def drop_ballast(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def read(self) -> Iterator[dict[str, Any]]:
        """The events so far; a line that is still being written is left out."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue

    def write_run_record(self) -> dict[str, Any]:
        """Write run.json: the last value of each kind of event, with `outcome` and `reasons` on top."""
        record = run_record(self.read())
        self.drop_ballast()
        partial = self.folder / "run.json.partial"
        partial.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.folder / "run.json")
        return record


def run_record(events: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Fold a journal into one record. Pure; works on an unfinished run too."""
    record: dict[str, Any] = {"outcome": None, "reasons": []}
    for event in events:
        kind = event["event"]
        values = {k: v for k, v in event.items() if k not in ("event", "time")}
        if kind == "outcome":
            record |= values | {"finished_at": event["time"]}
        elif kind == "stage":
            record.setdefault("stages", []).append({"name": event["name"], "started_at": event["time"]})
        elif kind in ("validation", "warning"):
            record.setdefault(kind + "s", []).append(values)
        elif kind == "started":
            record |= values | {"started_at": event["time"]}
        elif kind != "progress":
            record[kind] = values
    return record


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    return str(value)
