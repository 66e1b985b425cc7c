"""The job's training against the plain recipe: same rows, checkpoint, seed, batches and threads, in turns.

    python -m benchmarks.training speed --checkpoint FOLDER [--data FILE.csv] [--steps 40]
    python -m benchmarks.training quality --checkpoint FOLDER [--data FILE.csv] [--seeds 3]

`speed` measures some steps and an evaluation; `quality` trains to the end and scores the test split. Without
a checkpoint a tiny one is made; --base makes one of XLM-R base's size, with random weights and the tokenizer
of the checkpoint. Every measurement is a separate process, so that it has its own peak memory.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoTokenizer,
    TrainerCallback,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from benchmarks.plain_recipe import PlainRecipe
from configs import UrgencyConfig, id2urgency, urgency2id
from model_pipeline import GrievanceClassifier
from rehearsal.sample_data import split_grievances
from rehearsal.tiny_checkpoint import make_checkpoint
from rehearsal.world import read_grievances
from retrain.evaluation.scores import compute_scores
from retrain.training.fine_tuning import fine_tune, predict

WARM_UP_STEPS = 5
EVALUATED_ROWS = 600
NEVER = 10**6


class OurRecipe:
    """The job's training, with the interface of PlainRecipe."""

    def __init__(self, checkpoint: str, labels: int, seed: int) -> None:
        self.classifier = GrievanceClassifier(checkpoint, labels, id2urgency, urgency2id, seed=seed)
        self.model = self.classifier.model
        names = ("HF_TOKEN", "DATASET_REPO_ID", "HUB_MODEL_ID", "SPACE_REPO_ID")
        self.settings = dict.fromkeys(names, "bench/mark") | {
            "LABEL": "urgency",
            "API_ENDPOINT": "http://localhost/predict",
            "EARLY_STOPPING_PATIENCE": str(NEVER),
            "MIN_TRAIN_STEPS": "0",  # the same batches as the plain recipe
            "SEED": str(seed),
        }

    def train(
        self,
        train: datasets.Dataset,
        evaluation: datasets.Dataset,
        callbacks: list[TrainerCallback],
        *,
        epochs: float,
        eval_steps: int,
    ) -> None:
        chosen = {"NUM_TRAIN_EPOCHS": str(epochs), "EVAL_STEPS": str(eval_steps)}
        self.config = UrgencyConfig.read(self.settings | chosen)
        tokenize = self.classifier.tokenize_dataset
        with tempfile.TemporaryDirectory() as folder:
            fine_tune(
                self.model,
                tokenize(train),
                tokenize(evaluation),
                self.config,
                Path(folder),
                callbacks,
            )

    def predict(self, rows: datasets.Dataset) -> NDArray[np.float64]:
        return predict(self.model, self.classifier.tokenize_dataset(rows), self.config.eval_batch_size)


RECIPES: dict[str, Any] = {"plain": PlainRecipe, "ours": OurRecipe}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one recipe in this process: JSON values in seconds, bytes and tokens; F1 in 0..1."""
    began = time.perf_counter()
    is_speed = options.what == "speed"
    splits = splits_of(options.data)
    train = splits["train"]
    if options.train_rows:
        train = train.select(range(min(options.train_rows, len(train))))
    recipe = RECIPES[options.recipe](str(options.checkpoint), len(urgency2id), options.seed)
    tokens, at_step = 0, {}
    validations: list[tuple[float, float]] = []

    def count(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal tokens
        mask = named.get("attention_mask")
        tokens += int(inputs[0].numel() if mask is None else mask.sum())

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            at_step[state.global_step] = (time.perf_counter(), tokens)
            if is_speed and state.global_step == WARM_UP_STEPS + options.steps:
                control.should_training_stop = control.should_evaluate = control.should_save = True
            return control

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            validations.append((time.perf_counter() - began, metrics["eval_f1_macro"]))

    recipe.model.roberta.register_forward_pre_hook(count, with_kwargs=True)
    validated = splits["eval"].select(range(16)) if is_speed else splits["eval"]
    eval_steps = NEVER if is_speed else 50
    recipe.train(train, validated, [Clock()], epochs=options.epochs, eval_steps=eval_steps)
    first, last = WARM_UP_STEPS, max(at_step)
    seconds = at_step[last][0] - at_step[first][0]
    computed = at_step[last][1] - at_step[first][1]
    test = (
        splits["test"].select(range(min(EVALUATED_ROWS, len(splits["test"])))) if is_speed else splits["test"]
    )
    start = time.perf_counter()
    answers = recipe.predict(test)
    return {
        "rows_per_second": 16 * (last - first) / seconds,
        "tokens": computed,
        "tokens_per_second": computed / seconds,
        "first_step_after": at_step[1][0] - began,
        "evaluation_rows_per_second": len(test) / (time.perf_counter() - start),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "test_f1_macro": f1_macro(test["label"], answers),
        "validations": validations,
        "seconds": time.perf_counter() - began,
        "parameters": sum(
            p.numel() for name, p in recipe.model.named_parameters() if "embeddings" not in name
        ),
    }


def f1_macro(labels: Sequence[int], answers: NDArray[np.float64]) -> float:
    """Macro F1 of logits or probabilities, (rows, classes)."""
    return compute_scores(labels, answers.argmax(axis=-1).tolist(), id2urgency).f1_macro


def splits_of(data: Path | None) -> dict[str, datasets.Dataset]:
    """The rehearsal's split of the rows, with grievance and label (id)."""
    splits = split_grievances(read_grievances(data))
    return {
        name: datasets.Dataset.from_list(
            [{"grievance": row["grievance"], "label": urgency2id[row["urgency"]]} for row in rows]
        )
        for name, rows in splits.items()
    }


