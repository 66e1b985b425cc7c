"""How many corrections wait: from the city's tables, from feedback, and as the orchestrator asks."""

from datetime import timedelta
from pathlib import Path

import pytest

from common.feedback_store import FeedbackStore
from preparation.waiting import waiting
from rehearsal.city_database import PASSWORD, Cluster, add_complaints, add_corrections
from retrain.orchestrator.waiting import WaitingError, count_waiting
from tests.spaces.prepare_dataset.conftest import MONDAY, complaints, settings_for


@pytest.fixture
def city(database: str) -> str:
    """Three corrections of urgency, one of department; one is not reviewed."""
    add_complaints(database, complaints(5))
    reviewed = [
        {
            "complaint_id": n,
            "correct_urgency": "URGENT",
            "reviewed": n < 3,
            "reviewed_at": MONDAY + n * timedelta(days=1),
        }
        for n in range(4)
    ]
    department = {"complaint_id": 4, "correct_department": "x", "reviewed": True, "reviewed_at": MONDAY}
    add_corrections(database, [*reviewed, department])
    return database


def test_corrections_that_are_newer_than_a_version_wait(city: str) -> None:
    settings = settings_for(DATABASE_URL=city, LABEL="urgency,department")
    found = waiting(settings, {})
    assert found == {
        "urgency": {"count": 3, "newest": (MONDAY + timedelta(days=2)).isoformat()},
        "department": {"count": 1, "newest": MONDAY.isoformat()},
    }
    found = waiting(settings, {"urgency": MONDAY + timedelta(days=1), "department": MONDAY})
    assert (found["urgency"]["count"], found["department"]) == (1, {"count": 0, "newest": None})


def test_reviewed_feedback_waits_too(city: str) -> None:
    store = FeedbackStore.open(city, Path())
    place, _ = store.add_feedback("k", {"urgency": "NORMAL"}, "officer", text="new", chosen_by="chance")
    assert waiting(settings_for(DATABASE_URL=city), {})["urgency"]["count"] == 3
    store.review(place, "accept", "reviewer")
    assert waiting(settings_for(DATABASE_URL=city), {})["urgency"]["count"] == 4


def test_the_orchestrator_asks_in_a_process_of_its_own(city: str) -> None:
    values = {"DATABASE_URL": city, "DATASET_REPO_ID": "city/grievances"}
    found = count_waiting(values, "urgency", MONDAY)
    assert (found.count, found.newest) == (2, MONDAY + timedelta(days=2))


def test_a_source_that_is_away_is_said_without_its_password() -> None:
    with Cluster() as cluster:
        url = cluster.create("city")
    with pytest.raises(WaitingError, match="no answer from the database") as error:
        count_waiting({"DATABASE_URL": url, "DATASET_REPO_ID": "city/grievances"}, "urgency", None)
    assert PASSWORD not in str(error.value)
