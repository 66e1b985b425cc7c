"""Reviewers, their sessions, and their agreement."""

import pytest

from common.feedback_store import Review
from people import LOGGED_IN_SECONDS, Reviewers, agreements

PAIRS = "ram:a-token-of-ram, sita:a-token-of-sita"


def test_a_reviewer_is_known_by_the_token_and_by_the_session() -> None:
    reviewers = Reviewers.read(PAIRS)
    assert reviewers.who("a-token-of-sita") == "sita"
    assert reviewers.who("a-token-of-sit") is None
    assert reviewers.of_session(reviewers.session("ram")) == "ram"


def test_a_session_that_was_changed_or_is_over_is_none() -> None:
    reviewers = Reviewers.read(PAIRS)
    session = reviewers.session("ram", now=1000.0)
    assert reviewers.of_session(session, now=1000.0 + LOGGED_IN_SECONDS - 1) == "ram"
    assert reviewers.of_session(session, now=1000.0 + LOGGED_IN_SECONDS) is None
    for changed in (session.replace("ram", "sita"), session[:-1], "", "a|b", "|", None, "ram|x|y"):
        assert reviewers.of_session(changed, now=1000.0) is None
    others = Reviewers.read("ram:another-token-of-ram")
    assert others.of_session(session, now=1000.0) is None, "who renews the tokens ends the sessions"


@pytest.mark.parametrize(
    "text", ["", "ram", "ram:short", ":a-token-of-nobody", "a:the-same-token,b:the-same-token"]
)
def test_reviewers_that_can_not_be_told_apart_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="REVIEWERS"):
        Reviewers.read(text)


def test_agreement_is_of_rows_that_others_decided_too_and_who_accepts_everything_shows() -> None:
    verdicts = {
        "1": [Review("accept", "a"), Review("reject", "b")],
        "2": [Review("accept", "a"), Review("accept", "b")],
        "3": [Review("accept", "a"), Review("reject", "b"), Review("undo", "b")],
        "4": [Review("relabel", "b", {"urgency": "NORMAL"}), Review("relabel", "c", {"urgency": "URGENT"})],
    }
    found = {each.reviewer: each for each in agreements(verdicts)}
    assert (found["a"].decided, found["a"].accepted, found["a"].shared, found["a"].agreed) == (3, 1.0, 2, 0.5)
    assert (found["b"].decided, found["b"].agreed) == (3, pytest.approx(1 / 3))
    assert found["c"].agreed == 0.0
