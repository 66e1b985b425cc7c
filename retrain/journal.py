"""The journal of a run: `events.jsonl` in its folder, and `run.json`, the record that is folded from it.

The journal is the one channel between the training process, which writes what happens, and everything that
shows it to people. Knows no network, torch or settings.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrain.events import Alive, Entry, Warned
from retrain.redaction import masked
from retrain.run_record import RunRecord, run_record

# Reserved at the start, and freed when the disk is full, so that the end of the run can still be written.
RESERVE_BYTES, RESERVE = 256 * 1024, "ballast"
ALIVE_SECONDS = 60.0
# Keys with words of ours for values: a secret such as "rejected" must not break the record.
OWN_WORDS = ("event", "time", "outcome")

logger = logging.getLogger(__name__)


class Journal:
    """Appends events to a file, one JSON object a line; several processes may hold it open.

    A disk that refuses a line does not end the run: it is kept in memory, and written when there is room.
    redact: applied to each string before it is written.
    """

    def __init__(self, folder: Path, redact: Callable[[str], str] = str) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self.redact = redact
        self._unwritten: list[str] = []
        self._writing = threading.Lock()
        self._written_at = time.monotonic()
        self._lock: int | None = None

    @classmethod
    def create(cls, folder: Path, redact: Callable[[str], str] = str) -> "Journal":
        """Make the run's folder, reserve some room on the disk, and lock the journal as one in use."""
        folder.mkdir(parents=True)
        (folder / RESERVE).write_bytes(os.urandom(RESERVE_BYTES))
        journal = cls(folder, redact)
        journal._lock = os.open(journal.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with contextlib.suppress(OSError):  # a mounted bucket may know no locks
            fcntl.flock(journal._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return journal

    def write(self, event: Any) -> None:
        """Record that an event (one of `events.EVENTS`) happened, now."""
        entry = Entry(datetime.now(UTC).isoformat(timespec="milliseconds"), event)
        plain = json.loads(json.dumps(entry.as_json(), default=_plain))
        line = json.dumps(masked(plain, self.redact, OWN_WORDS), ensure_ascii=False)
        # Half a surrogate pair, as JSON from elsewhere may hold, can be written by nobody who reads this.
        line = line.encode(errors="replace").decode() + "\n"
        with self._writing:
            self._unwritten.append(line)
            self._written_at = time.monotonic()
            try:
                self._append()
            except OSError:
                self.free_reserve()
                try:
                    self._append()
                except OSError as error:
                    logger.error("The journal can't be written (%s): %s", error.strerror, self.path)

    @property
    def in_use(self) -> bool:
        """Whether the supervisor of this run still lives."""
        with self.path.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # no locks here
                return False
        return False

    def alive(self) -> None:
        """Record a sign of life in a long wait, at most once a minute."""
        if time.monotonic() > self._written_at + ALIVE_SECONDS:
            self.write(Alive())

    def warn(self, message: str) -> None:
        """Log a warning, and record it for the summary."""
        logger.warning("%s", message)
        self.write(Warned(message))

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

    def free_reserve(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink(missing_ok=True)

    @property
    def version(self) -> tuple[int, int]:
        """A value that changes whenever there are more events."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return size, len(self._unwritten)

    def read(self) -> Iterator[Entry]:
        """The events so far; what is no whole line of ours is left out."""
        # The last line may end in the middle of a character. Not splitlines(): it ends a line at U+2028, too.
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            logger.error("The journal can't be read (%s): %s", error.strerror, self.path)
            text = ""
        for line in [*text.split("\n"), *list(self._unwritten)]:
            with contextlib.suppress(ValueError, RecursionError):
                if entry := Entry.parse(json.loads(line)):
                    yield entry

    def record(self) -> RunRecord:
        """What is known of the run so far."""
        return run_record(self.read())

    def write_run_record(self) -> RunRecord:
        """Write run.json, and return what is in it."""
        record = self.record()
        self.free_reserve()
        partial = self.folder / "run.json.partial"
        try:
            partial.write_text(
                json.dumps(record.as_json(), ensure_ascii=False, indent=2, default=_plain) + "\n",
                encoding="utf-8",
            )
            partial.replace(self.folder / "run.json")
        except OSError as error:
            logger.error("run.json can't be written (%s): %s", error.strerror, self.folder)
        return record


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    return str(value)
