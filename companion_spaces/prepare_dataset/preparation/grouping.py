"""Which texts are nearly the same: MinHash and LSH find candidates, exact Jaccard similarity decides."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from preparation.texts import PERMUTATIONS, grams

SIMILARITY = 0.8
# 16 bands of 4: a pair meets in one of them with a probability of 0.9998 at a similarity of 0.8, 0.64 at 0.5.
BANDS, ROWS = 16, 4
assert BANDS * ROWS == PERMUTATIONS
# A candidate whose signature agrees at fewer places is four standard errors below SIMILARITY.
LEAST_ESTIMATE = 0.6
# In a band that very many texts share, so many of them are compared with all others.
MOST_ROUNDS = 50
GRAMS_KEPT = 2_000  # texts whose grams are in memory, some 60 kB each

Places = NDArray[np.int64]


class Groups:
    """A union-find over the places of texts."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, place: int) -> int:
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        """Put two into one group, named by its lowest place."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low

    def roots(self) -> Places:
        """The lowest place of each one's group."""
        return np.fromiter(map(self.root, range(len(self._parent))), np.int64, len(self._parent))


def group_near_duplicates(
    groups: Groups, signatures: NDArray[np.uint32], text_of: Callable[[int], str]
) -> None:
    """Join texts of which one and the next have a Jaccard similarity of at least SIMILARITY.

    signatures: (texts, PERMUTATIONS); text_of: the text at a place.
    """
    grams_at = lru_cache(GRAMS_KEPT)(lambda place: grams(text_of(place)))

    def is_similar(one: int, other: int) -> bool:
        first, second = grams_at(one), grams_at(other)
        if min(len(first), len(second)) < SIMILARITY * max(len(first), len(second)):
            return False
        both = len(first & second)
        return both >= SIMILARITY * (len(first) + len(second) - both)

    for band in range(BANDS):
        for bucket in _buckets(signatures[:, band * ROWS : (band + 1) * ROWS]):
            _join_in(bucket, groups, signatures, is_similar)


def _buckets(part: NDArray[np.uint32]) -> Iterator[Places]:
    """Places whose rows of a band are equal, where there are several."""
    keys = np.ascontiguousarray(part).view(f"V{4 * ROWS}").ravel()
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(counts)
    for bucket in np.flatnonzero(counts > 1):
        yield order[ends[bucket] - counts[bucket] : ends[bucket]]


def _join_in(
    bucket: Places, groups: Groups, signatures: NDArray[np.uint32], is_similar: Callable[[int, int], bool]
) -> None:
    """Compare each of a bucket with those after it that it is not grouped with already."""
    places = bucket.tolist()
    for at, first in enumerate(places[:MOST_ROUNDS]):
        root = groups.root(first)
        others = np.array([place for place in places[at + 1 :] if groups.root(place) != root], np.int64)
        if not len(others):
            continue
        estimates = (signatures[others] == signatures[first]).mean(axis=1)
        for place in others[estimates >= LEAST_ESTIMATE].tolist():
            if groups.root(place) != groups.root(first) and is_similar(first, place):
                groups.join(first, place)
