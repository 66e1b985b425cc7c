"""What becomes of a city's service when runs are killed at random moments, and when two run at once.

    python -m benchmarks.chaos --seed 1 [--kills 40] [--pairs 10]

Each trial begins with the same city: a local Hub with one released version, and its real inference Space. A
killed run dies as a machine does (SIGKILL to all of its processes), and the next run follows. Two runs start
up to five seconds apart; in every other pair both commits are held back until both want to be made. What must
hold in any case is checked after each trial. The exit code is 1 if anything is wrong.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

from rehearsal.sample_data import make_grievances
from rehearsal.tiny_checkpoint import make_checkpoint
from rehearsal.world import INFERENCE_SPACE, MODEL, TOKEN, World
from retrain.hub.model_repo import ModelRepo
from retrain.journal import Journal
from retrain.processes import free_port
from retrain.records import OUTCOMES

SOURCE = Path(__file__).parents[1]
TRAINING = {"LEARNING_RATE": "0.002", "EARLY_STOPPING_PATIENCE": "9", "MIN_TRAIN_STEPS": "0"}
TRAINING |= {"PRECISION": "fp32"}
FIRST = TRAINING | {"NUM_TRAIN_EPOCHS": "12", "ALLOW_FIRST_RELEASE": "true"}
BETTER = TRAINING | {"NUM_TRAIN_EPOCHS": "24"}
LONGEST_SECONDS = 600


class Ended(NamedTuple):
    """A run that has ended: its exit code, its record, and its last stage."""

    exit_code: int | None
    record: dict[str, Any]
    stage: str


class Job:
    """`python train_model.py` in a process group of its own."""

    def __init__(self, world: World, name: str, **settings: str) -> None:
        self.runs = world.root / name
        environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environ |= world.retrain_settings() | {"HF_TOKEN": TOKEN, "HOME": str(world.root)} | settings
        environ |= {"RUN_DIR": str(self.runs), "OMP_NUM_THREADS": "1", "PORT": str(free_port())}
        with (world.root / f"{name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SOURCE / "train_model.py")],
                env=environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> Ended:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self._ended()

    def end(self) -> Ended:
        try:
            self.process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        return self._ended()

    def _ended(self) -> Ended:
        folders = sorted(self.runs.glob("*/events.jsonl"), key=lambda file: file.stat().st_mtime)
        record = Journal(folders[-1].parent).record().as_json() if folders else {}
        stages = record.get("stages") or [{"name": "start"}]
        return Ended(self.process.returncode, record, stages[-1]["name"])


def make_city(root: Path) -> None:
    """The city with its first version, in a folder."""
    rows = make_grievances(300)
    unique = list({row["grievance"].casefold(): row for row in rows}.values())
    with World(root, "urgency") as world:
        world.push_checkpoint(make_checkpoint(root / "checkpoint", [row["grievance"] for row in rows]))
        splits = {"train": unique[:60], "eval": unique[60:90], "test": unique[90:150]}
        world.push_data(splits, "v20250101_000000")
        world.create_spaces({})
        ended = Job(world, "first", **FIRST).end()
        assert ended.record.get("outcome") == "accepted", (ended, (root / "first.log").read_text())


@contextmanager
def city(first: Path) -> Iterator[World]:
    """A copy of the city whose inference Space serves."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(first / "hub", Path(folder) / "hub")
        with World(Path(folder), "urgency") as world:
            world.api.add_space_variable(INFERENCE_SPACE, "HF_ENDPOINT", world.hub.url)
            world.api.restart_space(INFERENCE_SPACE)
            deadline = time.monotonic() + LONGEST_SECONDS
            while served(world) is None:
                assert time.monotonic() < deadline, world.host.log_path(INFERENCE_SPACE).read_text()
                time.sleep(0.2)
            yield world


def served(world: World) -> str | None:
    """The revision that the inference Space serves."""
    try:
        about = requests.get(f"http://{world.domain(INFERENCE_SPACE)}/", timeout=5).json()
        return about["model_revision"] and str(about["model_revision"])
    except (requests.RequestException, ValueError, KeyError):
        return None


