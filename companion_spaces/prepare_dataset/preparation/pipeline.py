"""From the source to new versions of the data sets: read, group, assemble, check, publish."""

import hmac
import json
import logging
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs import LABEL_SETS
from preparation.corpus import SPLITS, Draft, Draw, Labelled, Texts, assemble, label_counts
from preparation.database import Database
from preparation.entries import Entry, Since
from preparation.exports import Export
from preparation.gates import nothing_new, refusals
from preparation.grouping import Groups, group_near_duplicates
from preparation.previous import Previous, PreviousRow, read_previous
from preparation.publishing import Facts, card, metadata, own_part, write_parquet
from preparation.settings import HASH, PreparationSettings
from preparation.texts import StoredTexts, TextStore, prepare
from retrain.dataset.labels import label_ids
from retrain.dataset.wording import shown
from retrain.errors import DatasetError, RetrainError, bug_reason, resource_errors
from retrain.events import Progress, Stage
from retrain.hub.dataset_repo import METADATA, DatasetRepo, parquet_name
from retrain.journal import Journal
from retrain.records import PreparedDataset, is_version_tag

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Before a watermark, read again: who began to write earlier may have finished later.
CORRECTIONS_AGAIN = timedelta(days=1)
# As long may a complaint wait for its label.
COMPLAINTS_AGAIN = timedelta(days=31)
ROWS_A_SIGN = 20_000
# From the best to the worst: the outcome of several label sets is the worst of theirs.
OUTCOMES_IN_ORDER = ("published", "unchanged", "withheld", "failed", "bug")

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

    @property
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


def prepare_datasets(
    settings: PreparationSettings, api: "HfApi", journal: Journal, processes: int = 1
) -> list[PreparedDataset]:
    """Make a version of each label set's data set where there is reason to; returns what became of each.

    A fault of one data set does not stop the others; one of the source does.

    Raises:
        SourceError: the source can't be read.
    """
    done: dict[str, PreparedDataset] = {}
    works: list[Work] = []
    journal.write(Stage("read the data sets"))
    for label, repo_id in settings.repo_ids().items():
        with _one_of_several(done, label, repo_id):
            works.append(begin(DatasetRepo(api, repo_id), label, settings, journal))
    if works:
        with tempfile.TemporaryDirectory(dir=journal.folder) as folder, resource_errors():
            material = gather(works, settings, journal, Path(folder), processes)
            for work in works:
                with _one_of_several(done, work.label, work.repo.repo_id):
                    journal.write(Stage(f"publish {work.label}"))
                    done[work.label] = finish(work, material, settings, Path(folder))
    results = [done[label] for label in settings.label]
    for result in results:
        journal.write(result)
    return results


@contextmanager
def _one_of_several(done: dict[str, PreparedDataset], label: str, repo_id: str) -> Iterator[None]:
    """Turn what goes wrong inside the block into the result of one label set."""
    try:
        yield
    except RetrainError as error:
        logger.error("%s: %s", label, error)
        done[label] = PreparedDataset(label, repo_id, error.outcome, (str(error),))
    except Exception as error:  # noqa: BLE001  (whatever it is, the other label sets go on)
        # Without its message, which may hold a text.
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("A bug ended the preparation of %s: %s\n%s", label, bug_reason(error), frames)
        done[label] = PreparedDataset(label, repo_id, "bug", (bug_reason(error),))


def begin(repo: DatasetRepo, label: str, settings: PreparationSettings, journal: Journal) -> Work:
    """Read what the next version builds on, and finish one that an earlier run left without its tag.

    Raises:
        DatasetError: it can't be read, or was made with another SPLIT_KEY.
    """
    previous = read_previous(repo, label, LABEL_SETS[label])
    if previous.revision is None:
        logger.info("%s holds no data yet: this will be its first version", repo.repo_id)
        return Work(label, repo, previous)
    if previous.is_private is False:
        raise DatasetError(
            f"{repo.repo_id} is public, and grievances are personal. Make it private in its settings."
        )
    tag = previous.version_tag
    if tag is None:
        logger.info("%s was pushed by hand: its rows and their splits are taken as they are", repo.repo_id)
        return Work(label, repo, previous)
    if previous.edited:
        journal.warn(
            f"Main of {repo.repo_id} was edited by hand since {tag} was made. It is built on as it stands."
        )
    elif is_version_tag(tag) and repo.version_tag(previous.revision) is None:
        logger.info("%s has no tag yet, as an earlier run was cut short: it is made now", tag)
        repo.tag(tag, previous.revision)
    if previous.metadata.get("split_key_check", _check_of(settings)) != _check_of(settings):
        raise DatasetError(
            f"SPLIT_KEY is not the one that {tag} of {repo.repo_id} was made with, so that splits would be "
            f"drawn otherwise. Put it back. If it is lost, take split_key_check out of {METADATA} on the "
            "Hub: rows that are there keep their splits."
        )
    if _probability(previous, settings) != settings.audit_probability:
        journal.warn(
            f"AUDIT_PROBABILITY={settings.audit_probability:g} is not used for {repo.repo_id}: its first "
            f"version was drawn with {_probability(previous, settings):g}, and a sample keeps its chance."
        )
    return Work(label, repo, previous)


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
    since = work.since.corrections if entry.is_correction else work.since.complaints
    if given is None or (since and entry.at and entry.at < since):
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


