"""Scores over the full label set, the sample, the gate, and an API that misbehaves."""

import itertools
import socket
import threading
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluation.decision_gate import decide
from evaluation.live_model import ask_live_model, make_session
from evaluation.scores import compute_scores, stratified_sample
from run_record import Comparison

LABEL2ID = {"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 2}
ID2LABEL = {i: name for name, i in LABEL2ID.items()}


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


def compare(labels: list[int], candidate: list[int], live: list[int | None], threshold: float = 0.001) -> Any:
    return decide(Comparison(labels, candidate, live, {}), 3, threshold, min_coverage=0.95)


def noisy(labels: list[int], share: float, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(rng.integers(3)) if rng.random() < share else label for label in labels]


LABELS = list(itertools.islice(itertools.cycle([0, 1, 2, 0]), 300))


def test_the_gate_scores_as_scikit_learn_does() -> None:
    candidate, live = noisy(LABELS, 0.1, 1), noisy(LABELS, 0.3, 2)
    verdict = compare(LABELS, candidate, live)
    assert verdict.f1_macro_candidate == pytest.approx(f1_score(LABELS, candidate, average="macro"))
    assert verdict.f1_macro_live == pytest.approx(f1_score(LABELS, live, average="macro"))
    assert verdict.outcome == "accepted"
    assert verdict.interval[0] < verdict.delta < verdict.interval[1]


def test_an_equal_or_a_worse_candidate_is_rejected() -> None:
    better, worse = noisy(LABELS, 0.1, 1), noisy(LABELS, 0.3, 2)
    assert compare(LABELS, better, better).outcome == "rejected"
    assert compare(LABELS, worse, better).outcome == "rejected"


def test_a_gain_that_only_equals_the_threshold_is_not_enough() -> None:
    perfect, zero = [0, 1, 2], [1, 2, 0]
    assert compare([0, 1, 2], perfect, zero, threshold=0.999).outcome == "accepted"
    assert decide(Comparison([0, 1, 2], perfect, zero, {}), 3, 1.0, 0.95).outcome == "rejected"


def test_too_few_answers_are_inconclusive_never_a_win() -> None:
    live: list[int | None] = [*noisy(LABELS, 0.9, 3)]
    for i in range(16):
        live[i] = None
    assert compare(LABELS, LABELS, live).outcome == "inconclusive"
    assert compare(LABELS, LABELS, [None] * 300).outcome == "inconclusive"
    assert compare([], [], []).outcome == "inconclusive"


def test_only_rows_that_both_answered_count() -> None:
    candidate = noisy(LABELS, 0.1, 1)
    live: list[int | None] = [None if i < 10 else label for i, label in enumerate(noisy(LABELS, 0.2, 2))]
    verdict = compare(LABELS, candidate, live)
    assert verdict.rows_compared == 290
    assert verdict.f1_macro_candidate == pytest.approx(f1_score(LABELS[10:], candidate[10:], average="macro"))


# --- the live API


def ask(api: Any, count: int = 40, failures_allowed: int = 1000, **options: Any) -> Any:
    texts = [f"text {i}" for i in range(count)]
    session = make_session(None)
    return ask_live_model(session, api.url, texts, LABEL2ID, failures_allowed=failures_allowed, **options)


def by_number(text: str) -> dict[str, Any]:
    return {"label": ID2LABEL[int(text.split()[1]) % 3], "confidence": 1.0, "scores": {}}


def test_answers_come_back_in_the_order_of_the_texts(live_api: Any) -> None:
    live_api.answer = lambda text: (200, [by_number(one) for one in text])
    predictions, failures = ask(live_api)
    assert predictions == [i % 3 for i in range(40)]
    assert failures == {}
    assert len(live_api.asked) == 3


def test_an_api_that_takes_no_lists_is_asked_one_by_one(live_api: Any) -> None:
    live_api.answer = lambda text: (422, {}) if isinstance(text, list) else (200, by_number(text))
    predictions, failures = ask(live_api)
    assert predictions == [i % 3 for i in range(40)]
    assert failures == {}


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((500, {}), "status 500"),
        ((200, "<html>"), "no JSON but text/html"),
        ((200, {"prediction": 1}), "JSON without a label"),
        ((200, [1, 2]), "JSON without a label"),
        ((200, {"label": "PANIC"}), "unknown label"),
        ((200, {"label": 1}), "JSON without a label"),
    ],
)
def test_an_answer_that_is_no_prediction_is_a_failure_with_its_cause(
    live_api: Any, answer: tuple[int, Any], cause: str
) -> None:
    live_api.answer = lambda text: answer
    predictions, failures = ask(live_api)
    assert predictions == [None] * 40
    assert failures == {cause: 40}


def test_a_passing_503_is_tried_again(live_api: Any) -> None:
    first = iter([503])
    live_api.answer = lambda text: (next(first, 200), [by_number(one) for one in text])
    assert None not in ask(live_api)[0]


def test_an_api_that_is_down_is_not_asked_for_every_row(live_api: Any) -> None:
    live_api.close()
    predictions, failures = ask(live_api, count=400, failures_allowed=20)
    assert predictions == [None] * 400
    assert set(failures) == {"no connection", "not asked, after too many failures"}


def test_an_api_that_hangs_is_given_up(live_api: Any) -> None:
    released = threading.Event()
    live_api.answer = lambda text: (released.wait(30), (200, {}))[1]
    _, failures = ask(live_api, count=16, failures_allowed=2, timeout=(1.0, 0.2))
    released.set()
    assert failures == {"no answer in time": 16}


def test_the_suite_cannot_leave_the_machine() -> None:
    with pytest.raises(PermissionError, match="leave the machine"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
