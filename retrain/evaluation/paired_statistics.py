"""Two models on the same rows: macro F1 and its resampling, McNemar's test, agreement. Pure functions."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000

Counts = NDArray[np.int64]


def joint_counts(
    labels: NDArray[np.intp], candidate: NDArray[np.intp], live: NDArray[np.intp], num_labels: int
) -> Counts:
    """Count rows by (label, candidate's answer, live answer); returns (num_labels,) * 3."""
    shape = (num_labels,) * 3
    cells = np.ravel_multi_index((labels, candidate, live), shape)
    return np.bincount(cells, minlength=num_labels**3).reshape(shape)


def f1_macro_of_both(counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro F1 of candidate and live model from joint counts (..., K, K, K); an empty class counts as 0."""

    def f1_macro(confusion: Counts) -> NDArray[np.float64]:
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        either = confusion.sum(axis=-1) + confusion.sum(axis=-2)
        f1: NDArray[np.float64] = (2 * hits / np.maximum(either, 1)).mean(axis=-1)
        return f1

    return f1_macro(counts.sum(axis=-1)), f1_macro(counts.sum(axis=-2))


def bootstrap_deltas(counts: Counts, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """The gain in macro F1 in each of `resamples` paired resamplings, stratified by label.

    F1 depends only on the joint counts, so drawing rows with replacement within a label equals drawing its
    counts from a multinomial distribution: exactly the resampling of Efron & Tibshirani (1993), chapter 6.
    """
    swapped = counts.transpose(0, 2, 1)
    if swapped.tobytes() < counts.tobytes():  # so that swapping the models flips every sign, and nothing else
        return -bootstrap_deltas(swapped, seed, resamples)
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, *counts.shape), dtype=np.int64)
    for label, of_label in enumerate(counts.reshape(len(counts), -1)):
        if rows := of_label.sum():
            sample = generator.multinomial(rows, of_label / rows, size=resamples)
            drawn[:, label] = sample.reshape(resamples, *counts.shape[1:])
    candidate, live = f1_macro_of_both(drawn)
    return candidate - live


def mcnemar_exact(only_candidate_right: int, only_live_right: int) -> float:
    """McNemar's exact test of equal accuracy (1947): two-sided p, from the rows that only one gets right."""
    from scipy.stats import binomtest  # slow to import: see scores

    discordant = only_candidate_right + only_live_right
    return float(binomtest(only_candidate_right, discordant).pvalue) if discordant else 1.0


def kappa(confusion: Counts) -> float:
    """Cohen's kappa (1960) of labels and answers: 0 is chance agreement, 1 is perfect."""
    rows = confusion.sum()
    by_chance = (confusion.sum(axis=0) * confusion.sum(axis=1)).sum() / rows**2
    return float((np.trace(confusion) / rows - by_chance) / (1 - by_chance))