def finish(work: Work, material: Material, settings: PreparationSettings, folder: Path) -> PreparedDataset:
    """Assemble a label set's version, check it, and publish it if it passes.

    Raises:
        DatasetError: it could not be published.
    """
    previous, label2id = work.previous, work.label2id
    draw = Draw(settings.split_key.get_secret_value().encode(), _probability(previous, settings))
    texts = Texts(material.texts.hashes, material.roots)
    draft = assemble(work.previous_rows, work.entries, texts, draw, material.forgotten)
    result = PreparedDataset(
        work.label,
        work.repo.repo_id,
        "published",
        previous_version=previous.version_tag,
        split_sizes=dict(Counter(row.split for row in draft.rows)),
        label_counts=label_counts(draft.rows, label2id),
        added=draft.added.total(),
        corrected=draft.corrected,
        withdrawn=dict(draft.withdrawn),
        groups=draft.groups,
        masked=dict(material.masked),
        left_out=dict(material.left_out),
    )
    if why := nothing_new(draft, settings.min_new_rows, is_first=previous.revision is None):
        return replace(result, outcome="unchanged", reasons=(why,))
    if found := [*_unknown_labels(work), *_refusals(work, draft, settings)]:
        return replace(result, outcome="withheld", reasons=tuple(found))
    tag = publish(work, draft, material, settings, folder)
    why = (
        f"{tag}: {len(draft.rows)} rows; {draft.added.total()} new, {draft.corrected} corrected, "
        f"{draft.withdrawn.total()} withdrawn."
    )
    return replace(result, version_tag=tag, reasons=(why,), url=work.repo.url(tag))


def _refusals(work: Work, draft: Draft, settings: PreparationSettings) -> Iterator[str]:
    rows = [row for _, row in work.previous_rows]
    before = label_counts(rows, work.label2id) if rows else None
    corrections = [entry for entry in work.entries if entry.is_correction]
    return refusals(draft, work.label2id, before, corrections, settings.max_label_shift)


def _unknown_labels(work: Work) -> Iterator[str]:
    if work.unknown:
        names = ", ".join(f"{name} ({count})" for name, count in work.unknown.most_common(5))
        yield (
            f"{work.unknown.total()} labels are none of {work.label}: {names}. The labels are "
            f"{', '.join(work.label2id)}. Correct them in the source."
        )


def publish(work: Work, draft: Draft, material: Material, settings: PreparationSettings, folder: Path) -> str:
    """Publish a draft as one commit on what it was built on, and tag it; returns the tag."""
    repo, previous = work.repo, work.previous
    repo.create()
    parent, tag = previous.revision or repo.revision(), repo.free_tag()
    facts = Facts(
        work.label,
        work.label2id,
        tag,
        datetime.now(UTC),
        {name: _later(previous.watermark(name), time) for name, time in material.watermark.items()},
        _probability(previous, settings),
        _check_of(settings),
        material.masked,
        material.left_out,
        own_part(repo.card(parent)),
    )
    content = metadata(draft, facts, previous)
    files: dict[str, bytes | Path] = {
        METADATA: json.dumps(content, ensure_ascii=False, indent=2).encode(),
        "README.md": card(content, facts).encode(),
    }
    for split in SPLITS:
        files[parquet_name(split)] = file = folder / f"{work.label}-{split}.parquet"
        rows = [row for row in draft.rows if row.split == split]
        write_parquet(rows, material.texts, list(work.label2id), file)
    return repo.publish_files(files, tag, parent)


def source_of(settings: PreparationSettings) -> Database | Export:
    """The database, or what stands in for it."""
    return Database(settings) if settings.database_url else Export(settings)


def text_hashes(texts: Iterable[str | bytes | None], key: bytes) -> list[str]:
    """The hashes by which texts are forgotten; a hash stands for itself."""
    return [each.hex() for each in _hashes(texts, key)]


def _hashes(texts: Iterable[str | bytes | None], key: bytes) -> Iterator[bytes]:
    for text in texts:
        if isinstance(text, str) and HASH.fullmatch(text):
            yield bytes.fromhex(text)
        else:
            yield from (each for each in prepare([text], key).hashes)


def _earliest(works: Sequence[Work]) -> Since:
    """From when on the source is read: the earliest that a data set needs."""
    complaints = [work.since.complaints for work in works]
    corrections = [work.since.corrections for work in works]
    return Since(_lowest(complaints), _lowest(corrections))


def _lowest(times: Sequence[datetime | None]) -> datetime | None:
    known = [time for time in times if time]
    return min(known) if len(known) == len(times) else None


def _later(before: datetime | None, now: datetime | None) -> str | None:
    """A watermark never goes back."""
    known = [time for time in (before, now) if time]
    return max(known).isoformat() if known else None


def _probability(previous: Previous, settings: PreparationSettings) -> float:
    """That of the first version, for good."""
    given = previous.metadata.get("audit_probability")
    return float(given) if isinstance(given, int | float) else settings.audit_probability


def _check_of(settings: PreparationSettings) -> str:
    """By which a version knows its SPLIT_KEY again, and from which nobody learns it."""
    return hmac.digest(settings.split_key.get_secret_value().encode(), b"split key", "sha256").hex()[:16]
