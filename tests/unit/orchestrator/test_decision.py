"""What is due, from plain values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retrain.orchestrator.decision import LEASE, Facts, Request, Rules, decide

NOW = datetime(2026, 1, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RULES = Rules()
QUIET = Facts(
    waiting=0,
    newest=None,
    version="old",
    tag="v20260101_000000",
    holds_until=NOW - 5 * DAY,
    model_at=NOW - DAY,
    tried="old",
    preparing=False,
    retraining=False,
)
ASKED = Request(
    "r1", "why", NOW - HOUR, "prepare", NOW - HOUR, "me", started=True, watermark=NOW - DAY, before="old"
)
TRAINING = replace(ASKED, step="retrain", version="new", at=NOW - HOUR)


def due(facts: Facts = QUIET, holder: str = "me", **known: Any) -> tuple[str, str]:
    decision = decide(replace(facts, **known), RULES, NOW, holder)
    return decision.action, decision.reason


# --- nothing is under way


@pytest.mark.parametrize(
    ("known", "action"),
    [
        ({}, "nothing"),
        ({"waiting": 49}, "nothing"),
        ({"waiting": 50}, "prepare"),
        ({"waiting": 1, "model_at": NOW - 30 * DAY}, "prepare"),
        ({"waiting": 0, "model_at": NOW - 300 * DAY}, "nothing"),
        ({"waiting": 1, "model_at": None}, "nothing"),
        ({"version": "new"}, "retrain"),
        ({"version": "new", "waiting": 50}, "prepare"),
        ({"version": None, "tried": None}, "nothing"),
        ({"waiting": 50, "preparing": True}, "nothing"),
        ({"waiting": 50, "retraining": True}, "nothing"),
    ],
    ids=[
        "nothing waits",
        "one too few",
        "enough",
        "an old model and a correction",
        "an old model alone",
        "no model yet",
        "a version by hand",
        "a version by hand and enough",
        "no data",
        "somebody prepares",
        "somebody retrains",
    ],
)
def test_what_is_due_while_nothing_was_asked_for(known: dict[str, Any], action: str) -> None:
    assert due(**known)[0] == action


def test_a_decision_says_what_it_went_by() -> None:
    assert due(waiting=12)[1] == "12 of 50 reviewed corrections are waiting, and the model is 1 days old."
    assert "No run has come to a verdict on v2" in due(version="new", tag="v2")[1]


@pytest.mark.parametrize(
    ("ended", "action"),
    [(NOW - 5 * HOUR, "nothing"), (NOW - 6 * HOUR, "prepare"), (NOW + HOUR, "prepare")],
    ids=["too soon", "late enough", "by a clock that was ahead"],
)
def test_between_two_turns_there_is_a_pause(ended: datetime, action: str) -> None:
    assert due(waiting=50, last=replace(TRAINING, at=ended, result="rejected"))[0] == action


# --- a preparation was asked for


def test_the_version_that_holds_what_was_asked_for_is_trained_on_whoever_made_it() -> None:
    held = {"version": "new", "holds_until": NOW - DAY}
    assert due(last=ASKED, **held)[0] == "retrain"
    assert due(last=replace(ASKED, started=False), **held)[0] == "retrain"
    assert due(last=ASKED, preparing=True, **held)[0] == "retrain"


@pytest.mark.parametrize(
    "held",
    [
        {"version": "new", "holds_until": NOW - DAY - MINUTE},
        {"version": "new", "holds_until": None},
        {"version": "old"},
    ],
    ids=["an older watermark", "no watermark", "no new version"],
)
def test_another_version_is_not_taken_for_it(held: dict[str, Any]) -> None:
    assert due(last=ASKED, preparing=True, **held)[0] == "wait"
    assert due(last=ASKED, **held) == (
        "end",
        "The preparation ended without a version that holds the corrections: its log says why.",
    )


def test_a_preparation_that_takes_for_ever_is_given_up() -> None:
    late = replace(ASKED, at=NOW - RULES.prepare_timeout - MINUTE)
    decision = decide(replace(QUIET, last=late, preparing=True), RULES, NOW, "me")
    assert (decision.action, decision.failed) == ("end", True)


@pytest.mark.parametrize("step", ["prepare", "retrain"])
@pytest.mark.parametrize(
    ("holder", "at", "action"),
    [
        ("me", NOW - MINUTE, "start"),
        ("other", NOW - MINUTE, "wait"),
        ("other", NOW - LEASE, "start"),
        ("other", NOW + LEASE, "start"),
        ("other", NOW + MINUTE, "wait"),
    ],
    ids=[
        "by me",
        "just now by another",
        "by one that is dead",
        "by a clock far ahead",
        "by a clock a little ahead",
    ],
)
def test_a_step_that_was_noted_and_not_started_is_started_once_its_writer_is_gone(
    step: str, holder: str, at: datetime, action: str
) -> None:
    noted = replace(TRAINING if step == "retrain" else ASKED, holder=holder, at=at, started=False)
    assert due(last=noted)[0] == (step if action == "start" else "wait")


# --- a retraining was asked for


def test_a_retraining_is_waited_for_and_ends_with_its_outcome() -> None:
    assert due(last=TRAINING, version="new", retraining=True)[0] == "wait"
    assert due(last=TRAINING, version="new", ended="rejected") == ("end", "The retraining ended: rejected.")
    assert due(last=TRAINING, version="new", retraining=True, ended="accepted")[0] == "end"


def test_a_retraining_without_a_record_or_without_end_is_a_failure() -> None:
    lost = decide(replace(QUIET, last=TRAINING, version="new"), RULES, NOW, "me")
    assert (lost.action, lost.failed) == ("end", True)
    late = replace(TRAINING, at=NOW - RULES.retrain_timeout - MINUTE)
    endless = decide(replace(QUIET, last=late, version="new", retraining=True), RULES, NOW, "me")
    assert (endless.action, endless.failed) == ("end", True)
