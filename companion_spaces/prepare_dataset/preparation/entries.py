"""What a source gives: complaints and corrections, one after another, as somebody labelled them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from preparation.settings import PreparationSettings
from retrain.errors import RetrainError


class SourceError(RetrainError):
    """The source of complaints can't be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A complaint, or a reviewed correction of one.

    labels: a name for each label set of the settings, None where there is none; at: when it came in, or when
    the correction was reviewed, in UTC; reviewer: a pseudonym, if known.
    """

    text: str | bytes | None
    labels: tuple[str | None, ...]
    at: datetime | None
    is_correction: bool
    reviewer: str | None = None


@dataclass(frozen=True)
class Since:
    """Only what is new: complaints and corrections from these times on; None is all of them."""

    complaints: datetime | None = None
    corrections: datetime | None = None

    def includes(self, at: datetime | None, *, is_correction: bool) -> bool:
        """Whether an entry of this time is new; one without a time is."""
        since = self.corrections if is_correction else self.complaints
        return since is None or at is None or at >= since


class Source(Protocol):
    """Where complaints come from. All methods raise SourceError; what they return never changes between."""

    def entries(self, since: Since) -> Iterator[Entry]:
        """Complaints, then corrections, each in any order."""

    def erased(self) -> Iterator[str | bytes | None]:
        """The texts of complaints that are to be forgotten; a hash of one is a text, too."""


def entries_of(record: Mapping[str, Any], settings: PreparationSettings, since: Since) -> Iterator[Entry]:
    """The complaint, and the correction of it, that a row of a file or an export holds.

    Raises:
        SourceError: a time is none.
    """
    found = _Record(record, settings)
    created, reviewed = found.time("created_at"), found.time("reviewed_at")
    text = found.text()
    if since.includes(created, is_correction=False):
        yield Entry(text, found.labels(""), created, is_correction=False)
    corrected = found.labels("correct_")
    if any(corrected) and found.is_reviewed() and since.includes(reviewed, is_correction=True):
        yield Entry(text, corrected, reviewed, is_correction=True, reviewer=found.word("reviewed_by"))


class _Record:
    def __init__(self, record: Mapping[str, Any], settings: PreparationSettings) -> None:
        self._record, self._settings = record, settings

    def word(self, name: str) -> str | None:
        value = self._record.get(self._settings.column(name))
        return str(value).strip() or None if value is not None else None

    def text(self) -> str | bytes | None:
        value = self._record.get(self._settings.column("message"))
        return value if isinstance(value, str | bytes) else None

    def labels(self, prefix: str) -> tuple[str | None, ...]:
        return tuple(self.word(prefix + label) for label in self._settings.label)

    def is_reviewed(self) -> bool:
        return (self.word("reviewed") or "true").casefold() in ("true", "t", "1", "yes")

    def time(self, name: str) -> datetime | None:
        value = self._record.get(self._settings.column(name))
        if isinstance(value, datetime):
            return in_utc(value)
        try:
            return in_utc(datetime.fromisoformat(str(value).strip())) if value else None
        except ValueError as error:
            raise SourceError(
                f"The source has a value in {self._settings.column(name)} that is no time such as "
                "2026-01-31T12:00:00+05:45. Correct it, or take the column out."
            ) from error


def check_columns(there: Sequence[str], settings: PreparationSettings) -> None:
    """Refuse a file or an export without a text, or with no label of a label set.

    Raises:
        SourceError: see there.
    """
    wanted = settings.column("message")
    if wanted not in there:
        raise SourceError(
            f"The source has no column {wanted} (it has {', '.join(sorted(there)[:20])}). Name the column of "
            f"the texts in COLUMN_NAMES, as in message:{next(iter(there), 'text')}."
        )
    for label in settings.label:
        own = [settings.column(label), settings.column(f"correct_{label}")]
        if not set(own) & set(there):
            raise SourceError(
                f"The source has no column {' or '.join(own)}, so that nothing has a {label}. Name it in "
                "COLUMN_NAMES, or take the label set out of LABEL."
            )


def in_utc(time: datetime) -> datetime:
    """A time with a zone; one without is taken for UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
