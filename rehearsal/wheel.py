"""The whole wheel on this machine: citizens write, officers correct, reviewers decide, the model gets better.

`make rehearsal-loop` runs it: PostgreSQL with the city's tables, a local Hub, and four Spaces as processes,
set up and started by the commands that an operator uses.
"""

import itertools
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from .__main__ import TINY
from .city_database import Cluster, add_complaints
from .sample_data import make_grievances
from .tiny_checkpoint import make_checkpoint
from .world import INFERENCE_SPACE, TOKEN, World, chosen_settings

ROOT, SOURCE = Path("rehearsal_loop"), Path(__file__).parents[1]
PREPARE_SPACE, REVIEW_SPACE = "city/grievance-prepare", "city/grievance-review"
LABEL = "urgency"
# Several: a version is withheld if one reviewer decided over half of a class.
OFFICERS = {name: f"token-of-{name}-0123" for name in ("ram", "sita", "gita", "hari")}
FEEDBACK_TOKEN = "token_of_the_officers_0123"
# Complaints before the first model, those that it answers, and others that neither model ever saw.
FIRST, SECOND, UNSEEN = 600, 500, 300
BATCH = 50
# How long people take, roughly: to notice a wrong label and choose the right one, and to review that.
SECONDS_TO_CORRECT, SECONDS_TO_REVIEW = 15, 5
RULES = {
    "MIN_CORRECTIONS": "20",
    "MIN_NEW_ROWS": "20",
    "COOL_DOWN_HOURS": "0",
    "AUDIT_PROBABILITY": "1",
    "SPLIT_KEY": "split_key_of_the_rehearsal",
}

NEXT_CORRECTION = re.compile(
    r'action="review/(\w+)" class="card">\s*<input type="hidden" name="form_key" value="(\w+)"'
)

console = Console(highlight=False)


