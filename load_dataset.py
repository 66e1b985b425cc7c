"""A Hub data set, pinned to one commit, checked, and with no test text left in train.

Knows the Hub and the label set; knows nothing of models.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from retrain.dataset.labels import label_ids
from retrain.dataset.layout import EVAL_TRAP, SPLITS, choose_columns, choose_splits
from retrain.dataset.texts import Digests, contradictions, normalise, repeats, text_keys
from retrain.dataset.wording import names_shown, rows_shown
from retrain.errors import DatasetError, resource_errors
from retrain.hub.dataset_repo import DatasetRepo
from retrain.records import DatasetInfo

COLUMNS = ("grievance", "label")
# Above this share of texts of the smaller split that are in the other too, eval and test are not apart.
MOST_SHARED = 0.1
ROWS_RECORDED = 20

logger = logging.getLogger(__name__)

__all__ = ["Splits", "check_splits", "load_splits", "normalise"]


@dataclass(frozen=True)
class Splits:
    """train, eval and test with the columns grievance (str) and label (id), and what is known of them.

    warnings: what people should know of the data, without its texts.
    """

    train: datasets.Dataset
    eval: datasets.Dataset
    test: datasets.Dataset
    info: DatasetInfo
    warnings: tuple[str, ...] = ()


def load_splits(
    repo: DatasetRepo, label2id: Mapping[str, int], revision: str, label: str | None = None
) -> Splits:
    """Pull the data set at one commit and check it.

    label: the name of the label set, and of the config or column to take where none is named `label`.

    Raises:
        DatasetError: it can't be loaded, or has a fault that can't be repaired; the message names the split,
            the first rows and the remedy.
    """
    with resource_errors():
        version_tag, (loaded, read_as) = repo.version_tag(revision), repo.load(revision, label)
        splits = check_splits(
            loaded,
            label2id,
            repo_id=repo.repo_id,
            revision=revision,
            version_tag=version_tag,
            label=label,
        )
    splits = replace(splits, info=replace(splits.info, read_as=splits.info.read_as | read_as))
    for name, found in splits.info.read_as.items():
        logger.info("Data set %s: %s is read from %s", repo.repo_id, name, found)
    return splits


def check_splits(
    loaded: Mapping[str, datasets.Dataset],
    label2id: Mapping[str, int],
    *,
    repo_id: str,
    revision: str,
    version_tag: str | None = None,
    label: str | None = None,
) -> Splits:
    """Check splits, columns, texts, labels and classes; take the texts of eval and test out of train.

    Duplicates within a split are counted, not removed: a test set stays what it was. So are texts with
    several labels.

    Raises:
        DatasetError: see load_splits.
    """
    chosen = choose_splits(loaded)
    missing = [name for name in SPLITS if name not in chosen]
    if missing:
        raise DatasetError(
            f"The data set {repo_id} has no split {' or '.join(missing)} (it has {names_shown(loaded)}). "
            "Push it with the splits train, eval (or validation) and test."
            + (EVAL_TRAP if "eval" in missing and "test" in chosen else "")
        )
    read_as = {name: there for name, there in chosen.items() if name != there}
    checked, exact, keys = {}, {}, {}
    for name in SPLITS:
        split = loaded[chosen[name]]
        columns = _columns(name, split, label)
        read_as |= {column: there.strip() for column, there in columns.items() if column != there.strip()}
        checked[name], exact[name], keys[name] = _check_split(name, split, columns, label2id)
    shared = _shared_texts(repo_id, keys["eval"], keys["test"])
    contradictory, rows = contradictions(keys, {name: split["label"] for name, split in checked.items()})

    held = {name: np.isin(keys["train"], keys[name]) for name in ("eval", "test")}
    removed = {name: int(leaking.sum()) for name, leaking in held.items()}
    if any(removed.values()):
        checked["train"] = checked["train"].select(np.flatnonzero(~(held["eval"] | held["test"])))
    label_counts = {name: _count_labels(_values(split, "label"), label2id) for name, split in checked.items()}
    for name, counts in label_counts.items():
        absent = [label for label, count in counts.items() if count == 0]
        if absent:
            after = (
                " once the texts of eval and test are out of it"
                if name == "train" and any(removed.values())
                else ""
            )
            raise DatasetError(
                f"Split {name} of {repo_id} has no row of {', '.join(absent)}{after}. "
                "Macro F1 needs every class in every split: add rows or split anew, stratified by label."
            )
    info = DatasetInfo(
        repo_id=repo_id,
        revision=revision,
        version_tag=version_tag,
        split_sizes={name: len(split) for name, split in checked.items()},
        label_counts=label_counts,
        exact_duplicates={name: repeats(digests) for name, digests in exact.items()},
        normalised_duplicates={name: repeats(digests) for name, digests in keys.items()},
        removed_from_train=removed,
        shared_by_eval_and_test=shared,
        contradictory_texts=contradictory,
        contradictory_rows={name: tuple(found[:ROWS_RECORDED]) for name, found in rows.items()},
        read_as=read_as,
    )
    return Splits(checked["train"], checked["eval"], checked["test"], info, tuple(_warnings(info, rows)))


def _columns(name: str, split: datasets.Dataset, label: str | None) -> dict[str, str]:
    """The names that the columns grievance and label have in a split that has rows, and texts as text."""
    if not len(split):
        raise DatasetError(f"Split {name} has no row. Fill it, then push anew.")
    columns = choose_columns(split.column_names, label)
    absent = [column for column in COLUMNS if column not in columns]
    if absent:
        own = f" or {label}" if label else ""
        raise DatasetError(
            f"Split {name} has no column {' or '.join(absent)} (it has {names_shown(split.column_names)}). "
            f"Name the text column grievance or text, and the label column label{own}."
        )
    feature = split.features[columns["grievance"]]
    held = getattr(feature, "dtype", None) if isinstance(feature, datasets.Value) else type(feature).__name__
    if held not in ("string", "large_string", "string_view", "null"):
        raise DatasetError(
            f"Column {columns['grievance']} of split {name} holds {held}, not text. Push it with the texts "
            "of the grievances in it."
        )
    return columns


def _check_split(
    name: str, split: datasets.Dataset, columns: Mapping[str, str], label2id: Mapping[str, int]
) -> tuple[datasets.Dataset, Digests, Digests]:
    """A split with the columns grievance and label; the keys of its texts, to the letter and normalised."""
    try:
        keys = text_keys(_values(split, columns["grievance"]))
        if keys.empty:
            raise DatasetError(
                f"Split {name} has {rows_shown(keys.empty)} without a text: empty, or nothing but white "
                "space and invisible characters. Fill or drop them, then push anew."
            )
        feature = split.features[columns["label"]]
        class_names = feature.names if isinstance(feature, datasets.ClassLabel) else None
        ids = label_ids(name, _values(split, columns["label"]), class_names, label2id)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"Split {name} has {rows_shown(_not_utf8(split, columns.values()))} that can't be read as UTF-8. "
            "Save the file as UTF-8, then push anew."
        ) from error
    labels = datasets.Dataset.from_dict({"label": ids})
    # The texts stay where they are, on disk; only the labels are made anew.
    split = split.select_columns([columns["grievance"]]).rename_columns({columns["grievance"]: "grievance"})
    split = split.cast_column("grievance", datasets.Value("string"))
    return datasets.concatenate_datasets([split, labels], axis=1), keys.exact, keys.same


def _not_utf8(split: datasets.Dataset, columns: Collection[str]) -> list[int]:
    """The rows with a value that is no UTF-8: Arrow itself takes any bytes for a string."""
    rows, first = set(), 0
    for batch in split.select_columns([*columns]).with_format("arrow").iter(10_000):
        texts = (each for each in batch.columns if each.type in (pa.string(), pa.large_string()))
        for column in texts:
            for row, value in enumerate(column.cast(pa.large_binary()).to_pylist(), first):
                try:
                    (value or b"").decode()
                except UnicodeDecodeError:
                    rows.add(row)
        first += len(batch)
    return sorted(rows)


def _shared_texts(repo_id: str, held: Digests, test: Digests) -> int:
    """How many texts eval and test share.

    Raises:
        DatasetError: too many; what decides which weights are kept would be what they are judged by.
    """
    smaller, other = (held, test) if len(held) <= len(test) else (test, held)
    rows = int(np.isin(smaller, other).sum())
    if rows > MOST_SHARED * len(smaller):
        name = "eval" if smaller is held else "test"
        raise DatasetError(
            f"Of the {len(smaller)} rows in split {name} of {repo_id}, {rows} have a text that both eval and "
            f"test have; at most {MOST_SHARED:.0%} may. The test would judge weights by the texts that they "
            "were chosen by: split anew, with each text in one split only."
        )
    return len(np.intersect1d(held, test))


def _warnings(info: DatasetInfo, contradictory: Mapping[str, list[int]]) -> Iterator[str]:
    if shared := info.shared_by_eval_and_test:
        yield (
            f"{_texts(shared)} in both eval and test of {info.repo_id}: the test scores are that much too "
            "good. Keep each text in one split."
        )
    if count := info.contradictory_texts:
        where = "; ".join(f"{name}: {rows_shown(rows)}" for name, rows in contradictory.items())
        yield (
            f"{_texts(count)} in {info.repo_id} with more than one label ({where}). Decide which label is "
            "right; run.json has more of the rows."
        )


def _texts(count: int) -> str:
    return "1 text is" if count == 1 else f"{count} texts are"


def _values(split: datasets.Dataset, column: str) -> Iterator[Any]:
    """A column's values, one after another, with a batch of them in memory."""
    for batch in split.select_columns([column]).iter(10_000):
        yield from batch[column]


def _count_labels(labels: Iterable[int], label2id: Mapping[str, int]) -> dict[str, int]:
    counts = Counter(labels)
    return {label: counts[i] for label, i in label2id.items()}
