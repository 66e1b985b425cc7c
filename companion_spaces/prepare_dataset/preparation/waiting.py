"""How many reviewed corrections wait to get into a version: what the orchestrator asks first."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from preparation.entries import Since
from preparation.material import source_of
from preparation.settings import PreparationSettings

NEVER = datetime.max.replace(tzinfo=UTC)


def waiting(settings: PreparationSettings, since: Mapping[str, datetime | None]) -> dict[str, dict[str, Any]]:
    """The corrections of each label set that were reviewed after a time (None: all), and the newest of them.

    Raises:
        SourceError: the source can't be read.
    """
    counts = dict.fromkeys(settings.label, 0)
    newest: dict[str, datetime | None] = dict.fromkeys(settings.label)
    times = [since.get(label) for label in settings.label]
    known = [time for time in times if time is not None]
    earliest = min(known) if len(known) == len(times) else None
    with source_of(settings) as source:
        for entry in source.entries(Since(complaints=NEVER, corrections=earliest)):
            if not entry.is_correction:  # one without a time is never old
                continue
            for label, name, time in zip(settings.label, entry.labels, times, strict=True):
                if name is None or (time and entry.at and entry.at <= time):
                    continue
                counts[label] += 1
                if entry.at and (newest[label] is None or entry.at > newest[label]):  # type: ignore[operator]
                    newest[label] = entry.at
    return {
        label: {"count": counts[label], "newest": at.isoformat() if (at := newest[label]) else None}
        for label in settings.label
    }
