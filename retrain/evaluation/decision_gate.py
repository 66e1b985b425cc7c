"""Whether the candidate replaces the live model: a pure function of both models' answers on the same rows.

Knows nothing but the records, numpy and scipy: no network, clock or torch. `python -m retrain verdict
comparison.parquet` computes the verdict of a run again, from its rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from retrain.evaluation.paired_statistics import (
    Counts,
    bootstrap_deltas,
    f1_macro_of_both,
    joint_counts,
    kappa,
    mcnemar_exact,
)
from retrain.records import Comparison, GateRules, RowCounts, RuleResult, Scores, Verdict

# With fewer rows of a class its recall means little: at 20, one row is 5 points.
ROWS_TO_TELL_RECALL = 20
# Cohen's kappa: below the first, answers are hardly better than chance; above the second, they fit well.
KAPPA_OF_A_MODEL, KAPPA_OF_A_GOOD_MODEL = 0.1, 0.5


class Evidence(NamedTuple):
    """A comparison's figures. Macro F1 is over the full label set; recalls and class_rows are by class id.

    confusion_candidate: (classes, classes), [label][answer].
    """

    f1_candidate: float
    f1_live: float
    delta: float
    interval: tuple[float, float]
    probability_of_gain: float
    mcnemar_p: float
    row_counts: RowCounts
    confusion_candidate: Counts
    recalls_candidate: Sequence[float]
    recalls_live: Sequence[float]
    class_rows: Sequence[int]


def decide(comparison: Comparison, rules: GateRules) -> Verdict:
    """Judge the rows that both answered: "accepted" if every rule is met, otherwise "rejected".

    "inconclusive" if the rows allow no judgement: too few answers, a class without rows, or answers that no
    model would give.
    """
    failures = dict(Counter(error for error in comparison.errors if error).most_common())
    counts = _counts(comparison)
    verdict = Verdict(
        outcome="inconclusive",
        reasons=(),
        compared_with=comparison.compared_with,
        rows_asked=len(comparison.rows),
        rows_compared=int(counts.sum()),
        failures=failures,
    )
    if doubt := _doubt(comparison, counts, failures, rules):
        advice = "Nothing was published."
        if comparison.compared_with == "api":
            advice += (
                " Check the API at API_ENDPOINT and restart, or set COMPARE_WITH=hub to compare with the "
                "released model, scored here."
            )
        return replace(verdict, reasons=(f"{doubt} {advice}",))
    evidence = weigh(counts, rules)
    results = tuple(_apply(rules, evidence, comparison.label_names))
    reasons = [*(result.reason for result in results), *_in_plain_words(evidence, rules)]
    if failures:
        lost = len(comparison.rows) - verdict.rows_compared
        reasons.append(f"{lost} rows were not answered and do not count: {_counted(failures)}.")
    return replace(
        verdict,
        outcome="accepted" if all(result.passed for result in results) else "rejected",
        reasons=tuple(reasons),
        rules=results,
        f1_macro_candidate=evidence.f1_candidate,
        f1_macro_live=evidence.f1_live,
        delta=evidence.delta,
        interval=evidence.interval,
        probability_of_gain=evidence.probability_of_gain,
        mcnemar_p=evidence.mcnemar_p,
        counts=evidence.row_counts,
        threshold=rules.threshold,
    )


def first_release_refused(repo_id: str) -> Verdict:
    """The verdict if the model repository holds no model, and a first release is not allowed."""
    return Verdict(
        "inconclusive",
        (
            f"{repo_id} holds no model that HF_TOKEN may see, so there is nothing to compare with. If this "
            "is the first release, set ALLOW_FIRST_RELEASE=true; otherwise check HUB_MODEL_ID and the token.",
        ),
    )


def decide_first_release(repo_id: str, scores: Scores, rules: GateRules) -> Verdict:
    """Judge a model that there is nothing to compare with, by its scores on the test set.

    "rejected" if it has learnt nothing or is below the floor: the next model would be compared with it.
    """
    names = list(scores.per_class)
    results = [*_learnt(np.array(scores.confusion), names), *_floor(rules, scores.f1_macro)]
    reasons = [result.reason for result in results]
    if all(result.passed for result in results):
        there_is_none = (
            f"{repo_id} holds no model yet, and ALLOW_FIRST_RELEASE is set: take it out after this run."
        )
        return Verdict("accepted", (there_is_none, *reasons), rules=tuple(results))
    remedy = (
        "A first release must be better than that: add training rows, check their labels, or train longer."
    )
    return Verdict("rejected", (*reasons, remedy), rules=tuple(results))


def strange_answers(comparison: Comparison) -> str | None:
    """How the API's answers look as if no model had given them; None if they do not."""
    return _api_fault(_counts(comparison).sum(axis=1), comparison.label_names)


