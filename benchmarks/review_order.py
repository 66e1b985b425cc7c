"""How many labels it takes: texts to label chosen by chance, and by the review Space's mixed order.

    python -m benchmarks.review_order --checkpoint FOLDER --data FILE.csv [--rounds 3 --first 400 --each 200]

A simulated officer labels, and errs on 3 % of the labels. After each round a model is trained on what has
been labelled so far and scored on test rows that no round sees. Mixed: half by the smallest margin, a fifth
are labels that the model contradicts most surely and that are given once more, the rest by chance.
"""

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import train_ours
from configs import LABEL_SETS
from rehearsal.sample_data import split_grievances
from rehearsal.world import chosen_settings, read_grievances
from retrain.evaluation.scores import compute_scores

ERRS = 0.03
MARGIN, ERROR = 0.5, 0.2  # as in companion_spaces/review/queues.py

Rows = Sequence[Mapping[str, str]]


@dataclass
class Officer:
    """Labels rows by their numbers, wrong ones among them."""

    labels: Sequence[int]
    classes: int
    chance: random.Random
    given: dict[int, int] = field(default_factory=dict)

    def label(self, places: Sequence[int]) -> None:
        for place in places:
            wrong = [each for each in range(self.classes) if each != self.labels[place]]
            errs = self.chance.random() < ERRS
            self.given[place] = self.chance.choice(wrong) if errs else self.labels[place]


def choose(officer: Officer, scores: NDArray[np.float64], count: int, *, mixed: bool) -> list[int]:
    """The rows to label next. scores: the model's probabilities for all rows, (rows, classes)."""
    open_rows = [place for place in range(len(scores)) if place not in officer.given]
    chosen: list[int] = []
    if mixed:
        two = np.sort(scores, axis=1)[:, -2:]
        margins = two[:, 1] - two[:, 0]
        chosen += sorted(open_rows, key=lambda place: margins[place])[: int(MARGIN * count)]
        doubts = {
            place: scores[place].max() - scores[place][label]
            for place, label in officer.given.items()
            if scores[place].argmax() != label
        }
        chosen += sorted(doubts, key=lambda place: -doubts[place])[: int(ERROR * count)]
    rest = [place for place in open_rows if place not in set(chosen)]
    return chosen + officer.chance.sample(rest, min(count - len(chosen), len(rest)))


def as_set(rows: Rows, labels: Sequence[int]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"grievance": [row["grievance"] for row in rows], "label": list(labels)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.review_order")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--label", default="urgency", choices=LABEL_SETS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=400)
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ids = LABEL_SETS[options.label]
    parts = split_grievances(
        read_grievances(options.data, options.label), seed=options.seed, label=options.label
    )
    labels = {name: [ids[row[options.label]] for row in rows] for name, rows in parts.items()}
    fixed = {name: as_set(parts[name], labels[name]) for name in ("eval", "test")}
    names = {i: name for name, i in ids.items()}
    fixed["all"] = as_set(parts["train"], labels["train"])
    print(
        "| order | round | labels given | rows | test macro F1 | minutes |\n" + "| --- " * 6 + "|", flush=True
    )
    for order in ("chance", "mixed"):
        officer = Officer(labels["train"], len(ids), random.Random(options.seed))
        officer.label(range(options.first))
        for turn in range(options.rounds + 1):
            began = time.perf_counter()
            places = sorted(officer.given)
            train_rows = [parts["train"][place] for place in places]
            sets = fixed | {"train": as_set(train_rows, [officer.given[place] for place in places])}
            checkpoint = str(options.checkpoint)
            scores, _ = train_ours(options.label, sets, options.seed, checkpoint, chosen_settings())
            answers = scores["test"].argmax(axis=1).tolist()
            f1 = compute_scores(labels["test"], answers, names).f1_macro
            minutes = (time.perf_counter() - began) / 60
            given = options.first + turn * options.each
            print(f"| {order} | {turn} | {given} | {len(places)} | {f1:.4f} | {minutes:.1f} |", flush=True)
            officer.label(choose(officer, scores["all"], options.each, mixed=order == "mixed"))


if __name__ == "__main__":
    main()
