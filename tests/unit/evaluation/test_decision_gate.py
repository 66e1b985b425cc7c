"""The gate: its figures against scikit-learn and scipy, its rules, and what must hold for any answers."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from retrain.errors import ComparisonError
from retrain.evaluation.comparison import load_comparison, save_comparison
from retrain.evaluation.decision_gate import decide
from retrain.evaluation.paired_statistics import bootstrap_deltas, f1_macro_of_both, joint_counts
from retrain.records import Comparison, GateRules, Verdict
from tests.conftest import SOURCE

NAMES = ("NORMAL", "URGENT", "HIGHLY URGENT")
LABELS = [0, 1, 2, 0] * 75


def noisy(labels: list[int], share: float, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(rng.integers(3)) if rng.random() < share else label for label in labels]


BETTER, WORSE = noisy(LABELS, 0.1, 1), noisy(LABELS, 0.3, 2)


def rows_of(
    labels: list[int], candidate: list[int], live: list[int | None], compared_with: str = "api"
) -> Comparison:
    n = len(labels)
    errors = ["status 500" if answer is None else None for answer in live]
    return Comparison(
        NAMES, compared_with, range(n), labels, candidate, live, [0.9] * n, [0.8] * n, [0.1] * n, errors
    )


def judge(labels: list[int], candidate: list[int], live: list[int | None], **rules: float) -> Verdict:
    return decide(rows_of(labels, candidate, live), GateRules(**rules))


# --- the figures


def test_f1_is_what_scikit_learn_computes_and_mcnemar_what_scipy_does() -> None:
    verdict = judge(LABELS, BETTER, [*WORSE])
    assert verdict.outcome == "accepted"
    assert verdict.f1_macro_candidate == pytest.approx(f1_score(LABELS, BETTER, average="macro"))
    assert verdict.f1_macro_live == pytest.approx(f1_score(LABELS, WORSE, average="macro"))
    right = np.array([np.equal(LABELS, BETTER), np.equal(LABELS, WORSE)])
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert verdict.mcnemar_p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert verdict.interval[0] < verdict.delta < verdict.interval[1]


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


def test_the_verdict_says_in_plain_words_how_sure_it_is() -> None:
    text = " ".join(judge(LABELS, BETTER, [*WORSE]).reasons)
    assert "of 100 resamplings" in text
    assert "95 % interval of the gain" in text
    assert "McNemar's exact test: p < 0.001" in text


# --- the rules


def test_a_gain_that_only_equals_the_threshold_is_not_enough() -> None:
    live = [1, *LABELS[1:]]
    delta = judge(LABELS, LABELS, [*live]).delta
    assert judge(LABELS, LABELS, [*live], threshold=delta - 1e-9).outcome == "accepted"
    assert judge(LABELS, LABELS, [*live], threshold=delta).outcome == "rejected"


def test_a_gain_within_the_noise_passes_the_plain_threshold_but_not_a_confidence() -> None:
    live = [*LABELS]
    live[:6] = [1, 0, 0, 1, 0, 0]
    candidate = [*LABELS]
    candidate[6:11] = [0, 1, 0, 0, 1]
    assert judge(LABELS, candidate, [*live]).outcome == "accepted"
    verdict = judge(LABELS, candidate, [*live], confidence=0.95)
    assert verdict.outcome == "rejected"
    assert [rule.name for rule in verdict.rules if not rule.passed] == ["DECISION_CONFIDENCE"]


def test_a_candidate_below_the_floor_is_rejected_however_much_it_gains() -> None:
    verdict = judge(LABELS, noisy(LABELS, 0.5, 3), [*noisy(LABELS, 0.7, 4)], min_f1_macro=0.8)
    assert verdict.delta > 0.001
    assert verdict.outcome == "rejected"
    assert "below the floor of 0.8000" in " ".join(verdict.reasons)


def test_a_class_that_loses_recall_is_named() -> None:
    candidate = [1 if label == 2 and i % 8 == 2 else label for i, label in enumerate(LABELS)]
    verdict = judge(LABELS, candidate, [*WORSE], max_class_recall_drop=0.05)
    assert verdict.delta > 0.001
    assert verdict.outcome == "rejected"
    assert "Recall falls by more than 0.050: HIGHLY URGENT from" in " ".join(verdict.reasons)


def test_a_rule_that_too_few_rows_can_tell_fails_the_candidate_and_says_so() -> None:
    labels = [0] * 50 + [1] * 50 + [2] * 19
    live = [1 if i % 5 == 0 else label for i, label in enumerate(labels)]
    assert judge(labels, labels, [*live]).outcome == "accepted"
    verdict = judge(labels, labels, [*live], max_class_recall_drop=0.9)
    assert verdict.outcome == "rejected"
    assert "HIGHLY URGENT has 19 rows, and 20 are needed" in " ".join(verdict.reasons)


# --- rows that can't carry a verdict


def test_too_few_answers_are_inconclusive_never_a_win_and_their_causes_are_counted() -> None:
    live = [None if i < 16 else answer for i, answer in enumerate(WORSE)]
    verdict = judge(LABELS, LABELS, live)
    assert verdict.outcome == "inconclusive"
    assert verdict.failures == {"status 500": 16}
    assert "answered 284 of 300 rows, and 95% are needed (16 × status 500)" in verdict.reasons[0]
    assert "COMPARE_WITH=hub" in verdict.reasons[0]


def test_only_rows_that_both_answered_count() -> None:
    live = [None if i < 10 else answer for i, answer in enumerate(WORSE)]
    verdict = judge(LABELS, BETTER, live)
    assert verdict.rows_compared == 290
    assert "10 rows were not answered and do not count: 10 × status 500." in verdict.reasons
    assert verdict.f1_macro_candidate == pytest.approx(f1_score(LABELS[10:], BETTER[10:], average="macro"))


@pytest.mark.parametrize("labels", [[], [0], [0, 1], [1] * 300], ids=["0", "1", "2", "one class"])
def test_rows_without_every_class_are_inconclusive(labels: list[int]) -> None:
    wrong = [(label + 1) % 3 for label in labels]
    for compared_with in ("api", "hub"):
        verdict = decide(rows_of(labels, labels, [*wrong], compared_with), GateRules())
        assert verdict.outcome == "inconclusive"


def test_a_row_that_stands_there_twice_is_inconclusive() -> None:
    twice = replace(rows_of(LABELS, BETTER, [*WORSE]), rows=[0, 0, *range(2, 300)])
    assert decide(twice, GateRules()).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("live", "said"),
    [
        ([1] * 300, "answered URGENT to all of 300 rows"),
        ([{0: 1, 1: 0, 2: 2}[label] for label in BETTER], "labels look swapped"),
        (np.random.default_rng(0).permutation(BETTER).tolist(), "hardly better than chance"),
    ],
    ids=["a constant", "swapped labels", "another order"],
)
def test_an_api_whose_answers_are_no_models_gives_no_win(live: list[int], said: str) -> None:
    verdict = judge(LABELS, LABELS, [*live])
    assert verdict.outcome == "inconclusive"
    assert said in verdict.reasons[0]


def test_a_released_model_that_is_really_that_poor_can_be_beaten_with_hub() -> None:
    verdict = decide(rows_of(LABELS, BETTER, [1] * 300, "hub"), GateRules())
    assert verdict.outcome == "accepted"


# --- what holds for any answers


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    """Two models of any quality on 90 rows, with 30 of each class: enough for every rule to tell."""
    labels = [0, 1, 2] * 30

    def model() -> list[int]:
        share, seed = draw(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.6, 1.0])), draw(st.integers(0, 10_000))
        return noisy(labels, share, seed)

    return rows_of(labels, model(), [*model()], draw(st.sampled_from(["api", "hub"])))


RULES = st.builds(
    GateRules,
    threshold=st.sampled_from([0.0, 0.001, 0.02, 0.05]),
    confidence=st.none() | st.sampled_from([0.5, 0.8, 0.95]),
    min_f1_macro=st.none() | st.sampled_from([0.3, 0.6, 0.9]),
    max_class_recall_drop=st.none() | st.sampled_from([0.0, 0.05, 0.3]),
)
# Few examples, each of them of 10,000 resamples.
few = settings(max_examples=60, deadline=None)


@few
@given(comparisons())
def test_swapping_the_models_flips_the_sign(comparison: Comparison) -> None:
    comparison = replace(comparison, compared_with="hub")
    swapped = replace(comparison, candidate=comparison.live, live=comparison.candidate)
    one, other = decide(comparison, GateRules(threshold=0)), decide(swapped, GateRules(threshold=0))
    assert one.delta == -other.delta
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.mcnemar_p == other.mcnemar_p
    assert "accepted" not in (one.outcome, other.outcome) or one.outcome != other.outcome


@few
@given(comparisons(), st.randoms(), RULES)
def test_the_order_of_the_rows_changes_nothing(
    comparison: Comparison, random: object, rules: GateRules
) -> None:
    order = list(range(len(comparison.labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    columns = ("rows", "labels", "candidate", "live")
    shuffled = {name: [getattr(comparison, name)[i] for i in order] for name in columns}
    assert decide(replace(comparison, **shuffled), rules) == decide(comparison, rules)


@few
@given(comparisons(), RULES)
def test_equal_predictions_never_pass(comparison: Comparison, rules: GateRules) -> None:
    assert decide(replace(comparison, live=comparison.candidate), rules).outcome != "accepted"


@few
@given(comparisons(), RULES, RULES)
def test_a_stricter_rule_never_accepts_what_a_laxer_one_rejects(
    comparison: Comparison, rules: GateRules, others: GateRules
) -> None:
    def tighter(one: float | None, other: float | None, pick: object) -> float | None:
        return other if one is None else one if other is None else pick(one, other)  # type: ignore[operator]

    stricter = GateRules(
        threshold=max(rules.threshold, others.threshold),
        confidence=tighter(rules.confidence, others.confidence, max),
        min_f1_macro=tighter(rules.min_f1_macro, others.min_f1_macro, max),
        max_class_recall_drop=tighter(rules.max_class_recall_drop, others.max_class_recall_drop, min),
    )
    if decide(comparison, stricter).outcome == "accepted":
        ACCEPTED.append(stricter)
        assert decide(comparison, rules).outcome == "accepted"


ACCEPTED: list[GateRules] = []


def test_the_strict_rules_of_the_test_before_accepted_something() -> None:
    """Otherwise it would have shown nothing."""
    test_a_stricter_rule_never_accepts_what_a_laxer_one_rejects()
    assert any(rules.confidence and rules.max_class_recall_drop is not None for rules in ACCEPTED)


# --- the file


def test_the_verdict_can_be_computed_anew_from_the_file_alone(tmp_path: Path) -> None:
    live = [None if i < 3 else answer for i, answer in enumerate(WORSE)]
    comparison, rules = rows_of(LABELS, BETTER, live), GateRules(confidence=0.9, max_class_recall_drop=0.1)
    file = tmp_path / "comparison.parquet"
    save_comparison(file, comparison, rules)
    assert decide(*load_comparison(file)) == decide(comparison, rules)
    told = subprocess.run(
        [sys.executable, "-m", "retrain.evaluation.decision_gate", str(file)],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith("ACCEPTED\n  The new model's macro F1 is")


def test_a_file_that_is_cut_off_is_told_and_gives_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "comparison.parquet"
    save_comparison(file, rows_of(LABELS, BETTER, [*WORSE]), GateRules())
    whole = file.read_bytes()
    for length in (0, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ComparisonError, match="no whole file of a comparison"):
            load_comparison(file)
    told = subprocess.run(
        [sys.executable, "-m", "retrain.evaluation.decision_gate", str(file)],
        cwd=SOURCE,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "no whole file of a comparison" in told.stderr
