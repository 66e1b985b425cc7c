"""A file of grievances as a version of the data set: read, split, and checked with the loader's eyes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from retrain.dataset.layout import SPLITS, choose_columns, choose_splits
from retrain.dataset.rows import Rows, given_splits, read_rows
from retrain.dataset.splitting import nearly, split_rows
from retrain.dataset.texts import normalise
from retrain.errors import DatasetError
from retrain.hub.dataset_repo import DatasetRepo

Splits = dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Push:
    """What would be pushed, and what to say of it before anybody agrees."""

    splits: Splits
    lines: tuple[str, ...]


def prepare(
    repo: DatasetRepo, file: Path, label: str, label2id: Mapping[str, int], *, as_is: bool = False
) -> Push:
    """Read the file and split its rows; nothing is changed on the Hub.

    as_is: take the splits from the file's column `split`.

    Raises:
        DatasetError: the file or its rows can't be used, or the repository is public.
    """
    rows = read_rows(file, label, label2id)
    private = repo.is_private()
    if private is False:
        raise DatasetError(
            f"{repo.repo_id} is public, and grievances are personal. Make it private in its settings, or "
            "name another repository."
        )
    known: dict[str, str] = {}
    about_splits = "the split is made anew, with a fixed seed"
    if as_is:
        places, about_splits = given_splits(rows), "the column split says which row goes where"
    else:
        if private:
            known, about_splits = _known_splits(repo, label)
        places = split_rows(rows.texts, rows.labels, known=known)
    splits = {
        name: [{"grievance": rows.texts[i], "label": rows.labels[i]} for i in places[name]] for name in SPLITS
    }
    warnings = _check(repo.repo_id, splits, label2id)
    return Push(splits, (*_found(file, rows, as_is), f"splits: {about_splits}", *_sizes(splits), *warnings))


def _known_splits(repo: DatasetRepo, label: str) -> tuple[dict[str, str], str]:
    """The split of each text that the newest version has, and what this means."""
    try:
        revision = repo.revision()
        loaded, _ = repo.load(revision, label)
    except DatasetError as error:
        return {}, f"the split is made anew, because there is no version to keep it from: {error}"
    known: dict[str, str] = {}
    for name, there in choose_splits(loaded).items():  # of a text in several, the last: test
        column = choose_columns(loaded[there].column_names, label).get("grievance")
        if column:
            known |= {nearly(text or ""): name for text in loaded[there][column]}
    version = repo.version_tag(revision) or revision[:12]
    return known, (
        f"texts that {version} has keep their split, so that the test stays what it was; the others are "
        "split anew"
    )


def _check(repo_id: str, splits: Splits, label2id: Mapping[str, int]) -> tuple[str, ...]:
    """What a run would warn of; a fault that a run would refuse is raised."""
    import datasets  # heavy

    from load_dataset import check_splits

    if absent := [name for name, rows in splits.items() if not rows]:
        raise DatasetError(
            f"No row is left for {' and '.join(absent)}: there are too few rows. Each label needs three "
            "texts at least."
        )
    loaded = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    checked = check_splits(loaded, label2id, repo_id=repo_id, revision="(not pushed)")
    removed = sum(checked.info.removed_from_train.values())
    more = [f"note: {removed} texts of train are in eval or test; a run leaves them out of train"]
    return (*(more if removed else []), *(f"note: {line}" for line in checked.warnings))


def _found(file: Path, rows: Rows, as_is: bool) -> Iterator[str]:
    yield f"{file}: {len(rows.texts)} rows, read as {rows.kind}"
    for name, column in rows.read_as.items():
        yield f"{name} is read from the column {column}"
    unused = rows.ignored + (["split (--as-is takes it)"] if rows.splits is not None and not as_is else [])
    if unused:
        yield f"columns that are not pushed: {', '.join(unused)}"
    for line in rows.dropped_lines():
        yield f"left out: {line}"
    counts = Counter(rows.labels)
    yield "labels: " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
    exact = len(rows.texts) - len(set(rows.texts))
    same = len(rows.texts) - len({normalise(text) for text in rows.texts})
    close = len(rows.texts) - len({nearly(text) for text in rows.texts})
    yield (
        f"repeated texts: {exact} to the letter, {same} but for case and white space, {close} but for "
        "punctuation too; they stay together in one split"
    )
    lengths = [len(text) for text in rows.texts]
    yield f"length: {min(lengths)} to {max(lengths)} characters, half of them up to {median(lengths):.0f}"


def _sizes(splits: Splits) -> Iterator[str]:
    for name, rows in splits.items():
        counts = Counter(row["label"] for row in rows)
        yield (
            f"{name}: {len(rows)} rows (" + ", ".join(f"{key} {counts[key]}" for key in sorted(counts)) + ")"
        )
