"""The benchmarks run, and both recipes are given the same batches; how fast they are is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import SOURCE


def test_the_training_benchmark_compares_both_recipes_on_the_same_batches(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = ["benchmarks.training", "speed", "--steps", "2", "--train-rows", "160", "--sgemm-size", "256"]
    command += ["--json", str(figures)]
    subprocess.run([sys.executable, "-m", *command], cwd=SOURCE, check=True, timeout=280)
    result = json.loads(figures.read_text(encoding="utf-8"))
    assert result["same_batches"]
    assert result["runs"]["plain"][0]["tokens"] > 0
    subprocess.run(
        [sys.executable, "-m", "benchmarks.picture", str(figures), str(tmp_path / "picture.svg")],
        cwd=SOURCE,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "picture.svg").stat().st_size < 300_000
