"""The gate: its figures against scikit-learn and scipy, its rules, and what must hold for any answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from retrain.evaluation.decision_gate import (
    Evidence,
    decide,
    decide_first_release,
    first_release_refused,
    strange_answers,
    weigh,
)
from retrain.evaluation.paired_statistics import bootstrap_deltas, joint_counts
from retrain.evaluation.scores import compute_scores
from retrain.records import Comparison, GateRules, RowCounts, Verdict
from tests.unit.evaluation.conftest import BETTER, LABELS, WORSE, noisy, rows_of


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


# --- each figure and each limit


def votes(confusion: list[list[int]]) -> tuple[list[int], list[int]]:
    """Labels and answers with this confusion matrix, [label][answer]."""
    cells = [(label, answer) for label, row in enumerate(confusion) for answer in range(len(row))]
    pairs = [cell for cell in cells for _ in range(confusion[cell[0]][cell[1]])]
    return [label for label, _ in pairs], [answer for _, answer in pairs]


def weighed(candidate: list[int], live: list[int], **rules: float) -> tuple[Evidence, np.ndarray]:
    """The evidence on the 300 rows, and the resampled gains it must come from."""
    counts = joint_counts(*(np.array(column) for column in (LABELS, candidate, live)), 3)
    return weigh(counts, GateRules(seed=7, **rules)), bootstrap_deltas(counts, 7)


def test_the_interval_holds_95_percent_of_the_resampled_gains() -> None:
    evidence, gains = weighed(BETTER, WORSE)
    assert evidence.interval == pytest.approx(np.quantile(gains, [0.025, 0.975]).tolist())


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.15])
def test_the_probability_of_gain_counts_gains_beyond_the_threshold(threshold: float) -> None:
    evidence, gains = weighed(BETTER, WORSE, threshold=threshold)
    assert evidence.probability_of_gain == (gains > threshold).mean()
    assert 0 < (gains > 0.15).mean() < (gains > 0.05).mean()


def test_recalls_and_rows_are_of_each_class_and_each_model() -> None:
    candidate = [2 if i < 4 else label for i, label in enumerate(LABELS)]  # rows 0, 1 and 3 are wrong
    live = [0] * 300
    evidence, _ = weighed(candidate, live)
    assert evidence.class_rows == [150, 75, 75]
    assert evidence.recalls_candidate == pytest.approx([148 / 150, 74 / 75, 1.0])
    assert evidence.recalls_live == [1.0, 0.0, 0.0]
    alike = sum(one == other for one, other in zip(candidate, live, strict=True))
    assert evidence.row_counts == RowCounts(297, 150, 149, 2, alike)
    assert evidence.delta == evidence.f1_candidate - evidence.f1_live


def test_a_share_of_resamplings_is_rounded_down() -> None:
    """997 of 1,000 are not 100 of 100."""
    counts = joint_counts(*(np.array(column) for column in (LABELS, BETTER, WORSE)), 3)
    threshold = float(np.quantile(bootstrap_deltas(counts, 42), 0.003))
    verdict = judge(LABELS, BETTER, [*WORSE], threshold=threshold)
    assert 0.995 < verdict.probability_of_gain < 0.999
    assert "In 99 of 100 resamplings" in " ".join(verdict.reasons)


def test_the_reasons_name_the_interval_and_the_rows_that_only_one_gets_right() -> None:
    live = [1, 0, *LABELS[2:]]  # rows 0 and 1 are wrong
    candidate = [*LABELS[:2], 0, *LABELS[3:]]  # row 2 is wrong
    text = " ".join(judge(LABELS, candidate, [*live]).reasons)
    low, high = judge(LABELS, candidate, [*live]).interval
    assert f"(95 % interval of the gain: {low:+.4f} to {high:+.4f})" in text
    assert "On 3 rows just one of the two is right: the new model on 2, the live one on 1" in text
    assert "(McNemar's exact test: p = 1.000)" in text


@pytest.mark.parametrize(
    ("rules", "accepted"),
    [
        ({"threshold": 0.04}, True),
        ({"confidence": 1.0}, True),
        ({"min_f1_macro": 1.0}, True),
        ({"threshold": 0.06}, False),
    ],
    ids=str,
)
def test_a_rule_is_met_by_what_just_reaches_it(rules: dict[str, float], accepted: bool) -> None:
    """The candidate is always right; the live model is wrong on fifteen rows of 300."""
    labels = [0, 1, 2] * 100
    live = [(label + 1) % 3 if i < 15 else label for i, label in enumerate(labels)]
    assert judge(labels, labels, [*live], **rules).outcome == ("accepted" if accepted else "rejected")


def test_the_floor_is_for_the_candidate_and_its_reason_says_how_it_stands_to_it() -> None:
    """The live model is far below it, and that is no fault of the candidate."""
    live = noisy(LABELS, 0.7, 4)
    verdict = judge(LABELS, BETTER, [*live], min_f1_macro=0.8)
    assert verdict.f1_macro_live < 0.8 < verdict.f1_macro_candidate
    assert verdict.outcome == "accepted"
    assert "is not below the floor of 0.8000" in " ".join(verdict.reasons)
    poor = judge(LABELS, noisy(LABELS, 0.5, 3), [*live], min_f1_macro=0.8)
    assert "is below the floor of 0.8000" in " ".join(poor.reasons)


@pytest.mark.parametrize(("missing", "judged"), [(15, True), (16, False)])
def test_a_coverage_that_is_just_met_will_do(missing: int, judged: bool) -> None:
    """95 % of 300 rows are 285."""
    live = [None if i < missing else answer for i, answer in enumerate(WORSE)]
    assert (judge(LABELS, LABELS, live).outcome != "inconclusive") == judged


@pytest.mark.parametrize(
    ("rows", "wrong", "allowed", "passes"),
    [(20, 5, 0.25, True), (20, 6, 0.25, False), (20, 0, 0.0, True), (19, 0, 0.25, False)],
)
def test_recall_may_fall_as_far_as_allowed_on_at_least_twenty_rows(
    rows: int, wrong: int, allowed: float, passes: bool
) -> None:
    labels = [0] * 100 + [1] * 100 + [2] * rows
    candidate = [0] * 100 + [1] * 100 + [1] * wrong + [2] * (rows - wrong)
    live = [1] * 50 + [0] * 50 + [0] * 50 + [1] * 50 + [2] * rows
    verdict = judge(labels, candidate, [*live], max_class_recall_drop=allowed)
    (rule,) = [rule for rule in verdict.rules if rule.name == "MAX_CLASS_RECALL_DROP"]
    assert rule.passed == passes
    assert verdict.outcome == ("accepted" if passes else "rejected")
    if passes:
        assert rule.reason == f"No class loses more than {allowed:.3f} of recall."


def test_swapped_labels_are_named_as_they_would_have_to_be_read() -> None:
    """The API says URGENT for NORMAL, HIGHLY URGENT for URGENT, and NORMAL for HIGHLY URGENT."""
    live = [(label + 1) % 3 for label in BETTER]
    (reason,) = judge(LABELS, LABELS, [*live]).reasons
    assert "if it says URGENT for NORMAL, HIGHLY URGENT for URGENT, NORMAL for HIGHLY URGENT." in reason, (
        reason
    )
    pair = [{0: 1, 1: 0, 2: 2}[label] for label in BETTER]
    assert "if it says URGENT for NORMAL, NORMAL for URGENT." in judge(LABELS, LABELS, [*pair]).reasons[0]


@pytest.mark.parametrize(("right", "judged"), [(118, False), (122, True)], ids=["kappa 0.09", "kappa 0.11"])
def test_answers_hardly_better_than_chance_are_those_below_a_kappa_of_a_tenth(
    right: int, judged: bool
) -> None:
    rest = (300 - right) // 2
    labels, live = votes([[right, rest, rest], [rest, right, rest], [rest, rest, right]])
    verdict = judge(labels, labels, [*live])
    assert verdict.outcome == ("accepted" if judged else "inconclusive")
    assert judged or "(Cohen's kappa 0.09)" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("right", "said"), [(198, "hardly better than chance"), (202, "look swapped")], ids=["0.49", "0.51"]
)
def test_labels_look_swapped_where_reading_them_otherwise_gives_a_kappa_of_a_half(
    right: int, said: str
) -> None:
    rest = (300 - right) // 2
    labels, live = votes([[rest, right, rest], [rest, rest, right], [right, rest, rest]])
    assert said in judge(labels, labels, [*live]).reasons[0]


def test_labels_that_fit_best_as_they_are_do_not_look_swapped() -> None:
    """Two classes of three are confused with each other, yet less than half the time."""
    labels, live = votes([[160, 140, 0], [140, 160, 0], [0, 0, 300]])
    assert judge(labels, labels, [*live]).outcome == "accepted"


def test_an_api_that_gives_one_label_to_nine_rows_of_ten_may_still_be_a_model() -> None:
    labels, live = votes([[15, 15, 0], [0, 240, 0], [0, 15, 15]])
    assert judge(labels, labels, [*live]).outcome == "accepted"


def test_without_an_answer_there_is_no_comparison() -> None:
    verdict = judge(LABELS, LABELS, [None] * 300, min_coverage=0.0)
    assert verdict.outcome == "inconclusive"
    assert (verdict.rows_asked, verdict.rows_compared, verdict.delta) == (300, 0, None)


def test_what_to_do_is_said_for_the_api_only() -> None:
    doubtful = [rows_of([0] * 10, [0] * 10, [0] * 10, each) for each in ("api", "hub")]
    said = [decide(each, GateRules()).reasons[0] for each in doubtful]
    assert [text.count("COMPARE_WITH=hub") for text in said] == [1, 0]
    assert all("labelled URGENT, HIGHLY URGENT. Nothing was published." in text for text in said)


def test_a_coverage_without_known_causes_says_so() -> None:
    lost = replace(rows_of(LABELS, LABELS, [None] * 300), errors=[None] * 300)
    assert "(no causes known)" in decide(lost, GateRules()).reasons[0]


def test_causes_are_counted_the_most_frequent_first() -> None:
    live = [None if i < 5 else answer for i, answer in enumerate(WORSE)]
    errors = ["status 500"] * 2 + ["no connection"] * 3 + [None] * 295
    verdict = decide(replace(rows_of(LABELS, BETTER, live), errors=errors), GateRules())
    assert verdict.reasons[-1] == (
        "5 rows were not answered and do not count: 3 × no connection; 2 × status 500."
    )
    assert [rule.name for rule in verdict.rules] == ["DECISION_THRESHOLD"]


# --- a released model that is weak


def test_a_weak_model_whose_answers_are_confirmed_is_compared_with() -> None:
    always_normal = rows_of(LABELS, BETTER, [0] * 300)
    assert decide(always_normal, GateRules()).outcome == "inconclusive"
    assert decide(replace(always_normal, confirmed=True), GateRules()).outcome == "accepted"


@pytest.mark.parametrize(
    ("live", "strange"),
    [
        ([0] * 300, True),
        ([(label + 1) % 3 for label in BETTER], True),
        (BETTER, False),
        ([None] * 300, False),
    ],
    ids=["one label", "swapped labels", "a model's", "none"],
)
def test_answers_that_no_model_gives_are_strange(live: list[int | None], strange: bool) -> None:
    assert bool(strange_answers(rows_of(LABELS, LABELS, live))) == strange


# --- a candidate that has learnt nothing


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ([1] * 300, "The new model answers URGENT to all rows: it has learnt nothing."),
        (noisy(LABELS, 1.0, 5), "The new model is hardly better than chance (Cohen's kappa"),
    ],
)
def test_a_candidate_that_has_learnt_nothing_is_rejected_though_the_live_model_is_worse(
    candidate: list[int], said: str
) -> None:
    worse = [(label + 1) % 3 for label in LABELS]
    verdict = decide(replace(rows_of(LABELS, candidate, [*worse]), confirmed=True), GateRules())
    assert verdict.delta > 0.001
    assert verdict.outcome == "rejected"
    assert verdict.reasons[0].startswith(said)


# --- the first release


def test_a_first_release_that_is_not_allowed_says_how_it_would_be() -> None:
    verdict = first_release_refused("city/model")
    assert verdict.outcome == "inconclusive"
    assert "ALLOW_FIRST_RELEASE=true" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("answers", "floor", "outcome", "said"),
    [
        (BETTER, None, "accepted", "ALLOW_FIRST_RELEASE is set"),
        (BETTER, 0.5, "accepted", "is not below the floor of 0.5000"),
        (BETTER, 0.999, "rejected", "is below the floor of 0.9990"),
        ([0] * 300, None, "rejected", "The new model answers NORMAL to all rows: it has learnt nothing."),
        (noisy(LABELS, 1.0, 5), None, "rejected", "hardly better than chance"),
    ],
)
def test_a_first_release_must_have_learnt_something_and_reach_the_floor(
    answers: list[int], floor: float | None, outcome: str, said: str
) -> None:
    scores = compute_scores(LABELS, answers, {0: "NORMAL", 1: "URGENT", 2: "HIGHLY URGENT"})
    verdict = decide_first_release("city/model", scores, GateRules(min_f1_macro=floor))
    assert verdict.outcome == outcome
    assert said in " ".join(verdict.reasons)
