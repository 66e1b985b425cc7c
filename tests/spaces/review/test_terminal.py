"""Reviewing on a terminal."""

import io
from pathlib import Path

import pytest

from common.feedback_store import FeedbackStore
from terminal import review

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
