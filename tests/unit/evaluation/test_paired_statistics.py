"""Resampling, McNemar's test and kappa, against their formulas."""

import numpy as np
import pytest

from retrain.evaluation.paired_statistics import (
    bootstrap_deltas,
    f1_macro_of_both,
    joint_counts,
    kappa,
    mcnemar_exact,
)
from tests.unit.evaluation.conftest import BETTER, LABELS, WORSE


def test_resampled_counts_are_those_of_resampled_rows() -> None:
    """The same distribution of the gain as drawing rows with replacement within each class, one by one."""
    labels, candidate, live = (np.array(column) for column in (LABELS, BETTER, WORSE))
    rng, slow = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = np.concatenate(
            [rng.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in range(3)]
        )
        f1 = f1_macro_of_both(joint_counts(labels[drawn], candidate[drawn], live[drawn], 3))
        slow.append(f1[0] - f1[1])
    fast = bootstrap_deltas(joint_counts(labels, candidate, live, 3), seed=0)
    assert np.mean(fast) == pytest.approx(np.mean(slow), abs=0.003)
    assert np.quantile(fast, [0.025, 0.975]) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.006)


def test_resampling_is_the_same_for_a_seed_and_flips_its_sign_with_the_models() -> None:
    labels, candidate, live = (np.array(column) for column in (LABELS, BETTER, WORSE))
    gains = bootstrap_deltas(joint_counts(labels, candidate, live, 3), 5)
    assert gains.shape == (10_000,)
    assert np.array_equal(gains, bootstrap_deltas(joint_counts(labels, candidate, live, 3), 5))
    assert np.array_equal(gains, -bootstrap_deltas(joint_counts(labels, live, candidate, 3), 5))
    assert not np.array_equal(gains, bootstrap_deltas(joint_counts(labels, candidate, live, 3), 6))


def test_rows_are_counted_by_label_and_both_answers() -> None:
    counts = joint_counts(np.array([0, 0, 2]), np.array([1, 1, 2]), np.array([2, 2, 0]), 3)
    assert counts.shape == (3, 3, 3)
    assert (counts[0, 1, 2], counts[2, 2, 0], counts.sum()) == (2, 1, 3)


def test_a_class_that_nobody_has_or_answers_counts_as_zero() -> None:
    counts = joint_counts(np.array([0, 1]), np.array([0, 1]), np.array([0, 0]), 3)
    candidate, live = f1_macro_of_both(counts)
    assert candidate == pytest.approx(2 / 3)
    assert live == pytest.approx((2 / 3) / 3)


@pytest.mark.parametrize(
    ("only_candidate", "only_live", "p"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 / 2**5),
        (0, 5, 2 / 2**5),
        (8, 1, 2 * (1 + 9) / 2**9),
    ],
)
def test_mcnemars_p_is_two_sided_and_one_where_the_models_never_differ(
    only_candidate: int, only_live: int, p: float
) -> None:
    assert mcnemar_exact(only_candidate, only_live) == pytest.approx(p)


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[20, 5], [10, 15]], 0.4),  # the example of Cohen (1960) as Wikipedia gives it
        ([[10, 0], [0, 30]], 1.0),
        ([[9, 1], [9, 1]], 0.0),
        ([[0, 5], [5, 0]], -1.0),
    ],
)
def test_kappa_is_agreement_beyond_chance(confusion: list[list[int]], expected: float) -> None:
    assert kappa(np.array(confusion)) == pytest.approx(expected)
