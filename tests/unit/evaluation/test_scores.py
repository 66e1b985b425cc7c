"""Scores over the full label set, and the sample of test rows."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from retrain.evaluation.scores import (
    compute_scores,
    reliability,
    reliability_of,
    stratified_sample,
    write_reports,
)
from retrain.records import ClassScores

ID2LABEL = {0: "NORMAL", 1: "URGENT", 2: "HIGHLY URGENT"}


def test_a_class_without_rows_counts_in_macro_f1() -> None:
    scores = compute_scores([0, 0, 1, 1], [0, 0, 1, 1], ID2LABEL)
    assert scores.f1_macro == pytest.approx(2 / 3)
    assert scores.per_class["HIGHLY URGENT"].support == 0
    assert np.shape(scores.confusion) == (3, 3)


def test_a_sample_keeps_the_shares_of_the_classes_and_is_the_same_for_a_seed() -> None:
    labels = [0] * 700 + [1] * 290 + [2] * 10
    sample = stratified_sample(labels, 300, seed=1)
    assert len(sample) == len(set(sample)) == 300
    assert np.bincount([labels[i] for i in sample]).tolist() == [210, 87, 3]
    assert sample == stratified_sample(labels, 300, seed=1) != stratified_sample(labels, 300, seed=2)


def test_scores_are_those_of_scikit_learn_over_the_full_label_set() -> None:
    labels, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    scores = compute_scores(labels, predictions, ID2LABEL)
    assert (scores.rows, scores.accuracy) == (6, pytest.approx(4 / 6))
    for average, found in (
        ("macro", (scores.precision_macro, scores.recall_macro, scores.f1_macro)),
        ("weighted", (scores.precision_weighted, scores.recall_weighted, scores.f1_weighted)),
    ):
        expected = precision_recall_fscore_support(labels, predictions, average=average)[:3]
        assert found == pytest.approx(expected)
    assert scores.confusion == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert scores.per_class["NORMAL"] == ClassScores(1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3)
    assert scores.per_class["HIGHLY URGENT"].precision == 0.5


def test_the_reports_name_every_class(tmp_path: Path) -> None:
    write_reports(tmp_path / "reports", [0, 0, 1, 1], [0, 0, 1, 0], ID2LABEL)
    text = (tmp_path / "reports" / "classification_report.txt").read_text(encoding="utf-8")
    assert all(name in text for name in ID2LABEL.values())
    assert "0.8000" in text
    (absent,) = [line for line in text.splitlines() if "HIGHLY URGENT" in line]
    assert absent.split()[2:] == ["0.0000", "0.0000", "0.0000", "0"]
    assert (tmp_path / "reports" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_reliability_has_ten_bins_and_a_certain_answer_is_in_the_last() -> None:
    confidence = np.array([0.05, 0.1, 0.15, 0.95, 1.0])
    right = np.array([False, True, True, True, False])
    assert reliability_of(right, confidence) == [
        (0.05, 0.0, 1),
        (pytest.approx(0.125), 1.0, 2),
        (pytest.approx(0.975), 0.5, 2),
    ]


def test_reliability_is_of_the_most_probable_class() -> None:
    probabilities = np.array([[0.75, 0.25], [0.45, 0.55]])
    assert reliability([0, 0], probabilities) == [(0.55, 0.0, 1), (0.75, 1.0, 1)]


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ([5, 5], 10, [5, 5]),
        ([5, 5], 11, [5, 5]),
        ([5, 5], 9, [5, 4]),
        ([50, 49, 1], 10, [5, 4, 1]),  # the rare class is there, and the remainders can't be met
        ([60, 25, 15], 10, [6, 3, 1]),  # of equal remainders the first is rounded up
        ([61, 24, 15], 10, [6, 2, 2]),
        ([98, 1, 1], 3, [2, 1, 1]),  # each class once, though that is one more than asked for
    ],
)
def test_a_sample_has_each_class_in_its_share_and_at_least_once(
    counts: list[int], size: int, expected: list[int]
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    sample = stratified_sample(labels, size, seed=0)
    assert np.bincount([labels[i] for i in sample]).tolist() == expected
    assert sample == sorted(set(sample))
