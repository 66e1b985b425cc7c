"""The labels of a split, as ids of a label set. Knows neither the Hub nor the texts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrain.dataset.wording import ROWS_SHOWN, names_shown, rows_shown, shown
from retrain.errors import DatasetError

_NUMBER = re.compile(r"(-?\d+)(\.0*)?", re.ASCII)


def label_ids(
    split: str, values: Iterable[Any], class_names: Sequence[str] | None, label2id: Mapping[str, int]
) -> list[int]:
    """Read labels by their names, or by their ids where a data set has nothing else.

    Case and surrounding blanks do not count. A number, also as text or as a float, is an id, unless a name of
    the label set is a number itself. class_names: those of a ClassLabel, whose values are places in this
    list; `datasets` sorts it, so its order says nothing.

    Raises:
        DatasetError: a label is missing or unknown, or the names of the ClassLabel are other ones.
    """
    known = {_key(name): i for name, i in label2id.items()}
    if class_names is not None and not known.keys() & set(map(_key, class_names)):
        if list(class_names) != [str(i) for i in range(len(class_names))]:
            raise DatasetError(
                f"Split {split} names its labels {names_shown(class_names)}; the label set has "
                f"{names_shown(label2id)}. No name is in both, and the order of names says nothing. Rename "
                "the labels of the data set, or name its own in LABELS. Is LABEL the one of this data set?"
            )
        class_names = None  # each name is its own number: these are ids
    if class_names is None and not any(_NUMBER.fullmatch(str(name)) for name in known):
        known |= {str(i): i for i in label2id.values()}

    ids: list[int] = []
    missing: list[int] = []
    unknown: list[int] = []
    seen: set[str] = set()
    for row, value in enumerate(values):
        if value is None:
            missing.append(row)
            continue
        label = _named(value, class_names)
        # A value that the ClassLabel does not name, such as -1, is no id either.
        named = class_names is None or label is not value
        if named and (found := known.get(_key(label))) is not None:
            ids.append(found)
        else:
            unknown.append(row)
            seen.add(shown(label))
    if missing:
        raise DatasetError(
            f"Split {split} has {rows_shown(missing)} with a null label. Label or drop them, then push anew."
        )
    if unknown:
        unlabelled = " -1 stands for no label." if "-1" in seen else ""
        raise DatasetError(
            f"Split {split} has {rows_shown(unknown)} with an unknown label "
            f"({', '.join(sorted(seen)[:ROWS_SHOWN])}).{unlabelled} A label is an id from 0 to "
            f"{len(label2id) - 1} or one of these names: {', '.join(label2id)}. Is LABEL the one of this "
            "data set?"
        )
    return ids


def _key(label: Any) -> str | None:
    """What a label is known by: a name without its case, a number in digits; None for what is no label."""
    match label:
        case bool():
            return None
        case int():
            return str(label)
        case float() if label.is_integer():
            return str(int(label))
        case str():
            folded = label.strip().casefold()
            number = _NUMBER.fullmatch(folded)
            return number[1] if number else folded
        case _:
            return None


def _named(value: Any, class_names: Sequence[str] | None) -> Any:
    """The name of a ClassLabel's value; what it does not name, and any other label, as it is."""
    return class_names[value] if class_names is not None and value in range(len(class_names)) else value
