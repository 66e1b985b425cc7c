"""Texts that are the same, within a split and across splits. Knows no Hub, no label set and no model."""

import functools
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.uint64]
# What is not seen and has another category than Cf: fillers and the empty Braille cell, variation selectors.
_FILLERS = (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800)
_SELECTORS = (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))


@dataclass(frozen=True)
class TextKeys:
    """A split's texts as eight bytes each: `exact` to the letter, `same` normalised; and rows without a text.

    Of a million different texts, two have the same key with a chance of 3 in 10⁸.
    """

    exact: Digests
    same: Digests
    empty: list[int]


def text_keys(texts: Iterable[str | None]) -> TextKeys:
    """The keys of texts, in their order."""
    exact, same, empty = bytearray(), bytearray(), []
    for row, text in enumerate(texts):
        key = normalise(text or "")
        if not key:
            empty.append(row)
        exact += _digest(text or "")
        same += _digest(key)
    return TextKeys(np.frombuffer(exact, np.uint64), np.frombuffer(same, np.uint64), empty)


def normalise(text: str) -> str:
    """The key by which two texts are the same: compatibility forms, case and white space do not count.

    Neither do characters that are not seen, such as U+FEFF or soft hyphens. The joiners U+200C and U+200D
    among them change how Devanagari looks, not which words it is.
    """
    text = unicodedata.normalize("NFKC", text)
    if not (invisible := _invisible()).isdisjoint(text):
        text = "".join(c for c in text if c not in invisible)
    return " ".join(text.casefold().split())


def repeats(digests: Digests) -> int:
    """How many texts stand there already."""
    return len(digests) - len(np.unique(digests))


def contradictions(
    keys: Mapping[str, Digests], labels: Mapping[str, Sequence[int]]
) -> tuple[int, dict[str, list[int]]]:
    """Texts that have several labels, within a split or across splits: how many, and their rows by split."""
    ids = np.concatenate([np.asarray(labels[name], np.int64) for name in keys])
    _, text = np.unique(np.concatenate(list(keys.values())), return_inverse=True)
    lowest, highest = np.full(len(ids), ids.max(initial=0)), np.zeros(len(ids), np.int64)
    np.minimum.at(lowest, text, ids)
    np.maximum.at(highest, text, ids)
    contradictory = lowest < highest
    ends = np.cumsum([len(each) for each in keys.values()])
    by_split = np.split(contradictory[text], ends[:-1])
    rows = {name: np.flatnonzero(found).tolist() for name, found in zip(keys, by_split, strict=True)}
    return int(contradictory.sum()), {name: found for name, found in rows.items() if found}


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


@functools.cache
def _invisible() -> frozenset[str]:
    """Format characters, control characters but white space, and what is not seen of other categories."""
    with_some = (*range(0x20000), *range(0xE0000, 0xE0200))  # planes 2 and 3 are ideographs
    found = (c for c in map(chr, with_some) if unicodedata.category(c) in ("Cf", "Cc") and not c.isspace())
    return frozenset((*found, *map(chr, _FILLERS), *map(chr, _SELECTORS)))
