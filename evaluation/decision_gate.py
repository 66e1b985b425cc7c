"""Whether the candidate replaces the live model: a pure function of both models' answers on the same rows.

Knows nothing but run_record and numpy: no network, no clock, no torch.
"""

import numpy as np
from numpy.typing import NDArray

from run_record import Comparison, Verdict

RESAMPLES = 10_000


def decide(
    comparison: Comparison, num_labels: int, threshold: float, min_coverage: float, seed: int = 42
) -> Verdict:
    """Accept if the gain in macro F1, on the rows that both answered, exceeds `threshold`.

    min_coverage: the share of rows that the live model must have answered for the comparison to count;
        below it the verdict is "inconclusive".
    """
    labels, candidate = (np.asarray(v, dtype=np.intp) for v in (comparison.labels, comparison.candidate))
    answered = np.array([prediction is not None for prediction in comparison.live], dtype=bool)
    live = np.array([p for p in comparison.live if p is not None], dtype=np.intp)
    asked, compared = len(labels), int(answered.sum())
    if not asked or compared < min_coverage * asked or not compared:
        causes = "; ".join(f"{count} × {cause}" for cause, count in comparison.failures.items())
        return Verdict(
            outcome="inconclusive",
            reasons=(
                f"The live model answered {compared} of {asked} rows, and {min_coverage:.0%} are needed "
                f"({causes or 'no causes known'}). Nothing was published. Check that the API at "
                "API_ENDPOINT is up and that its labels are this label set's, then restart.",
            ),
            rows_asked=asked,
            rows_compared=compared,
        )
    counts = joint_counts(labels[answered], candidate[answered], live, num_labels)
    f1_candidate, f1_live = (float(f1) for f1 in f1_macro_of_both(counts))
    deltas = bootstrap_deltas(counts, seed)
    delta = f1_candidate - f1_live
    interval = tuple(float(x) for x in np.quantile(deltas, [0.025, 0.975]))
    probability = float((deltas > threshold).mean())
    better = delta > threshold
    reason = (
        f"On {compared} test rows the new model's macro F1 is {f1_candidate:.4f}, the live model's "
        f"{f1_live:.4f}: {delta:+.4f}, which "
        f"{'exceeds' if better else 'does not exceed'} the threshold of {threshold:.4f}."
    )
    trust = (
        f"95 % interval of the gain: {interval[0]:+.4f} to {interval[1]:+.4f}; the new model is better by "
        f"more than the threshold in {probability * 100:.0f} of 100 resamplings."
    )
    return Verdict(
        outcome="accepted" if better else "rejected",
        reasons=(reason, trust),
        rows_asked=asked,
        rows_compared=compared,
        f1_macro_candidate=f1_candidate,
        f1_macro_live=f1_live,
        delta=delta,
        interval=(interval[0], interval[1]),
        probability_of_gain=probability,
    )


def joint_counts(
    labels: NDArray[np.intp], candidate: NDArray[np.intp], live: NDArray[np.intp], num_labels: int
) -> NDArray[np.int64]:
    """Count rows by (label, candidate's answer, live answer); returns (num_labels,) * 3."""
    shape = (num_labels,) * 3
    return np.bincount(
        np.ravel_multi_index((labels, candidate, live), shape), minlength=num_labels**3
    ).reshape(shape)


def f1_macro_of_both(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Macro F1 of candidate and live model from joint counts (..., K, K, K); an empty class counts as 0."""

    def f1_macro(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        either = confusion.sum(axis=-1) + confusion.sum(axis=-2)
        return (2 * hits / np.maximum(either, 1)).mean(axis=-1)

    return f1_macro(counts.sum(axis=-1)), f1_macro(counts.sum(axis=-2))


def bootstrap_deltas(counts: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """The gain in macro F1 in each of `resamples` paired resamplings, stratified by label.

    F1 depends on the joint counts alone, so drawing rows with replacement within a label is drawing its
    counts from a multinomial distribution: the resampling of Efron & Tibshirani (1993), chapter 6, exactly.
    """
    generator = np.random.default_rng(seed)
    num_labels = len(counts)
    drawn = np.zeros((resamples, *counts.shape), dtype=np.int64)
    for label, of_label in enumerate(counts.reshape(num_labels, -1)):
        rows = of_label.sum()
        if rows:
            sample = generator.multinomial(rows, of_label / rows, size=resamples)
            drawn[:, label] = sample.reshape(resamples, *counts.shape[1:])
    candidate, live = f1_macro_of_both(drawn)
    return candidate - live
