"""How good the trained models are: both label sets, several sizes of the train split, several splits.

    python -m benchmarks.quality --checkpoint FOLDER --data FILE.csv --results quality.jsonl [--recipes ours]
        [--picture FILE.svg]

Recipes: `ours` at the job's defaults; `plain`, the plain recipe run to its end; `stopped`, the plain recipe
that stops as its patience says. The parts of a split share no text. Every training is a separate process and
a line of the file: an interrupted run goes on. Without --checkpoint what is in the file is shown. A GPU
serves several trainings at once (--at-once 12).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from transformers import EarlyStoppingCallback, TrainerCallback

from benchmarks.plain_recipe import PlainRecipe
from configs import LABEL_SETS, get_config
from model_pipeline import GrievanceClassifier
from rehearsal.sample_data import split_grievances
from rehearsal.world import read_grievances
from retrain.evaluation.decision_gate import decide
from retrain.evaluation.scores import compute_scores
from retrain.records import Comparison, GateRules
from retrain.training.fine_tuning import fine_tune, predict, training_summary

CASE = ("label", "rows", "split", "recipe")
Result = Mapping[str, Any]
NOWHERE = dict.fromkeys(("HF_TOKEN", "DATASET_REPO_ID", "HUB_MODEL_ID", "SPACE_REPO_ID"), "bench/mark")
EVAL_STEPS, PATIENCE, EPOCHS = 50, 1, 3  # the job's defaults once, for the plain recipe


def measure(label: str, rows: int, split: int, recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model, and score the test rows of its split."""
    ids = LABEL_SETS[label]
    parts = split_grievances(read_grievances(options.data, label), seed=split, label=label)
    parts["train"] = parts["train"][:rows]
    sets = {
        name: datasets.Dataset.from_list(
            [{"grievance": row["grievance"], "label": ids[row[label]]} for row in part]
        )
        for name, part in parts.items()
    }
    began = time.perf_counter()
    train = _train_ours if recipe == "ours" else _train_plainly
    answers, steps = train(label, sets, split, recipe, str(options.checkpoint))
    names = {i: name for name, i in ids.items()}
    return {
        "label": label,
        "rows": rows,
        "split": split,
        "recipe": recipe,
        "f1_macro": compute_scores(sets["test"]["label"], answers, names).f1_macro,
        "steps": steps,
        "seconds": round(time.perf_counter() - began, 1),
        "answers": answers,
        "labels": list(sets["test"]["label"]),
    }


Trained = tuple[list[int], int]


def _train_ours(label: str, sets: Mapping[str, Any], seed: int, recipe: str, checkpoint: str) -> Trained:
    probabilities, steps = train_ours(label, sets, seed, checkpoint)
    return probabilities["test"].argmax(axis=1).tolist(), steps