def _counts(comparison: Comparison) -> Counts:
    """The joint counts of the rows that both answered."""
    answered = [i for i, prediction in enumerate(comparison.live) if prediction is not None]
    labels, candidate, live = (
        np.array([column[i] for i in answered], dtype=np.intp)
        for column in (comparison.labels, comparison.candidate, comparison.live)
    )
    return joint_counts(labels, candidate, live, len(comparison.label_names))


def weigh(counts: Counts, rules: GateRules) -> Evidence:
    """Every figure of the comparison, from the joint counts (see joint_counts)."""
    f1_candidate, f1_live = (float(f1) for f1 in f1_macro_of_both(counts))
    deltas = bootstrap_deltas(counts, rules.seed)
    low, high = np.quantile(deltas, [0.025, 0.975])
    right = np.eye(len(counts), dtype=bool)
    # On the axes (label, candidate, live): where each model's answer is the label.
    candidate_right, live_right = right[:, :, None], right[:, None, :]
    only_candidate = int(counts[candidate_right & ~live_right].sum())
    only_live = int(counts[live_right & ~candidate_right].sum())
    class_rows = counts.sum(axis=(1, 2))
    return Evidence(
        f1_candidate,
        f1_live,
        delta=f1_candidate - f1_live,
        interval=(float(low), float(high)),
        probability_of_gain=float((deltas > rules.threshold).mean()),
        mcnemar_p=mcnemar_exact(only_candidate, only_live),
        row_counts=RowCounts(
            right_candidate=int(np.trace(counts.sum(axis=2))),
            right_live=int(np.trace(counts.sum(axis=1))),
            only_candidate_right=only_candidate,
            only_live_right=only_live,
            answered_alike=int(np.trace(counts, axis1=1, axis2=2).sum()),
        ),
        confusion_candidate=counts.sum(axis=2),
        recalls_candidate=(np.diagonal(counts.sum(axis=2)) / np.maximum(class_rows, 1)).tolist(),
        recalls_live=(np.diagonal(counts.sum(axis=1)) / np.maximum(class_rows, 1)).tolist(),
        class_rows=class_rows.tolist(),
    )


def _doubt(comparison: Comparison, counts: Counts, failures: dict[str, int], rules: GateRules) -> str | None:
    """Why these rows can't be judged; None if they can."""
    asked, compared = len(comparison.rows), int(counts.sum())
    if len(set(comparison.rows)) < asked:
        return "Some rows stand in the comparison twice, so that they would count twice."
    if not compared or compared < rules.min_coverage * asked:
        return (
            f"The live model answered {compared} of {asked} rows, and {rules.min_coverage:.0%} are needed "
            f"({_counted(failures) or 'no causes known'})."
        )
    names = comparison.label_names
    empty = [name for name, rows in zip(names, counts.sum(axis=(1, 2)), strict=True) if not rows]
    if empty:
        return f"None of the {compared} rows that were answered is labelled {', '.join(empty)}."
    if comparison.compared_with != "api" or comparison.confirmed:
        return None  # a weak model that was released is a weak model, and no broken API
    return strange_answers(comparison)


def _counted(failures: dict[str, int]) -> str:
    return "; ".join(f"{count} × {cause}" for cause, count in failures.items())


def _api_fault(confusion: Counts, names: Sequence[str]) -> str | None:
    """Why a confusion matrix (label, answer) can't be that of a released model; None if it can."""
    answers, rows = confusion.sum(axis=0), confusion.sum()
    if not rows:
        return None
    if answers.max() == rows:
        return f"The API answered {names[answers.argmax()]} to all of {rows} rows: that is no model's answer."
    as_said = kappa(confusion)
    _, fitting = linear_sum_assignment(confusion, maximize=True)
    if kappa(confusion[:, fitting]) > max(as_said, KAPPA_OF_A_GOOD_MODEL):
        swaps = ", ".join(
            f"{names[answer]} for {names[label]}" for label, answer in enumerate(fitting) if label != answer
        )
        return f"The API's labels look swapped: its answers fit well if it says {swaps}."
    if as_said < KAPPA_OF_A_MODEL:
        return f"The API's answers are hardly better than chance (Cohen's kappa {as_said:.2f})."
    return None


