"""Reviewing on a terminal."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from common.feedback_store import FeedbackStore
from terminal import review
from tests.conftest import CITY, SOURCE

NAMES = {"urgency": ["NORMAL", "URGENT", "HIGHLY URGENT"]}


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    store = FeedbackStore.open(None, tmp_path)
    for text in ("खानेपानी", "सडक", "बिजुली"):
        store.add_feedback(text, {"urgency": "URGENT"}, "officer", text=text)
    return store


def typed(store: FeedbackStore, *keys: str, reviewer: str = "ram") -> tuple[int, str]:
    out = io.StringIO()
    return review(store, NAMES, reviewer, keys, out), out.getvalue()


def labels(store: FeedbackStore) -> list[str]:
    return [row["correct_urgency"] for row in store.reviewed()]


def test_each_key_does_what_it_says(store: FeedbackStore) -> None:
    decided, said = typed(store, "a", "r", "l", "1")
    assert decided == 3
    assert labels(store) == ["URGENT", "NORMAL"]
    assert "Nothing waits to be reviewed." in said


def test_an_undo_brings_a_correction_back(store: FeedbackStore) -> None:
    assert typed(store, "a", "u", "q")[0] == 0
    assert labels(store) == []
    assert len(store.pending()) == 3


def test_what_is_skipped_stays_and_what_is_no_key_changes_nothing(store: FeedbackStore) -> None:
    decided, said = typed(store, "x", "l", "9", "s", "s", "s")
    assert decided == 0
    assert "a right, r wrong" in said
    assert len(store.pending()) == 3


def test_who_reported_a_correction_does_not_accept_it(store: FeedbackStore) -> None:
    decided, said = typed(store, "a", "q", reviewer="officer")
    assert decided == 0
    assert "somebody else has to" in said


def test_the_command_of_the_operator_reviews_in_the_database_of_the_env_file(
    database: str, tmp_path: Path
) -> None:
    store = FeedbackStore.open(database, tmp_path)
    store.add_feedback("k", {"urgency": "NORMAL"}, "officer", text="खानेपानी")
    (tmp_path / "city.env").write_text(f"HF_TOKEN={CITY}\nFEEDBACK_DATABASE_URL={database}\n")
    done = subprocess.run(
        [sys.executable, "-m", "retrain", "review", "--as", "ram", "--env-file", str(tmp_path / "city.env")],
        cwd=SOURCE,
        input="a\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "1 decided." in done.stdout
    assert labels(store) == ["NORMAL"]
