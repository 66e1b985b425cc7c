"""How often the gate accepts, by simulation: pairs of models of known quality, judged by each rule set.

    python -m benchmarks.gate_simulation [--draws 2000]

A pair is a table of probabilities P(label, candidate's answer, live answer). Errors are spread evenly over
the other classes. They fall on the same rows as often as those of two models that were trained on versions of
one data set (OVERLAP). Prints the table in docs/decision.md.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from retrain.evaluation.decision_gate import decide
from retrain.evaluation.paired_statistics import f1_macro_of_both
from retrain.records import Comparison, GateRules

NAMES = ("NORMAL", "URGENT", "HIGHLY URGENT")
SHARES = np.array([0.45, 0.35, 0.20])
LIVE_F1 = 0.90
OVERLAP = 0.9  # the share of the better model's errors that the other one makes as well, in the same way
GAINS = (0.0, 0.01, 0.03, -0.02)
ROWS = (300, 1000, 3000)
FAILED_CALLS = (0.0, 0.05)
RULES = GateRules(confidence=0.95)
STRICTER = 0.97
RULE_SETS = ("threshold only", "DECISION_CONFIDENCE=0.95", "DECISION_CONFIDENCE=0.97")

Joint = NDArray[np.float64]


def joint_probabilities(live_error: float, candidate_error: float) -> Joint:
    """P(label, candidate's answer, live answer) as (K, K, K), for two error rates per row."""
    classes = len(SHARES)
    both = OVERLAP * min(live_error, candidate_error)
    joint = np.zeros((classes,) * 3)
    for label, share in enumerate(SHARES):
        others = [other for other in range(classes) if other != label]
        joint[label, label, label] = 1 - live_error - candidate_error + both
        for other in others:
            joint[label, other, other] = both / len(others)
            joint[label, label, other] = (live_error - both) / len(others)
            joint[label, other, label] = (candidate_error - both) / len(others)
        joint[label] *= share
    return joint


def error_rate(f1_macro: float) -> float:
    """The error rate whose true macro F1 is this one."""

    def miss(error: float) -> float:
        candidate, _ = f1_macro_of_probabilities(joint_probabilities(error, error))
        return candidate - f1_macro

    return float(brentq(miss, 1e-6, 0.6))


def f1_macro_of_probabilities(joint: Joint) -> tuple[float, float]:
    """True macro F1 of candidate and live model, as over a population of a billion rows."""
    candidate, live = f1_macro_of_both(np.round(joint * 1e9).astype(np.int64))
    return float(candidate), float(live)


def draw_comparisons(joint: Joint, rows: int, failed: float, draws: int, seed: int) -> Iterator[Comparison]:
    """Comparisons of `rows` rows, stratified by label like the job's sample; a share of the calls fails."""
    rng = np.random.default_rng(seed)
    of_label = np.round(SHARES * rows).astype(int)
    cells = np.array(list(product(range(len(SHARES)), repeat=2)))
    for _ in range(draws):
        labels = np.repeat(np.arange(len(SHARES)), of_label)
        picks = [
            rng.choice(len(cells), n, p=joint[label].ravel() / SHARES[label])
            for label, n in enumerate(of_label)
        ]
        answers = cells[np.concatenate(picks)]
        lost = set(rng.choice(rows, int(failed * rows), replace=False).tolist())
        live = [None if i in lost else int(answer) for i, answer in enumerate(answers[:, 1])]
        candidate, unsaid = answers[:, 0].tolist(), [None] * rows
        yield Comparison(NAMES, "api", range(rows), labels.tolist(), candidate, live, *[unsaid] * 4)


def acceptance(case: tuple[float, int, float, int, int]) -> list[float]:
    """How often each rule set accepts, for a case of (gain, rows, share of failed calls, draws, seed)."""
    gain, rows, failed, draws, seed = case
    joint = joint_probabilities(error_rate(LIVE_F1), error_rate(LIVE_F1 + gain))
    accepted = np.zeros(len(RULE_SETS))
    for comparison in draw_comparisons(joint, rows, failed, draws, seed):
        verdict = decide(comparison, RULES)
        # The first rule is the threshold: without the others it would have decided.
        passes = bool(verdict.rules) and verdict.rules[0].passed
        surely = passes and (verdict.probability_of_gain or 0.0) >= STRICTER
        accepted += [passes, verdict.outcome == "accepted", surely]
    return [float(share) for share in accepted / draws]


def main() -> None:
    """Simulate every case on all cores, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="pairs of samples for each row of the table")
    draws = parser.parse_args().draws
    cases = [
        (gain, rows, failed, draws, number)
        for number, (gain, rows, failed) in enumerate(product(GAINS, ROWS, FAILED_CALLS))
    ]
    print(f"| true gain | rows | failed calls | {' | '.join(RULE_SETS)} |")
    print("| --- " * (3 + len(RULE_SETS)) + "|")
    with ProcessPoolExecutor() as pool:
        for (gain, rows, failed, _, _), shares in zip(cases, pool.map(acceptance, cases), strict=True):
            shown = " | ".join(f"{share:.1%} ± {error_of(share, draws):.1%}" for share in shares)
            print(f"| {gain:+.2f} | {rows} | {failed:.0%} | {shown} |", flush=True)


def error_of(share: float, draws: int) -> float:
    """The Monte Carlo error of a share: half a 95 % interval, with the normal approximation."""
    return 1.96 * float(np.sqrt(share * (1 - share) / draws))


if __name__ == "__main__":
    main()
