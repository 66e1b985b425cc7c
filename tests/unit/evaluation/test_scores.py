"""Scores over the full label set, and the sample of test rows."""

import numpy as np
import pytest

from retrain.evaluation.scores import compute_scores, stratified_sample

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
