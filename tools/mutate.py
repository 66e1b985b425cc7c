"""Plants small faults, one at a time, and lists those that the unit tests of a module do not notice.

    python -m tools.mutate --seed 1 --count 60 [--module retrain/evaluation/decision_gate.py ...]

Each fault is planted in a copy of the tree, and tests/unit's file of that module is run on it: retrain/a/b.py
has tests/unit/a/test_b.py; where a module has none, all of tests/unit is run. Takes minutes; not for CI.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAIRS = ["Lt LtE", "Gt GtE", "Eq NotEq", "Is IsNot", "In NotIn", "And Or", "Add Sub", "Mult Div"]
OTHERWISE = {
    getattr(ast, one): getattr(ast, other)
    for names in (pair.split() for pair in PAIRS)
    for one, other in (names, names[::-1])
}


class Mutant(NamedTuple):
    """A module with one fault."""

    path: str
    line: int
    before: str
    after: str
    source: str


def faults(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    other = copy.deepcopy(node)
    match other:
        case ast.Compare(ops=[operator, *rest]) if type(operator) in OTHERWISE:
            other.ops = [OTHERWISE[type(operator)](), *rest]
            yield other
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in OTHERWISE:
            other.op = OTHERWISE[type(operator)]()
            yield other
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.UnaryOp):
            other.test = ast.UnaryOp(ast.Not(), test)
            yield other
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield ast.Pass()


def sites(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Each parent with the field and place of a child in it; annotations have no effect and are left out."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns", "decorator_list") or isinstance(parent, ast.JoinedStr):
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield parent, name, place, child


def mutants(path: str) -> Iterator[Mutant]:
    """Every fault that can be planted in a module."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for parent, name, place, child in list(sites(tree)):
        for fault in faults(child):
            plant(parent, name, place, fault)
            before, after = (ast.unparse(each).splitlines()[0] for each in (child, fault))
            yield Mutant(path, getattr(child, "lineno", 0), before, after, ast.unparse(tree))
            plant(parent, name, place, child)


def plant(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


def tests_of(path: str) -> str:
    """The unit tests of a module."""
    module = Path(path)
    room = module.relative_to("retrain").parent if module.parts[0] == "retrain" else Path()
    mirror = Path("tests/unit") / room / f"test_{module.name}"
    return str(mirror) if (ROOT / mirror).exists() else "tests/unit"


def passes(tree: Path, tests: str, seconds: float) -> bool:
    """Whether these tests pass in a tree; a run without end does not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", tests]
    run = subprocess.Popen(
        command, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return run.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        return run.wait() == 0


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.mutate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument(
        "--module", nargs="+", help="unless given, all of retrain that have tests of their own"
    )
    parser.add_argument("--seconds", type=float, default=240, help="after which a run is taken for endless")
    options = parser.parse_args(arguments)
    everything = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("retrain/**/*.py"))
    modules = options.module or [path for path in everything if tests_of(path) != "tests/unit"]
    drawn = [mutant for path in modules for mutant in mutants(path)]
    drawn = random.Random(options.seed).sample(drawn, min(options.count, len(drawn)))
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", "rehearsal_run")
        shutil.copytree(ROOT, folder, ignore=left_out, dirs_exist_ok=True)
        for path in sorted({mutant.path for mutant in drawn}):
            assert passes(Path(folder), tests_of(path), options.seconds), (
                f"{tests_of(path)} fails without a fault"
            )
        for mutant in drawn:
            file = Path(folder) / mutant.path
            file.write_text(mutant.source, encoding="utf-8")
            if passes(Path(folder), tests_of(mutant.path), options.seconds):
                survivors += 1
                print(f"{mutant.path}:{mutant.line}  {mutant.before} → {mutant.after}", flush=True)
            shutil.copy2(ROOT / mutant.path, file)
    killed = len(drawn) - survivors
    print(f"{killed} of {len(drawn)} faults were noticed ({killed / max(len(drawn), 1):.0%}).")


if __name__ == "__main__":
    main(sys.argv[1:])