def sgemm_flops(size: int, times: int = 7) -> float:
    """Median floating-point operations per second of a float32 product of two square matrices."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(taken)


def base_size(folder: Path, tokenizer: Path) -> Path:
    """A checkpoint of XLM-R base's size, with random weights."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    XLMRobertaModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def in_a_process(options: argparse.Namespace, checkpoint: Path, recipe: str, seed: int) -> dict[str, Any]:
    """measure() in a separate process."""
    command = [sys.executable, "-m", "benchmarks.training", options.what, "--checkpoint", str(checkpoint)]
    command += ["--recipe", recipe, "--seed", str(seed), "--steps", str(options.steps)]
    command += ["--epochs", str(options.epochs), "--train-rows", str(options.train_rows)]
    command += ["--data", str(options.data)] if options.data else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = ("rows_per_second", "evaluation_rows_per_second", "test_f1_macro", "seconds")
    print(recipe, seed, {name: round(result[name], 4) for name in shown}, file=sys.stderr, flush=True)
    return result


def compare(options: argparse.Namespace, checkpoint: Path) -> dict[str, Any]:
    """Measure both recipes in turns; returns all figures, and the ratios of their medians."""
    flops = sgemm_flops(options.sgemm_size)
    runs: dict[str, list[dict[str, Any]]] = {recipe: [] for recipe in RECIPES}
    for seed in range(options.seed, options.seed + options.seeds):
        for recipe, results in runs.items():
            results.append(in_a_process(options, checkpoint, recipe, seed))
    figures = {}
    for recipe, results in runs.items():
        middle = {
            name: statistics.median(result[name] for result in results)
            for name in (
                "rows_per_second",
                "evaluation_rows_per_second",
                "peak_bytes",
                "first_step_after",
                "seconds",
            )
        }
        middle["test_f1_macro"] = statistics.mean(result["test_f1_macro"] for result in results)
        middle["share_of_sgemm"] = statistics.median(
            6 * result["parameters"] * result["tokens_per_second"] / flops for result in results
        )
        figures[recipe] = middle
    ratios = {name: figures["ours"][name] / figures["plain"][name] for name in figures["ours"]}
    if options.what == "quality":
        ratios["seconds_to_the_same_f1"] = statistics.median(
            map(_time_to_the_same_f1, runs["plain"], runs["ours"])
        )
    same = [p["tokens"] == o["tokens"] for p, o in zip(runs["plain"], runs["ours"], strict=True)]
    packages = ("torch", "transformers", "datasets", "accelerate")
    return {
        "options": {name: str(value) for name, value in vars(options).items() if name != "json"},
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
        }
        | {package: version(package) for package in packages},
        "sgemm_gflops": flops / 1e9,
        "same_batches": all(same),
        "figures": figures,
        "ratios": ratios,
        "runs": runs,
    }


def _time_to_the_same_f1(plain: dict[str, Any], ours: dict[str, Any]) -> float:
    """The job's seconds over the plain recipe's until the best validation F1 that both reached."""
    goal = min(max(f1 for _, f1 in run["validations"]) for run in (plain, ours))
    reached = [next(at for at, f1 in run["validations"] if f1 >= goal) for run in (ours, plain)]
    return float(reached[0] / reached[1])


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{'':28} {'plain recipe':>13} {'here':>10} {'ratio':>8}")
    for name, ratio in result["ratios"].items():
        plain, ours = (result["figures"][recipe].get(name) for recipe in RECIPES)
        scale = 1e9 if name == "peak_bytes" else 1
        values = "" if plain is None else f"{plain / scale:>13.3f} {ours / scale:>10.3f}"
        print(f"{name.replace('peak_bytes', 'peak_gigabytes'):28} {values:24} {ratio:>8.3f}")
    print(f"sgemm {result['sgemm_gflops']:.0f} GFLOP/s; same batches: {result['same_batches']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("what", choices=("speed", "quality"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--base", action="store_true", help="XLM-R base's size, random weights")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--train-rows", type=int, default=0, help="0: all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--sgemm-size", type=int, default=4096, help="rows of the matrices that sgemm multiplies"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--recipe", choices=RECIPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.recipe:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint
        if checkpoint is None:
            texts = [row["grievance"] for row in read_grievances(options.data)]
            checkpoint = make_checkpoint(Path(folder) / "tiny", texts)
        if options.base:
            checkpoint = base_size(Path(folder) / "base", checkpoint)
        result = compare(options, checkpoint)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
