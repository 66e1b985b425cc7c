"""Two models' answers to the same 300 rows."""

import numpy as np

from retrain.records import Comparison

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
