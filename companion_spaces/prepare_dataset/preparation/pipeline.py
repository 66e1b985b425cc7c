"""From the source to new versions of the data sets: read, group, assemble, check, publish."""

import hmac
import json
import logging
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from configs import LABEL_SETS
from preparation.corpus import Draft, Draw, Texts, assemble, label_counts
from preparation.gates import nothing_new, refusals
from preparation.material import Material, Work, gather
from preparation.previous import Previous, read_previous
from preparation.publishing import Facts, card, metadata, own_part, write_parquet
from preparation.settings import PreparationSettings
from retrain.dataset.layout import SPLITS
from retrain.errors import DatasetError, RetrainError, bug_reason, resource_errors
from retrain.events import Stage
from retrain.hub.dataset_repo import METADATA, DatasetRepo, parquet_name
from retrain.journal import Journal
from retrain.records import PreparedDataset, is_version_tag

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# From the best to the worst: the outcome of several label sets is the worst of theirs.
OUTCOMES_IN_ORDER = ("published", "unchanged", "withheld", "failed", "bug")

logger = logging.getLogger(__name__)


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
