"""Rows into train, eval and test. Knows texts and labels, no files and no Hub."""

import random
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from retrain.dataset.layout import SPLITS
from retrain.dataset.texts import normalise

_PLACES = {0: "test", 5: "eval"}  # of every ten texts: 80/10/10
FEWEST_TEXTS = 3  # of a label, for one in each split


def nearly(text: str) -> str:
    """The key by which texts are nearly the same: only letters, marks and digits count, not their case."""
    words = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in normalise(text))
    return " ".join(words.split()) or normalise(text)


def split_rows(
    texts: Sequence[str],
    labels: Sequence[Hashable],
    seed: int = 42,
    known: Mapping[str, str] | None = None,
) -> dict[str, list[int]]:
    """Train, eval and test (80/10/10) as places of rows, stratified by label.

    Equal and nearly equal texts stay together in one split. known: by nearly(text), the split that a text
    keeps. Each label with at least three other texts has one of them in each split.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[nearly(text)].append(row)
    splits: dict[str, list[int]] = {name: [] for name in SPLITS}
    new = []
    for key, rows in groups.items():
        if known and key in known:
            splits[known[key]].extend(rows)
        else:
            new.append(rows)
    rng = random.Random(seed)  # noqa: S311 (no secret)
    rng.shuffle(new)
    by_label = defaultdict(list)
    for rows in new:
        by_label[labels[rows[0]]].append(rows)
    held = {name: {labels[row] for row in rows} for name, rows in splits.items()}
    place = 0
    for label in sorted(by_label, key=str):
        names = [_PLACES.get((place + i) % 10, "train") for i in range(len(by_label[label]))]
        place += len(names)
        _fill(names, [name for name in SPLITS if label not in held[name]])
        for name, rows in zip(names, by_label[label], strict=True):
            splits[name].extend(rows)
    for rows in splits.values():
        rng.shuffle(rows)
    return splits


def _fill(names: list[str], wanting: list[str]) -> None:
    """Let each wanting split have a text, where there is one to spare."""
    for name in wanting:
        if name in names:
            continue
        for place, there in enumerate(names):
            if names.count(there) > 1 or there not in wanting:
                names[place] = name
                break