def wrong_with(world: World) -> Iterator[str]:
    """What does not hold of the Hub, the Space and what it serves."""
    repo = ModelRepo(world.api, MODEL)
    newest, head = repo.newest(), repo.head().revision
    if newest is None:
        yield "there is no version"
        return
    if newest.revision != head:
        yield f"main is not the newest version {newest.tag}"
    if repo.metadata(head).get("version_tag") != newest.tag:
        yield "metadata.json names another version"
    files = set(world.api.list_repo_files(MODEL, revision=head))
    if missing := {"config.json", "model.safetensors", "tokenizer.json", "README.md"} - files:
        yield f"the newest version lacks {', '.join(missing)}"
    if not newest.verified or newest.given_up:
        yield f"{newest.tag} is not verified"
    if served(world) != head:
        yield "something else is served"


def wrong_with_outcome(world: World, ended: Ended) -> Iterator[str]:
    """What a run says that is not so."""
    outcome = ended.record.get("outcome")
    if outcome not in OUTCOMES or outcome == "bug":
        yield f"a run ended as {outcome} ({ended.record.get('reasons')})"
    elif ended.exit_code != OUTCOMES[outcome].exit_code:
        yield f"{outcome} has the exit code {ended.exit_code}"
    newest = ModelRepo(world.api, MODEL).newest()
    release = ended.record.get("release") or {}
    replaced = any("since, which replaces" in each["message"] for each in ended.record.get("warnings", ()))
    if outcome == "accepted" and not replaced and newest and release.get("version_tag") != newest.tag:
        yield "a run was accepted whose version is not the newest"


def kill_once(first: Path, moment: float) -> tuple[str, list[str]]:
    """Kill a run after so many seconds, and let the next one follow; returns a line, and what is wrong."""
    with city(first) as world:
        job = Job(world, "runs", **BETTER)
        time.sleep(moment)
        killed = job.kill()
        following = Job(world, "runs", **BETTER).end()
        versions = len(ModelRepo(world.api, MODEL).versions())
        wrong = [*wrong_with(world), *wrong_with_outcome(world, following)]
        if not 1 <= versions <= 2:
            wrong.append(f"there are {versions} versions")
    return f"{killed.stage} → {following.record.get('outcome')}, {versions} versions", wrong


def run_two(first: Path, offset: float, *, held: bool) -> tuple[str, list[str]]:
    """Two runs, the second after so many seconds; held: their commits are made at the same moment."""
    with city(first) as world:
        commits = [
            world.hub.faults.add(method="POST", path=f"/{MODEL}/commit/main", delay=60)
            for _ in range(2 if held else 0)
        ]
        jobs = [Job(world, "one", **BETTER)]
        time.sleep(offset)
        jobs.append(Job(world, "other", **BETTER))
        for commit in commits:
            commit.met.wait(120)
        for commit in commits:
            commit.released.set()
        both = [job.end() for job in jobs]
        wrong = [*wrong_with(world), *(each for ended in both for each in wrong_with_outcome(world, ended))]
        outcomes = sorted(str(ended.record.get("outcome")) for ended in both)
        versions = len(ModelRepo(world.api, MODEL).versions())
        if outcomes.count("accepted") != versions - 1:
            wrong.append(f"{outcomes.count('accepted')} runs were accepted, and {versions - 1} versions made")
    return f"{' + '.join(outcomes)}, {versions} versions", wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    found: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first"
        first.mkdir()
        make_city(first)
        with city(first) as world:
            began = time.monotonic()
            Job(world, "runs", **BETTER).end()
            whole = time.monotonic() - began
        print(f"an undisturbed run takes {whole:.0f} s", flush=True)
        for number in range(options.kills + options.pairs):
            if number < options.kills:
                moment = chance.uniform(0, whole)
                what, (line, wrong) = f"killed after {moment:.1f} s", kill_once(first, moment)
            else:
                offset, held = chance.uniform(0, 5), number % 2 == 0
                what = f"two runs, {offset:.1f} s apart{', held' if held else ''}"
                line, wrong = run_two(first, offset, held=held)
            print(
                f"{number + 1:>3} {what}: {line}{' WRONG: ' + '; '.join(wrong) if wrong else ''}", flush=True
            )
            found[f"{'killed in ' if number < options.kills else 'two runs: '}{line}"] += 1
            faults += bool(wrong)
    print("\n| what happened → the next run | times |\n| --- | --- |")
    for what, count in found.most_common():
        print(f"| {what} | {count} |")
    print(json.dumps({"trials": options.kills + options.pairs, "wrong": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
