"""Every rehearsal that a document names is played whole, as it is written there."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable

import pytest
import requests

from tests.documents.commands import COMMANDS, runs
from tests.documents.conftest import WARDS, Clone
from tests.documents.reading import tokens_of

PATTERN = r"([A-Z]+=\S+ )*make rehearsal"
WRITTEN = sorted(
    {each.text for each in COMMANDS if re.fullmatch(PATTERN, each.text) and "KEEP" not in each.text}
)


def record_of(clone: Clone, told: str) -> dict:
    found = re.search(r"rehearsal_run/\S+/run\.json", told)
    assert found, told
    return json.loads((clone.folder / found[0]).read_text(encoding="utf-8"))


@runs(PATTERN + r"|python -m rehearsal")
def test_no_rehearsal_is_left_out(commands: list[str]) -> None:
    kept = "KEEP=1 make rehearsal"
    assert {*WRITTEN, kept, "make rehearsal"} >= {each for each in commands if "make" in each}
    assert kept in commands


@pytest.mark.parametrize("command", [each for each in WRITTEN if "DATA" not in each])
def test_a_rehearsal_with_the_sample_ends_with_a_release_as_the_readme_shows(
    clone: Clone, command: str
) -> None:
    told = clone.type(command)
    shown = next(token.content for token, _ in tokens_of("README.md") if token.info == "text")
    names = re.findall(r"(?m)^│ (\w.*?) +│", shown) + re.findall(r"(?m)^\w.*?(?=: rehearsal_run)", shown)
    assert len(names) > 8
    assert not [name for name in names if name not in told], told
    assert (clone.folder / re.search(r"rehearsal_run/\S+/report\.html", told)[0]).is_file()
    assert record_of(clone, told)["outcome"] == "accepted", told
    assert record_of(clone, told)["verdict"]["f1_macro_live"] > 0.5, told


@pytest.mark.parametrize("command", [each for each in WRITTEN if "CHECKPOINT" in each])
def test_a_rehearsal_with_rows_and_checkpoint_of_ones_own_says_what_became_of_the_first_version(
    clone: Clone, command: str, placeholders: Callable[[str], str]
) -> None:
    """The tiny checkpoint learns nothing at the job's own learning rate, and no first release is made."""
    told = clone.type(placeholders(command))
    assert record_of(clone, told)["outcome"] == "rejected", told
    assert "The first version was not released, so there is none to compare with. It had 100 rows" in told


@runs(r"LABEL=\w+ LABELS=.* make rehearsal")
def test_the_rehearsal_trains_on_a_label_set_of_ones_own(
    clone: Clone, commands: list[str], placeholders: Callable[[str], str]
) -> None:
    told = clone.type(*map(placeholders, commands))
    record = record_of(clone, told)
    assert list(record["test_scores"]["per_class"]) == list(WARDS.values())
    assert record["outcome"] in ("accepted", "rejected"), told


def test_a_rehearsal_that_is_kept_is_there_until_ctrl_c(
    clone: Clone, placeholders: Callable[[str], str]
) -> None:
    data = re.findall(r"DATA=(\S+)", placeholders("DATA=file.csv"))[0]
    few = {"DATA": data, "KEEP": "1", "NUM_TRAIN_EPOCHS": "0.1", "MIN_TRAIN_STEPS": "1"}
    played = subprocess.Popen(
        [".venv/bin/python", "-m", "rehearsal"],
        cwd=clone.folder,
        env=clone.environment | few | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert played.stdout
    told, found = "", {}
    try:
        for line in played.stdout:
            told += line
            found |= dict(re.findall(r"^   (the \w+): (http://[^\s,]+)", line))
            if "the Hub" in found:
                break
        assert found.keys() == {"the run", "the API", "the Hub"}, told
        assert "rejected" in requests.get(found["the run"], timeout=20).text
        assert requests.get(found["the Hub"] + "/api/models/city/nothing", timeout=20).status_code in (
            401,
            404,
        )
    finally:
        os.kill(played.pid, signal.SIGINT)
        rest = played.communicate(timeout=60)[0]
    assert played.returncode == 0, told + rest


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DATA": "none.csv"}, "DATA=none.csv does not exist. Check the name; it is sought in "),
        ({"DATA": "docs"}, "DATA=docs is a folder (it has 'costs.md', "),
        (
            {"DATA": "README.md"},
            "DATA=README.md: it has no column grievance or text and no column label or urg",
        ),
        (
            {"CHECKPOINT": "/nope"},
            "CHECKPOINT=/nope is no folder. Name a folder with the config, tokenizer and",
        ),
        ({"CHECKPOINT": "docs"}, "CHECKPOINT=docs is a folder without config.json."),
        ({"LABEL": "ward"}, "LABEL='ward': should be urgency or department"),
        ({"LABEL": "ward", "LABELS": "North"}, "LABELS='North': should be 2 to 100 names"),
        (
            {"DATA": "few.csv"},
            "DATA=few.csv: its 4 rows are too few. Split in train, eval and test, there is no",
        ),
        (
            {"DATA": "odd.csv"},
            "DATA=odd.csv: 1 row (number 2; the header is row 1) with an unknown label in col",
        ),
    ],
)
def test_what_can_not_be_rehearsed_is_said_before_anything_is_trained(
    clone: Clone, variables: dict[str, str], said: str
) -> None:
    (clone.folder / "few.csv").write_text("grievance,urgency\na,NORMAL\nb,URGENT\nc,NORMAL\nd,URGENT\n")
    (clone.folder / "odd.csv").write_text("grievance,urgency\na,sometimes\n")
    told = clone.type("! .venv/bin/python -m rehearsal", **variables)
    assert told.startswith(said) or f"\n  {said}" in told, told
    assert not (clone.folder / "rehearsal_run").exists()


@runs(
    r"make rehearsal-loop|python -m rehearsal\.wheel|"
    r"python -m retrain orchestrate( --dry-run| --history)?"
)
@pytest.mark.timeout(600)
def test_the_wheel_turns_from_a_correction_to_a_model_that_has_learnt_it(
    clone: Clone, commands: list[str]
) -> None:
    clone.patience = 580.0
    loop = next(each for each in commands if each.startswith("make"))
    told = clone.type(loop)
    assert told.count(" reviewed corrections are waiting.") >= 3, "the dry run, the run and the history"
    assert "asked (UTC)" in told
    found = re.search(r"gets (\d+) of the (\d+) right .* ever seen (\d+) in place of (\d+)\.", told)
    assert found, told
    mended, wrong, now, before = map(int, found.groups())
    assert mended > wrong / 2, "most of what the old model got wrong"
    assert now > before
