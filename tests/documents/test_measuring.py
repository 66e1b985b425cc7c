"""The simulation and the benchmarks run with the commands that stand beside their figures."""

import re
from collections.abc import Callable

import pytest

from tests.conftest import SOURCE
from tests.documents.commands import SET, runs
from tests.documents.conftest import ACTIVATE, Clone


@runs(r"python -m benchmarks\.gate_simulation")
def test_the_simulation_prints_the_rows_of_the_guide(clone: Clone, commands: list[str]) -> None:
    def rows(text: str) -> list[str]:
        """What was simulated: the first three columns."""
        return re.findall(r"(?m)^\| (?:true gain|[+-]\d.\d\d) \| \w+ \| [\w %]+ \|", text)

    told = clone.type(ACTIVATE, f"{commands[0]} --draws 1")
    assert len(rows(told)) == 25
    assert rows(told) == rows((SOURCE / "docs" / "decision.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("training", "--train-rows 120 --seeds 1 --epochs 1 --sgemm-size 256"),
        ("memory", "--rows 120"),
        ("quality", "--labels urgency --rows 60 --splits 1 --recipes ours"),
        ("live_comparison", "--texts 8"),
        ("inference_load", "--clients 2 --seconds 0.5"),
        ("attacks", "--seconds 0.5 --page"),
        ("chaos", "--kills 1 --pairs 0"),
        ("dataset_build", "--rows 4000"),
        ("review_order", "--rounds 1 --first 60 --each 20"),
    ],
)
@runs(SET + r"python -m benchmarks\.(training quality|(?!training|gate_simulation)\w+).*")
def test_a_benchmark_runs_as_its_document_says(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str], name: str, smaller: str
) -> None:
    (command,) = (command for command in commands if f"benchmarks.{name}" in command)
    clone.type(ACTIVATE, f"{placeholders(command)} {smaller}", MIN_TRAIN_STEPS="8")
    written = re.findall(r"--(?:json|results|picture) (\S+)", command)
    assert [name for name in written if not (clone.folder / name).is_file()] == []
