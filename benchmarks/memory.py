"""How much memory a data set takes: check, tokenise and train 50 steps, with more and more rows.

    python -m benchmarks.memory [--rows 10000 100000 1000000] [--data FILE.csv] [--json FILE]

The model is tiny, so that only the data grows; each measurement is a separate process. The rows repeat the
grievances, each with a number in front. Anonymous memory is what the process needs; resident memory also
counts pages of the data set's file, which the system caches while memory is free.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers import TrainerCallback

from benchmarks.training import OurRecipe
from configs import urgency2id
from load_dataset import check_splits
from rehearsal.tiny_checkpoint import make_checkpoint
from rehearsal.world import read_grievances

STEPS = 50


def measure(folder: Path) -> dict[str, float]:
    """Check, tokenise and train on the files of `folder`, in this process."""
    began = time.perf_counter()
    files = {name: str(folder / f"{name}.csv") for name in ("train", "eval", "test")}
    loaded = load_dataset("csv", data_files=files, cache_dir=str(folder / "cache"))
    splits = check_splits(loaded, urgency2id, repo_id="bench/mark", revision="0")
    checked = time.perf_counter() - began
    most: dict[str, float] = {}

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            look(most)
            if state.global_step == 1:
                most["first_step_after_seconds"] = time.perf_counter() - began
            if state.global_step == STEPS:
                control.should_training_stop = control.should_evaluate = control.should_save = True
            return control

    look(most)
    recipe = OurRecipe(str(folder / "checkpoint"), len(urgency2id), seed=42)

    recipe.train(splits.train, splits.eval, [Watch()], epochs=1, eval_steps=10**6)
    return most | {"checked_after_seconds": checked}


def look(most: dict[str, float]) -> None:
    """Keep the maximum of each kind of memory, in megabytes."""
    status = Path("/proc/self/status").read_text()
    for kind in ("RssAnon", "VmRSS"):
        now = int(status.split(f"{kind}:")[1].split()[0]) / 1024
        most[kind] = max(most.get(kind, 0), now)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measure(options.folder)))
        return
    grievances = read_grievances(options.data)
    results = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_checkpoint(folder / "checkpoint", [row["grievance"] for row in grievances])
            for split, count in (("train", rows), ("eval", 300), ("test", 300)):
                with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(("grievance", "label"))
                    for i, row in enumerate(islice(cycle(grievances), count)):
                        writer.writerow((f"{split} {i} {row['grievance']}", row["urgency"]))
            command = [sys.executable, "-m", "benchmarks.memory", "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[rows] = json.loads(done.stdout.splitlines()[-1])
        print(rows, {name: round(value, 1) for name, value in results[rows].items()}, flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
