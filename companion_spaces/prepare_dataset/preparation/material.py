"""What new versions are made from: the versions before, what came in since, and which texts are alike."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from configs import LABEL_SETS
from preparation.corpus import Labelled
from preparation.database import Database
from preparation.entries import Entry, Since, Source
from preparation.exports import Export
from preparation.grouping import Groups, group_near_duplicates
from preparation.previous import Previous, PreviousRow
from preparation.settings import HASH, PreparationSettings
from preparation.texts import StoredTexts, TextStore, prepare
from retrain.dataset.labels import label_ids
from retrain.dataset.wording import shown
from retrain.errors import DatasetError
from retrain.events import Progress, Stage
from retrain.hub.dataset_repo import DatasetRepo
from retrain.journal import Journal

# Before a watermark, read again: who began to write earlier may have finished later.
CORRECTIONS_AGAIN = timedelta(days=1)
# As long may a complaint wait for its label.
COMPLAINTS_AGAIN = timedelta(days=31)
ROWS_A_SIGN = 20_000

logger = logging.getLogger(__name__)


@dataclass
class Work:
    """What a label set's data set is made from.

    previous_rows: with the places of their texts; entries: those with a label of this label set; unknown:
    labels that are none of it.
    """

    label: str
    repo: DatasetRepo
    previous: Previous
    previous_rows: list[tuple[int, PreviousRow]] = field(default_factory=list)
    entries: list[Labelled] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def label2id(self) -> Mapping[str, int]:
        return LABEL_SETS[self.label]

    @cached_property
    def since(self) -> Since:
        """What is new for this data set; all of it where no program has made a version yet."""
        complaints, corrections = map(self.previous.watermark, ("complaints", "corrections"))
        return Since(
            complaints and complaints - COMPLAINTS_AGAIN, corrections and corrections - CORRECTIONS_AGAIN
        )


@dataclass(frozen=True)
class Material:
    """What all label sets share: texts and their groups, what to forget, how far the source is read."""

    texts: StoredTexts
    roots: Sequence[int]
    forgotten: frozenset[bytes]
    watermark: Mapping[str, datetime | None]
    masked: Mapping[str, int]
    left_out: Mapping[str, int]


def gather(
    works: Sequence[Work], settings: PreparationSettings, journal: Journal, folder: Path, processes: int
) -> Material:
    """Read the source and the versions before into `works`; group all texts."""
    now, key = datetime.now(UTC), settings.split_key.get_secret_value().encode()
    with TextStore(folder, key, processes) as store:
        for work in works:
            work.previous_rows = list(store.add((row.text, row) for row in work.previous.rows()))
        journal.write(Stage("read the complaints"))
        masked, left_out, already = store.masked.copy(), store.left_out.copy(), len(store.hashes)
        watermark: dict[str, datetime | None] = {"complaints": None, "corrections": None}
        with source_of(settings) as source:
            erased = frozenset(_hashes(source.erased(), key))
            items = ((entry.text, entry) for entry in source.entries(_earliest(works)))
            for place, entry in store.add(items):
                if (place - already) % ROWS_A_SIGN == 0:
                    journal.write(Progress("read the complaints", state=f"{place - already:,} rows"))
                name = "corrections" if entry.is_correction else "complaints"
                if entry.at:  # a time to come would hide what comes until then
                    watermark[name] = max(
                        min(entry.at, now), watermark[name] or entry.at.min.replace(tzinfo=UTC)
                    )
                for work in works:
                    _take(work, entry, place, settings.label.index(work.label))
        texts = store.read()
    logger.info("%s rows read, %s left out", f"{len(texts.hashes) - already:,}", sum(store.left_out.values()))
    journal.write(Stage("find near-duplicates"))
    roots = _grouped(texts)
    return Material(
        texts,
        roots,
        erased | {bytes.fromhex(each) for each in settings.forget},
        watermark,
        store.masked - masked,
        store.left_out - left_out,
    )


def _take(work: Work, entry: Entry, place: int, column: int) -> None:
    """Keep an entry for a label set, if it is new to it and has a label of it."""
    given = entry.labels[column]
    if given is None or not work.since.includes(entry.at, is_correction=entry.is_correction):
        return
    label = _label_id(work.label, given)
    if label is None:
        work.unknown[shown(given)] += 1
    else:
        work.entries.append(Labelled(place, label, entry.at, entry.is_correction, entry.reviewer))


@lru_cache(10_000)
def _label_id(label: str, given: str) -> int | None:
    try:
        return label_ids("source", [given], None, LABEL_SETS[label])[0]
    except DatasetError:
        return None


def _grouped(texts: StoredTexts) -> list[int]:
    """The root of each text's group; equal texts, by their hashes, are compared once."""
    first: dict[bytes, int] = {}
    same = [first.setdefault(text, place) for place, text in enumerate(texts.hashes)]
    places = np.fromiter(first.values(), np.int64, len(first))
    groups = Groups(len(places))
    group_near_duplicates(groups, texts.signatures[places], lambda unique: texts.text(places[unique]))
    root_of = dict(zip(places.tolist(), places[groups.roots()].tolist(), strict=True))
    return [root_of[place] for place in same]


def source_of(settings: PreparationSettings) -> AbstractContextManager[Source]:
    """The database, or what stands in for it."""
    return Database(settings) if settings.database_url else nullcontext(Export(settings))


def text_hashes(texts: Iterable[str | bytes | None], key: bytes) -> list[str]:
    """The hashes by which texts are forgotten; a hash stands for itself."""
    return [each.hex() for each in _hashes(texts, key)]


def _hashes(texts: Iterable[str | bytes | None], key: bytes) -> Iterator[bytes]:
    for text in texts:
        if isinstance(text, str) and HASH.fullmatch(text):
            yield bytes.fromhex(text)
        else:
            yield from prepare([text], key).hashes


def _earliest(works: Sequence[Work]) -> Since:
    """From when on the source is read: the earliest that a data set needs."""
    complaints = [work.since.complaints for work in works]
    corrections = [work.since.corrections for work in works]
    return Since(_lowest(complaints), _lowest(corrections))


def _lowest(times: Sequence[datetime | None]) -> datetime | None:
    known = [time for time in times if time]
    return min(known) if len(known) == len(times) else None