def train_ours(
    label: str,
    sets: Mapping[str, datasets.Dataset],
    seed: int,
    checkpoint: str,
    settings: Mapping[str, str] = {},
) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Train on the set "train" with the job's recipe, validated on "eval".

    Returns the probabilities for the other sets, (rows, classes), and the steps that were made.
    """
    own = {"LABEL": label, "API_ENDPOINT": "http://localhost/predict", "SEED": str(seed)}
    config = get_config(NOWHERE | own | dict(settings))
    ids = config.label2id
    classifier = GrievanceClassifier(checkpoint, len(ids), config.id2label, ids, seed=seed)
    tokens = {name: classifier.tokenize_dataset(each) for name, each in sets.items()}
    train, validated = tokens.pop("train"), tokens.pop("eval")
    with tempfile.TemporaryDirectory() as folder:
        trainer = fine_tune(classifier.model, train, validated, config, Path(folder))
    size = config.eval_batch_size
    probabilities = {name: predict(classifier.model, each, size) for name, each in tokens.items()}
    return probabilities, training_summary(trainer).steps


def _train_plainly(label: str, sets: Mapping[str, Any], seed: int, recipe: str, checkpoint: str) -> Trained:
    steps = 0

    class Count(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            nonlocal steps
            steps = state.global_step

    stopping = [EarlyStoppingCallback(PATIENCE)] if recipe == "stopped" else []
    model = PlainRecipe(checkpoint, len(LABEL_SETS[label]), seed)
    model.train(sets["train"], sets["eval"], [Count(), *stopping], epochs=EPOCHS, eval_steps=EVAL_STEPS)
    return model.predict(sets["test"]).argmax(axis=1).tolist(), steps


def accepted(larger: Result, smaller: Result) -> bool:
    """Whether the gate, at its defaults, takes the model of more rows over that of fewer."""
    rows, unknown = range(len(larger["labels"])), [None] * len(larger["labels"])
    names = tuple(LABEL_SETS[larger["label"]])
    comparison = Comparison(
        names, "hub", rows, larger["labels"], larger["answers"], smaller["answers"], *[unknown] * 4
    )
    return decide(comparison, GateRules()).outcome == "accepted"


def table(results: Sequence[Result]) -> Iterator[str]:
    """A line for each label set, size and recipe; and how often more rows were accepted over fewer."""
    yield "| label set | rows | recipe | splits | test macro F1, mean ± sd | lowest | steps | minutes |"
    yield "| --- " * 8 + "|"
    for label, rows, recipe in sorted({(r["label"], r["rows"], r["recipe"]) for r in results}):
        of_case = [r for r in results if (r["label"], r["rows"], r["recipe"]) == (label, rows, recipe)]
        f1 = [r["f1_macro"] for r in of_case]
        steps, minutes = (statistics.mean(r[name] for r in of_case) for name in ("steps", "seconds"))
        yield (
            f"| {label} | {rows} | {recipe} | {len(f1)} | {statistics.mean(f1):.4f} ± "
            f"{statistics.pstdev(f1):.4f} | {min(f1):.4f} | {steps:.0f} | {minutes / 60:.1f} |"
        )
    by_case = {tuple(r[name] for name in CASE): r for r in results}
    sizes = sorted({r["rows"] for r in results})
    labels, splits = ({r[name] for r in results} for name in ("label", "split"))
    for label, rows in product(sorted(labels), sizes):
        cases = [((label, rows, split, "ours"), (label, rows, split, "plain")) for split in splits]
        if gains := [o["f1_macro"] - p["f1_macro"] for o, p in _pairs(by_case, cases)]:
            yield (
                f"{label}, {rows} rows: ours over plain on the same split {statistics.mean(gains):+.4f}, "
                f"lowest {min(gains):+.4f}, of {len(gains)}"
            )
    for label, recipe in sorted({(r["label"], r["recipe"]) for r in results}):
        for fewer, more in pairwise(sizes):
            cases = [((label, more, split, recipe), (label, fewer, split, recipe)) for split in splits]
            if pairs := _pairs(by_case, cases):
                better = [pair for pair in pairs if pair[0]["f1_macro"] > pair[1]["f1_macro"]]
                taken = sum(accepted(*pair) for pair in better)
                yield (
                    f"{label}, {recipe}: {more} rows better than {fewer} in {len(better)} of {len(pairs)} "
                    f"splits, and accepted in {taken} of these"
                )


Case = tuple[str, int, int, str]


def _pairs(by_case: Mapping[Case, Result], cases: Sequence[tuple[Case, Case]]) -> list[tuple[Result, Result]]:
    """Those pairs of cases that were both run, on the same test rows: a file may hold an earlier split."""
    pairs = [(by_case[a], by_case[b]) for a, b in cases if {a, b} <= by_case.keys()]
    return [pair for pair in pairs if pair[0]["labels"] == pair[1]["labels"]]


def picture(results: Sequence[Result]) -> Figure:
    """Test macro F1 over training rows: the mean and the spread of the splits, a line for each recipe."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    labels = sorted({r["label"] for r in results})
    for axes, label in zip(figure.subplots(1, len(labels), squeeze=False)[0], labels, strict=True):
        for recipe in sorted({r["recipe"] for r in results}):
            f1: dict[int, list[float]] = {}
            for r in results:
                if (r["label"], r["recipe"]) == (label, recipe):
                    f1.setdefault(r["rows"], []).append(r["f1_macro"])
            rows = sorted(f1)
            means, spread = ([of(f1[n]) for n in rows] for of in (statistics.mean, statistics.pstdev))
            axes.errorbar(rows, means, spread, label=recipe, marker="o", capsize=3)
        axes.set(title=label, xlabel="training rows", ylabel="test macro F1", xscale="log")
        axes.set_xticks(sorted({r["rows"] for r in results}), minor=False)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.legend(frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--labels", nargs="+", default=["urgency", "department"], choices=LABEL_SETS)
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 1609, 3859])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=["ours", "plain", "stopped"])
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        label, rows, split, recipe = json.loads(options.one)
        print(json.dumps(measure(label, rows, split, recipe, options)))
        return
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    results = [json.loads(line) for line in lines]
    known = {tuple(r[name] for name in CASE) for r in results}
    cases = product(range(options.splits), options.labels, options.rows, options.recipes)
    todo = [
        (label, rows, split, recipe)
        for split, label, rows, recipe in cases
        if options.checkpoint and (label, rows, split, recipe) not in known
    ]
    failed = 0
    with ThreadPoolExecutor(options.at_once) as processes, options.results.open("a") as file:
        started = [processes.submit(_in_a_process, case, options) for case in todo]
        try:
            for ended in as_completed(started):
                if ended.exception():  # its process has said why
                    failed += 1
                    continue
                result = ended.result()
                file.write(json.dumps(result) + "\n")
                file.flush()
                results.append(result)
                shown = {name: result[name] for name in (*CASE, "f1_macro", "steps", "seconds")}
                print(shown, file=sys.stderr, flush=True)
        finally:
            processes.shutdown(cancel_futures=True)
    if results:
        print("\n".join(table(results)))
        if options.picture:
            picture(results).savefig(options.picture, metadata={"Date": None})
    if failed or not results:
        raise SystemExit(f"{failed} of {len(todo)} trainings failed; {options.results} has {len(results)}.")


def _in_a_process(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    one = ["--one", json.dumps(case), "--checkpoint", str(options.checkpoint)]
    one += ["--data", str(options.data)] if options.data else []
    command = [sys.executable, "-m", "benchmarks.quality", *one]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
