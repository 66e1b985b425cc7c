"""The journal of a run, and what is read from it.

`events.jsonl` in the run's folder is the one channel between the training process, which writes what happens,
and everybody who tells people about it. Knows no network, torch or settings.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrain.records import FINISHED

# Given back when the disk is full, so that the end of the run can still be written.
BALLAST_BYTES = 256 * 1024
ALIVE_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Journal:
    """Appends events to a file, one JSON object a line; several processes may hold it open.

    A disk that refuses a line does not end the run: it is kept in memory, and written when there is room.
    redact: applied to each string before it is written.
    """

    def __init__(self, folder: Path, redact: Callable[[str], str] = str) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self._redact = redact
        self._unwritten: list[str] = []
        self._writing = threading.Lock()
        self._written_at = time.monotonic()
        self._lock: int | None = None

    @classmethod
    def create(cls, folder: Path, redact: Callable[[str], str] = str) -> "Journal":
        """Make the run's folder, with the ballast that a full disk may need, and hold it as one in use."""
        folder.mkdir(parents=True)
        (folder / "ballast").write_bytes(os.urandom(BALLAST_BYTES))
        journal = cls(folder, redact)
        journal._lock = os.open(journal.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with contextlib.suppress(OSError):  # a mounted bucket may know no locks
            fcntl.flock(journal._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return journal

    def write(self, event: str, **fields: Any) -> None:
        """Record that `event` happened, now."""
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | fields
        plain = json.loads(json.dumps(entry, default=_plain))
        line = json.dumps(_masked(plain, self._redact), ensure_ascii=False)
        # Half a surrogate pair, as JSON from elsewhere may hold, can be written by nobody who reads this.
        line = line.encode(errors="replace").decode() + "\n"
        with self._writing:
            self._unwritten.append(line)
            self._written_at = time.monotonic()
            try:
                self._append()
            except OSError:
                self.drop_ballast()
                try:
                    self._append()
                except OSError as error:
                    logger.error("The journal can't be written (%s): %s", error.strerror, self.path)

    def alive(self) -> None:
        """Say in a long wait, once a minute, that it is no hang."""
        if time.monotonic() > self._written_at + ALIVE_SECONDS:
            self.write("alive")

    def warn(self, message: str) -> None:
        """Log a warning, and record it for the summary."""
        logger.warning("%s", message)
        self.write("warning", message=message)

    def _append(self) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while self._unwritten:
                line = self._unwritten[0].encode()
                if (written := os.write(handle, line)) < len(line):  # the disk filled up inside a line
                    os.ftruncate(handle, os.fstat(handle).st_size - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._unwritten.pop(0)
        finally:
            os.close(handle)

    def drop_ballast(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    @property
    def version(self) -> tuple[int, int]:
        """Another one whenever there are more events."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return size, len(self._unwritten)

    def read(self) -> Iterator[dict[str, Any]]:
        """The events so far; a line that is still being written is left out."""
        # The last line may end in the middle of a character. Not splitlines(): it ends a line at U+2028, too.
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        for line in [*text.split("\n"), *list(self._unwritten)]:
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    def write_run_record(self) -> dict[str, Any]:
        """Write run.json: the last value of each kind of event, with `outcome` and `reasons` on top."""
        record = run_record(self.read())
        self.drop_ballast()
        partial = self.folder / "run.json.partial"
        try:
            partial.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            partial.replace(self.folder / "run.json")
        except OSError as error:
            logger.error("run.json can't be written (%s): %s", error.strerror, self.folder)
        return record


def run_record(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Fold a journal into one record. Pure; works on an unfinished run too."""
    record: dict[str, Any] = {"outcome": None, "reasons": []}
    for event in events:
        kind = event["event"]
        values = {k: v for k, v in event.items() if k not in ("event", "time")}
        if kind == "outcome":
            if record["outcome"] is None:  # what comes later is how the process ended, not why
                record |= values | {"finished_at": event["time"]}
        elif kind == "stage":
            record.setdefault("stages", []).append({"name": event["name"], "started_at": event["time"]})
        elif kind == "paused":
            record.pop("pause_failed", None)
        elif kind in ("validation", "warning"):
            record.setdefault(kind + "s", []).append(values)
        elif kind == "started":
            record |= values | {"started_at": event["time"]}
        elif kind not in ("progress", "alive"):
            record[kind] = values
    return record


def resumable_run(run_dir: Path, own: Path, inputs: Mapping[str, Any]) -> Path | None:
    """The folder of the newest other run that began with the same `inputs`, has ended, and not finished.

    A run that ended in a bug is not gone on from: it would end there again.
    """
    for folder in sorted(run_dir.glob("*"), key=lambda each: each.name, reverse=True):
        journal = Journal(folder)
        if folder == own or not journal.path.exists() or not any(folder.glob("checkpoints/checkpoint-*")):
            continue
        record = run_record(journal.read())
        if record.get("inputs") == inputs:
            over = record["outcome"] in (*FINISHED, "bug")
            return None if over or _in_use(journal.path) else folder
    return None


def remove_checkpoints(run_dir: Path, inputs: Mapping[str, Any]) -> None:
    """Once a run has finished, nobody goes on from those of its model any more."""
    for folder in run_dir.glob("*"):
        journal = Journal(folder)
        if not any(folder.glob("checkpoints/*")) or _in_use(journal.path):
            continue
        if run_record(journal.read()).get("inputs", {}).get("HUB_MODEL_ID") == inputs["HUB_MODEL_ID"]:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _in_use(path: Path) -> bool:
    """Whether the supervisor of a run lives."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no locks here
            return False
    return False


def _masked(value: Any, redact: Callable[[str], str]) -> Any:
    """String by string: a secret that ends in a quotation mark must not take that of the JSON with it."""
    if isinstance(value, dict):
        return {name: _masked(each, redact) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, redact) for each in value]
    return redact(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    return str(value)
