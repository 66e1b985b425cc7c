"""Feedback and reviews, in SQLite and in PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from common.feedback_store import (
    ConflictError,
    FeedbackStore,
    Review,
    StoreError,
    UnknownError,
    decided,
)
from rehearsal.city_database import Cluster

URGENT = {"urgency": "URGENT"}
CRITICAL = {"urgency": "HIGHLY URGENT"}
ANSWER = {"label": "NORMAL", "scores": {"NORMAL": 0.7, "URGENT": 0.25, "HIGHLY URGENT": 0.05}}


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], FeedbackStore]:
    """Opens the store as another process would."""
    url = request.getfixturevalue("database") if request.param == "postgresql" else None
    return lambda: FeedbackStore.open(url, tmp_path)


@pytest.fixture
def store(opened: Callable[[], FeedbackStore]) -> FeedbackStore:
    return opened()


# --- what reviews come to


def review(verdict: str, reviewer: str = "a", **labels: str) -> Review:
    return Review(verdict, reviewer, labels)


@pytest.mark.parametrize(
    ("reported", "given", "state"),
    [
        (URGENT, [], "pending"),
        (URGENT, [review("accept")], "accepted"),
        (URGENT, [review("reject")], "rejected"),
        (URGENT, [review("relabel", urgency="NORMAL")], "accepted"),
        (URGENT, [review("accept"), review("undo")], "pending"),
        (URGENT, [review("reject"), review("accept")], "accepted"),
        (URGENT, [review("accept", "a"), review("reject", "b")], "pending"),
        (URGENT, [review("accept", "a"), review("relabel", "b", urgency="NORMAL")], "pending"),
        (URGENT, [review("accept", "a"), review("relabel", "b", urgency="URGENT")], "accepted"),
        (CRITICAL, [review("accept", "a")], "pending"),
        (CRITICAL, [review("accept", "a"), review("accept", "a")], "pending"),
        (CRITICAL, [review("accept", "a"), review("accept", "b")], "accepted"),
        (CRITICAL, [review("accept", "a"), review("accept", "b"), review("undo", "b")], "pending"),
        (CRITICAL, [review("reject", "a")], "rejected"),
        (URGENT, [review("relabel", "a", urgency="HIGHLY URGENT")], "pending"),
    ],
)
def test_what_counts_is_the_last_verdict_of_each_and_that_all_agree(
    reported: dict[str, str], given: list[Review], state: str
) -> None:
    assert decided(reported, given).state == state


# --- the store


def test_a_replay_is_one_entry_also_of_several_at_once(opened: Callable[[], FeedbackStore]) -> None:
    stores = [opened() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda s: s.add_feedback("k", URGENT, "officer", text="water"), stores))
    assert len({place for place, _ in answers}) == 1
    assert sorted(is_new for _, is_new in answers) == [False, False, False, True]


def test_a_key_stands_for_one_correction(store: FeedbackStore) -> None:
    store.add_feedback("k", URGENT, "officer", text="water")
    for labels, reporter, other in (
        (CRITICAL, "officer", "water"),
        (URGENT, "x", "water"),
        (URGENT, "officer", "y"),
    ):
        with pytest.raises(ConflictError):
            store.add_feedback("k", labels, reporter, text=other)


def test_a_correction_of_a_prediction_has_its_text(store: FeedbackStore) -> None:
    (prediction,) = store.add_predictions(["खानेपानी आएन"], [ANSWER], "v1")
    place, _ = store.add_feedback("k", URGENT, "officer", prediction_id=prediction)
    store.review(place, "accept", "reviewer")
    (row,) = store.reviewed()
    assert (row["message"], row["correct_urgency"], row["correct_department"]) == (
        "खानेपानी आएन",
        "URGENT",
        None,
    )
    assert row["reviewed_at"].tzinfo is not None
    with pytest.raises(UnknownError):
        store.add_feedback("k2", URGENT, "officer", prediction_id="0" * 32)


def test_what_is_accepted_counts_until_it_is_undone(store: FeedbackStore) -> None:
    place, _ = store.add_feedback("k", URGENT, "officer", text="water")
    before = datetime.now(UTC)
    assert store.count_reviewed("urgency", None) == 0
    assert store.review(place, "accept", "reviewer").state == "accepted"
    assert (store.count_reviewed("urgency", before), store.count_reviewed("department", None)) == (1, 0)
    assert store.count_reviewed("urgency", datetime.now(UTC)) == 0
    assert store.review(place, "undo", "reviewer").state == "pending"
    assert store.count_reviewed("urgency", None) == 0
    assert list(store.reviewed()) == []


def test_of_what_was_reviewed_the_newest_can_be_had_alone_and_oldest_first(store: FeedbackStore) -> None:
    for message in ("water", "road", "waste"):
        place, _ = store.add_feedback(message, URGENT, "officer", text=message)
        store.review(place, "accept", "reviewer")
    assert [row["message"] for row in store.reviewed(newest=2)] == ["road", "waste"]


def test_a_reporter_does_not_accept_what_he_reported(store: FeedbackStore) -> None:
    place, _ = store.add_feedback("k", URGENT, "officer", text="water")
    for verdict in ("accept", "relabel"):
        with pytest.raises(ConflictError):
            store.review(place, verdict, "officer", URGENT)  # type: ignore[arg-type]
    assert store.count_reviewed("urgency", None) == 0
    store.review(place, "reject", "officer")
    with pytest.raises(UnknownError):
        store.review("0" * 32, "accept", "reviewer")


def test_two_reviewers_of_one_row_at_once_are_both_heard(opened: Callable[[], FeedbackStore]) -> None:
    place, _ = opened().add_feedback("k", CRITICAL, "officer", text="fire")
    with ThreadPoolExecutor(2) as threads:
        states = list(threads.map(lambda who: opened().review(place, "accept", who).state, ("a", "b")))
    assert sorted(states) == ["accepted", "pending"]
    (row,) = opened().reviewed()
    assert set(row["reviewed_by"].split(", ")) == {"a", "b"}


def test_tables_are_made_by_whoever_comes_first(opened: Callable[[], FeedbackStore]) -> None:
    with ThreadPoolExecutor(4) as threads:
        places = list(
            threads.map(lambda n: opened().add_feedback(str(n), URGENT, "o", text="t")[0], range(8))
        )
    assert len(set(places)) == 8


def test_a_database_that_is_away_is_said_and_is_used_again_when_it_is_back() -> None:
    with Cluster() as cluster:
        store = FeedbackStore.open(cluster.create("city"), Path())
        store.add_feedback("first", URGENT, "officer", text="water")
        cluster.kill()
        with pytest.raises(StoreError) as error:
            store.add_feedback("second", URGENT, "officer", text="a secret text")
        assert "secret" not in str(error.value)
        cluster.start()
        assert store.add_feedback("first", URGENT, "officer", text="water")[1] is False
        assert store.add_feedback("second", URGENT, "officer", text="a secret text")[1] is True


def test_what_is_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    FeedbackStore.open(None, tmp_path).add_feedback("k", URGENT, "officer", text="water")
    engine = create_engine(f"sqlite:///{tmp_path / 'feedback.sqlite'}")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM feedback")) == 1


def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="DATABASE_URL is no URL") as error:
        FeedbackStore.open("user:password@host", Path())
    assert "password@" not in str(error.value)
