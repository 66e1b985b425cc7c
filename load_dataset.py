"""A Hub data set, pinned to one commit, checked, and with no test text left in train.

Knows the Hub and the label set; knows nothing of models.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from retrain.errors import DatasetError, resource_errors
from retrain.hub.dataset_repo import DatasetRepo
from retrain.records import DatasetInfo

SPLITS = ("train", "eval", "test")
COLUMNS = ("grievance", "label")
ROWS_SHOWN, NAMES_SHOWN = 5, 10


@dataclass(frozen=True)
class Splits:
    """train, eval and test with the columns grievance (str) and label (id), and what is known of them."""

    train: datasets.Dataset
    eval: datasets.Dataset
    test: datasets.Dataset
    info: DatasetInfo


def load_splits(repo: DatasetRepo, label2id: Mapping[str, int], revision: str) -> Splits:
    """Pull the data set at one commit and check it.

    Raises:
        DatasetError: it can't be loaded, or has a fault that can't be repaired; the message names the split,
            the first rows and the remedy.
    """
    with resource_errors():
        version_tag, loaded = repo.version_tag(revision), repo.load(revision)
        return check_splits(
            loaded, label2id, repo_id=repo.repo_id, revision=revision, version_tag=version_tag
        )


def check_splits(
    loaded: Mapping[str, datasets.Dataset],
    label2id: Mapping[str, int],
    *,
    repo_id: str,
    revision: str,
    version_tag: str | None = None,
) -> Splits:
    """Check splits, columns, texts, labels and classes; take the texts of eval and test out of train.

    Duplicates within a split are counted, not removed: a test set stays what it was.

    Raises:
        DatasetError: see load_splits.
    """
    missing = [name for name in SPLITS if name not in loaded]
    if missing:
        raise DatasetError(
            f"The data set {repo_id} has no split {' or '.join(missing)} (it has {_names(loaded)}). "
            "Push it with the splits train, eval and test."
        )
    checked = {name: _check_split(name, loaded[name], label2id) for name in SPLITS}
    exact = {name: _digests(_values(split, "grievance")) for name, split in checked.items()}
    keys = {name: _digests(map(normalise, _values(split, "grievance"))) for name, split in checked.items()}
    held = {name: np.isin(keys["train"], keys[name]) for name in ("eval", "test")}
    removed = {name: int(rows.sum()) for name, rows in held.items()}
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
        exact_duplicates={name: _count_repeats(digests) for name, digests in exact.items()},
        normalised_duplicates={name: _count_repeats(digests) for name, digests in keys.items()},
        removed_from_train=removed,
        shared_by_eval_and_test=len(np.intersect1d(keys["eval"], keys["test"])),
    )
    return Splits(checked["train"], checked["eval"], checked["test"], info)


def normalise(text: str) -> str:
    """The key by which two texts are the same: compatibility forms, case and white space do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _check_split(name: str, split: datasets.Dataset, label2id: Mapping[str, int]) -> datasets.Dataset:
    absent = [column for column in COLUMNS if column not in split.column_names]
    if absent:
        raise DatasetError(
            f"Split {name} has no column {' or '.join(absent)} (it has {_names(split.column_names)}). "
            "Name the text column grievance and the label column label."
        )
    texts = _values(split, "grievance")
    bad = [i for i, text in enumerate(texts) if not isinstance(text, str) or not text.strip()]
    if bad:
        raise DatasetError(
            f"Split {name} has {_rows(bad)} without a text. Fill or drop them, then push anew."
        )
    labels = datasets.Dataset.from_dict({"label": _label_ids(name, split, label2id)})
    # The texts stay where they are, on disk; only the labels are made anew.
    split = split.select_columns(["grievance"]).cast_column("grievance", datasets.Value("string"))
    return datasets.concatenate_datasets([split, labels], axis=1)


def _values(split: datasets.Dataset, column: str) -> Iterator[Any]:
    """A column's values, one after another, with a batch of them in memory."""
    for batch in split.select_columns([column]).iter(10_000):
        yield from batch[column]


def _label_ids(name: str, split: datasets.Dataset, label2id: Mapping[str, int]) -> list[int]:
    """Ids as they are; names by the label set; a ClassLabel by its names, whose order may be another one."""
    feature = split.features["label"]
    by_name = isinstance(feature, datasets.ClassLabel) and set(feature.names) & set(label2id)
    nulls = [i for i, value in enumerate(_values(split, "label")) if value is None]
    if nulls:
        raise DatasetError(
            f"Split {name} has {_rows(nulls)} with a null label. Label or drop them, then push anew."
        )
    ids = range(len(label2id))
    known = {i: i for i in ids} | dict(label2id)

    def values() -> Iterable[Any]:
        column = _values(split, "label")
        return (feature.names[value] for value in column) if by_name else column

    bad = [
        i
        for i, value in enumerate(values())
        if isinstance(value, bool | float | list | dict) or value not in known
    ]
    if bad:
        faulty = set(bad)
        seen = sorted({_shown(value) for i, value in enumerate(values()) if i in faulty})[:ROWS_SHOWN]
        raise DatasetError(
            f"Split {name} has {_rows(bad)} with an unknown label ({', '.join(seen)}). A label is an id from "
            f"0 to {ids[-1]} or one of these names: {', '.join(label2id)}. Is LABEL the one of this data set?"
        )
    return [known[value] for value in values()]


def _shown(value: Any) -> str:
    """A label or name as it is shown; one that could be a citizen's text is not."""
    text = str(value)
    return repr(value) if len(text) <= 40 and len(text.split()) <= 4 else f"a text of {len(text)} characters"


def _names(names: Iterable[str]) -> str:
    """The names that somebody gave splits or columns: quoted, and a limited number of them."""
    quoted = [_shown(name) for name in names]
    return ", ".join(quoted[:NAMES_SHOWN]) + (", …" if len(quoted) > NAMES_SHOWN else "")


def _rows(indices: list[int]) -> str:
    first = ", ".join(map(str, indices[:ROWS_SHOWN]))
    more = ", …" if len(indices) > ROWS_SHOWN else ""
    return f"{len(indices)} row{'s' if len(indices) > 1 else ''} (number {first}{more}, from 0)"


def _digests(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Eight bytes for each text: of a million different ones, two have the same with a chance of 3 in 10⁸."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _count_repeats(digests: NDArray[np.uint64]) -> int:
    return len(digests) - len(np.unique(digests))


def _count_labels(labels: Iterable[int], label2id: Mapping[str, int]) -> dict[str, int]:
    counts = Counter(labels)
    return {label: counts[i] for label, i in label2id.items()}