@dataclass
class Loop:
    """The city, its database, and what has turned so far: (step, what came of it, seconds)."""

    world: World
    database: str
    env_file: Path
    steps: list[tuple[str, str, float]] = field(default_factory=list)
    outcome: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """A step of the table; what the block puts into the list is what came of it."""
        console.print(f"[bold]{len(self.steps) + 1}. {name}[/]")
        began, came = time.monotonic(), list[str]()
        yield came
        self.steps.append((name, "; ".join(came), time.monotonic() - began))

    def command(self, *arguments: str) -> list[str]:
        """Run a command of `python -m retrain`, as an operator would; returns its lines."""
        done = subprocess.run(
            [sys.executable, "-m", "retrain", *arguments],
            cwd=SOURCE,
            env=os.environ | self.world.client,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = done.stdout.strip().splitlines()
        for line in lines[-8:]:
            console.print(f"   {line}", soft_wrap=True)
        if done.returncode:
            raise SystemExit(f"python -m retrain {' '.join(arguments)} ended with {done.returncode}.")
        return lines

    def url(self, space: str) -> str:
        return f"http://{self.world.domain(space)}"


def main() -> int:
    """Turn the wheel once; returns 1 if the new model does not serve in the end."""
    logging.disable(logging.WARNING)
    began = time.monotonic()
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    complaints = complaints_of_the_city(FIRST + SECOND + UNSEEN)
    with Cluster() as cluster, World(ROOT.resolve(), LABEL) as world:
        database = cluster.create("city")
        console.print(f"[bold]A city on this machine[/]: PostgreSQL, and a Hub at {world.hub.url}")
        loop = Loop(world, database, write_env_file(world, database))
        add_complaints(database, complaints[:FIRST])
        is_better = turn(loop, complaints[FIRST : FIRST + SECOND], complaints[FIRST + SECOND :])
        show(loop, time.monotonic() - began)
    return 0 if is_better else 1


def complaints_of_the_city(count: int) -> list[dict[str, Any]]:
    """Made-up complaints with their right labels, no two alike, an hour apart, the last one an hour ago."""
    rows = {row["grievance"]: row for row in make_grievances(3 * count)}
    first = datetime.now(UTC) - timedelta(hours=count)
    return [
        {
            "id": place,
            "message": text,
            "department": row["department"],
            "urgency": row["urgency"],
            "created_at": first + timedelta(hours=place),
        }
        for place, (text, row) in enumerate(itertools.islice(rows.items(), count))
    ]


def write_env_file(world: World, database: str) -> Path:
    """The one file that an installation is made from; the base checkpoint goes to the Hub."""
    checkpoint = make_checkpoint(ROOT / "checkpoint", [row["grievance"] for row in make_grievances(2000)])
    world.push_checkpoint(checkpoint)
    # Its address must be known before the others are set up.
    world.api.create_repo(INFERENCE_SPACE, repo_type="space", space_sdk="docker", private=True)
    world.api.pause_space(INFERENCE_SPACE)
    values = world.retrain_settings() | TINY | chosen_settings() | RULES
    values |= {
        "HF_TOKEN": TOKEN,
        "ALLOW_FIRST_RELEASE": "true",
        "PREPARE_SPACE_ID": PREPARE_SPACE,
        "REVIEW_SPACE_ID": REVIEW_SPACE,
        "DATABASE_URL": database,
        "FEEDBACK_DATABASE_URL": database,
        "FEEDBACK_TOKEN": FEEDBACK_TOKEN,
        "REVIEWERS": ",".join(f"{name}:{token}" for name, token in OFFICERS.items()),
    }
    file = ROOT.resolve() / "city.env"
    file.write_text("".join(f"{name}={value!r}\n" for name, value in values.items()), encoding="utf-8")
    return file


def turn(loop: Loop, complaints: Sequence[Mapping[str, Any]], unseen: Sequence[Mapping[str, Any]]) -> bool:
    """From the set-up to a second model; returns whether that serves and has learnt from the corrections."""
    with loop.step("Set up four Spaces from one env file") as came:
        came.append(f"{len(loop.command('setup', str(loop.env_file), '--yes'))} steps")
        loop.world.host.wait_stage(REVIEW_SPACE, {"RUNNING"}, timeout=120)
    with loop.step("A first data set and a first model, from what the city has") as came:
        loop.world.api.restart_space(PREPARE_SPACE)
        loop.world.host.wait_stage(PREPARE_SPACE, {"PAUSED"}, timeout=300)
        came.append(loop.command("orchestrate", "--env-file", str(loop.env_file))[-1])
    old = serving(loop)
    with loop.step(f"{len(complaints)} citizens write") as came:
        answers = ask(loop, complaints)
        wrong = [
            (complaint, answer)
            for complaint, answer in zip(complaints, answers, strict=True)
            if answer["label"] != complaint[LABEL]
        ]
        # The city's system keeps what the model said.
        add_complaints(
            loop.database,
            [{**row, LABEL: answer["label"]} for row, answer in zip(complaints, answers, strict=True)],
        )
        came.append(f"{old} got {len(complaints) - len(wrong)} of {len(complaints)} right")
        before = count_right(unseen, ask(loop, unseen, keeps=False))
    with loop.step("Officers correct what is wrong") as came:
        correct(loop, wrong)
        came.append(f"{len(wrong)} corrections reported")
    with loop.step("Reviewers decide") as came:
        decisions = review(loop)
        came.append(f"{decisions} decisions; a highly urgent one needs two people")
    with loop.step("The orchestrator takes it to a data set and a model") as came:
        loop.command("orchestrate", "--dry-run", "--env-file", str(loop.env_file))
        came.append(loop.command("orchestrate", "--env-file", str(loop.env_file))[-1])
        loop.command("orchestrate", "--history", "--env-file", str(loop.env_file))
    new = serving(loop)
    with loop.step("The same citizens are answered again") as came:
        once_wrong = [complaint for complaint, _ in wrong]
        mended = count_right(once_wrong, ask(loop, once_wrong))
        after = count_right(unseen, ask(loop, unseen, keeps=False))
        loop.outcome = (
            f"{new} gets {mended} of the {len(wrong)} right that {old} got wrong, and of {len(unseen)} that "
            f"nobody has ever seen {after} in place of {before}"
        )
        came.append(loop.outcome)
    minutes = (len(wrong) * SECONDS_TO_CORRECT + decisions * SECONDS_TO_REVIEW) / 60
    loop.steps.append(("People's work, about", f"{minutes:.0f} minutes", 0.0))
    return new != old and mended > 0


def serving(loop: Loop) -> str:
    """The version that answers, once it does."""
    loop.world.host.wait_stage(INFERENCE_SPACE, {"RUNNING"}, timeout=120)
    while (answer := requests.get(f"{loop.url(INFERENCE_SPACE)}/health", timeout=30)).status_code != 200:
        time.sleep(0.2)
    return str(answer.json()["model_version"])


def ask(loop: Loop, complaints: Sequence[Mapping[str, Any]], *, keeps: bool = True) -> list[dict[str, Any]]:
    """What the API answers to them, in their order. keeps: whether it may keep them for reviewers."""
    answers: list[dict[str, Any]] = []
    for first in range(0, len(complaints), BATCH):
        reply = requests.post(
            f"{loop.url(INFERENCE_SPACE)}/predict",
            json={"text": [complaint["message"] for complaint in complaints[first : first + BATCH]]},
            headers={} if keeps else {"Cache-Control": "no-store"},
            timeout=120,
        )
        reply.raise_for_status()
        answers += reply.json()
    return answers


def count_right(complaints: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> int:
    """How many were labelled as they should be."""
    pairs = zip(complaints, answers, strict=True)
    return sum(answer["label"] == complaint[LABEL] for complaint, answer in pairs)


def correct(loop: Loop, wrong: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Report the right labels at /feedback, at the pace that it allows."""
    headers = {"Authorization": f"Bearer {FEEDBACK_TOKEN}"}
    for complaint, answer in wrong:
        body = {"prediction_id": answer["prediction_id"], "correct_urgency": complaint[LABEL]}
        while True:
            reply = requests.post(
                f"{loop.url(INFERENCE_SPACE)}/feedback",
                json=body | {"reporter": "officer-7"},
                headers=headers,
                timeout=30,
            )
            if reply.status_code != 429:
                break
            time.sleep(float(reply.headers["Retry-After"]))
        reply.raise_for_status()


def review(loop: Loop) -> int:
    """The reviewers accept what waits for them in turns, on the page; returns how often they decided."""
    url, decisions = loop.url(REVIEW_SPACE), 0
    at_work = [requests.Session() for _ in OFFICERS]
    for session, token in zip(at_work, OFFICERS.values(), strict=True):
        session.post(f"{url}/login", {"token": token}, timeout=30).raise_for_status()
    while at_work:
        for session in list(at_work):
            form = NEXT_CORRECTION.search(session.get(f"{url}/", timeout=30).text)
            if form is None:
                at_work.remove(session)
                continue
            body = {"verdict": "accept", "form_key": form[2]}
            session.post(f"{url}/review/{form[1]}", body, timeout=30).raise_for_status()
            decisions += 1
    return decisions


def show(loop: Loop, seconds: float) -> None:
    """Print what turned, and in which time."""
    table = Table(title="\nThe wheel", title_justify="left")
    for heading in ("what turned", "what came of it", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for name, came, took in loop.steps:
        table.add_row(name, came, f"{took:.0f}" if took else "")
    table.add_row("all", "", f"{seconds:.0f}")
    console.print(table)
    console.print(f"{loop.outcome}.\nRuns, logs and repositories: {ROOT}/", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