def _apply(rules: GateRules, evidence: Evidence, names: Sequence[str]) -> list[RuleResult]:
    """The result of each rule that is set, and its reason."""
    better = evidence.delta > rules.threshold
    results = _learnt(evidence.confusion_candidate, names)
    results += [
        RuleResult(
            "DECISION_THRESHOLD",
            better,
            f"The new model's macro F1 is {evidence.f1_candidate:.4f}, the live model's "
            f"{evidence.f1_live:.4f} on the same {sum(evidence.class_rows)} rows: {evidence.delta:+.4f}, "
            f"which {'exceeds' if better else 'does not exceed'} the threshold of {rules.threshold:.4f}.",
        )
    ]
    if rules.confidence is not None:
        sure = evidence.probability_of_gain >= rules.confidence
        results.append(
            RuleResult(
                "DECISION_CONFIDENCE",
                sure,
                f"The probability that it is better by more than the threshold is "
                f"{evidence.probability_of_gain:.3f}; at least {rules.confidence:.3f} is asked for.",
            )
        )
    results += _floor(rules, evidence.f1_candidate)
    if rules.max_class_recall_drop is not None:
        results.append(_recall_rule(rules.max_class_recall_drop, evidence, names))
    return results


def _learnt(confusion: Counts, names: Sequence[str]) -> list[RuleResult]:
    """The failed rule of a candidate that has learnt nothing, by its (label, answer) counts; usually none."""
    answers, agreement = confusion.sum(axis=0), kappa(confusion)
    if answers.max() == confusion.sum():
        reason = f"The new model answers {names[answers.argmax()]} to all rows: it has learnt nothing."
    elif agreement < KAPPA_OF_A_MODEL:
        reason = f"The new model is hardly better than chance (Cohen's kappa {agreement:.2f})."
    else:
        return []
    return [RuleResult("better than chance", False, reason)]


def _floor(rules: GateRules, f1_macro: float) -> list[RuleResult]:
    if rules.min_f1_macro is None:
        return []
    high = f1_macro >= rules.min_f1_macro
    reason = (
        f"Its macro F1 of {f1_macro:.4f} is {'not ' if high else ''}below the floor of "
        f"{rules.min_f1_macro:.4f}."
    )
    return [RuleResult("MIN_F1_MACRO", high, reason)]


def _recall_rule(allowed: float, evidence: Evidence, names: Sequence[str]) -> RuleResult:
    unsure, worse = [], []
    columns = (names, evidence.class_rows, evidence.recalls_live, evidence.recalls_candidate)
    for name, rows, live, candidate in zip(*columns, strict=True):
        if rows < ROWS_TO_TELL_RECALL:
            unsure.append(f"{name} has {rows} rows")
        elif live - candidate > allowed:
            worse.append(f"{name} from {live:.3f} to {candidate:.3f}")
    if unsure:
        reason = (
            f"Whether a class got worse can't be told: {', '.join(unsure)}, and {ROWS_TO_TELL_RECALL} are "
            "needed. Raise DEPLOYED_SAMPLE_SIZE or add test rows."
        )
    elif worse:
        reason = f"Recall falls by more than {allowed:.3f}: {', '.join(worse)}."
    else:
        reason = f"No class loses more than {allowed:.3f} of recall."
    return RuleResult("MAX_CLASS_RECALL_DROP", not (unsure or worse), reason)


def _in_plain_words(evidence: Evidence, rules: GateRules) -> tuple[str, str]:
    low, high = evidence.interval
    # Rounded down: 99.7 is not "100 of 100".
    times = int(evidence.probability_of_gain * 100)
    rows = evidence.row_counts
    only_one = rows.only_candidate_right + rows.only_live_right
    p = "p < 0.001" if evidence.mcnemar_p < 0.001 else f"p = {evidence.mcnemar_p:.3f}"
    return (
        f"In {times} of 100 resamplings of these rows the new model is better by more than the threshold "
        f"(95 % interval of the gain: {low:+.4f} to {high:+.4f}).",
        f"On {only_one} rows just one of the two is right: the new model on {rows.only_candidate_right}, "
        f"the live one on {rows.only_live_right} (McNemar's exact test: {p}).",
    )
