"""POST /feedback on the inference Space, as a real process."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from common.feedback_store import FeedbackStore
from rehearsal.city_database import Cluster
from rehearsal.local_hub import LocalHub
from tests.spaces.conftest import REPO, Space

TOKEN = "the-officers-token"
NAMES = {"urgency": ["NORMAL", "URGENT", "HIGHLY URGENT"], "department": ["Waste"]}
WATER = {
    "text": "तीन दिनदेखि पानी आएको छैन, फोन 9841234567",
    "correct_urgency": "URGENT",
    "reporter": "officer-7",
}


@pytest.fixture(scope="module")
def start_with_feedback(hub: LocalHub, start: Callable[..., Space]) -> Callable[..., Space]:
    def started(**variables: str) -> Space:
        settings = {"MODEL_REPO": REPO, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_owner"}
        settings |= {"FEEDBACK_TOKEN": TOKEN, "FEEDBACK_LABELS": json.dumps(NAMES)}
        space = start(**(settings | variables))
        space.health()
        return space

    return started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def space(start_with_feedback: Callable[..., Space], folder: Path) -> Space:
    return start_with_feedback(FEEDBACK_DIR=str(folder))


def give(space: Space, body: Any, token: str | None = TOKEN, **headers: str) -> requests.Response:
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers |= {"Content-Type": "application/json"}
    return requests.post(f"{space.url}/feedback", data, headers=headers, timeout=30)


def test_a_correction_is_kept_unreviewed_masked_and_once(space: Space, folder: Path) -> None:
    first = give(space, WATER, **{"Idempotency-Key": "a"})
    again = give(space, WATER, **{"Idempotency-Key": "a"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["status"] == "unreviewed"
    store = FeedbackStore.open(None, folder)
    assert list(store.reviewed()) == []
    store.review(first.json()["feedback_id"], "accept", "reviewer")
    (row,) = store.reviewed()
    assert row["message"] == "तीन दिनदेखि पानी आएको छैन, फोन [PHONE]"
    other = give(space, WATER | {"correct_urgency": "NORMAL"}, **{"Idempotency-Key": "a"})
    assert other.status_code == 409


def test_without_a_key_the_same_correction_is_one_entry(space: Space) -> None:
    body = WATER | {"text": "without a key"}
    assert [give(space, body).status_code for _ in range(2)] == [201, 200]


def test_a_prediction_can_be_corrected_by_its_id(space: Space) -> None:
    status, answer = space.ask("/predict", {"text": ["खाल्डो", "बिजुली"]})
    assert status == 200
    place = answer[1]["prediction_id"]
    body = {"prediction_id": place, "correct_urgency": "URGENT", "reporter": "officer-7"}
    assert give(space, body).status_code == 201
    assert give(space, body | {"prediction_id": "0" * 32}).status_code == 404


def test_texts_that_are_not_to_be_kept_are_not(space: Space) -> None:
    answer = requests.post(
        f"{space.url}/predict", json={"text": "test row"}, headers={"Cache-Control": "no-store"}, timeout=30
    )
    assert "prediction_id" not in answer.json()


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        (WATER, None, 401),
        (WATER, "wrong", 401),
        (WATER | {"correct_urgency": "Waste"}, TOKEN, 422),
        (WATER | {"correct_urgency": "urgent"}, TOKEN, 422),
        (WATER | {"correct_urgency": None}, TOKEN, 422),
        (WATER | {"text": "x" * 10_001}, TOKEN, 422),
        (WATER | {"text": "x" * 1_000_000}, TOKEN, 422),
        (WATER | {"text": None}, TOKEN, 422),
        (WATER | {"reporter": ""}, TOKEN, 422),
        (WATER | {"unknown": 1}, TOKEN, 422),
        (WATER | {"prediction_id": "0" * 32}, TOKEN, 422),
        (b"{", TOKEN, 422),
    ],
)
def test_what_is_no_correction_is_refused_and_not_sent_back(
    space: Space, body: Any, token: str | None, status: int
) -> None:
    answer = give(space, body, token)
    assert answer.status_code == status, answer.text
    assert "9841234567" not in answer.text
    assert "xxx" not in answer.text
    assert "9841234567" not in space.log.read_text()


def test_a_wrong_label_is_answered_with_the_right_ones(space: Space) -> None:
    assert "one of NORMAL, URGENT, HIGHLY URGENT" in give(space, WATER | {"correct_urgency": "x"}).text


def test_without_a_token_there_is_no_feedback(start_with_feedback: Callable[..., Space]) -> None:
    space = start_with_feedback(FEEDBACK_TOKEN="")
    assert give(space, WATER).status_code == 404
    assert "prediction_id" not in space.ask("/predict", {"text": "खाल्डो"})[1]


def test_a_database_that_is_away_loses_nothing_that_was_acknowledged(
    start_with_feedback: Callable[..., Space],
) -> None:
    with Cluster() as cluster:
        url = cluster.create("city")
        space = start_with_feedback(DATABASE_URL=url)
        kept = [give(space, WATER | {"text": f"before {n}"}) for n in range(3)]
        cluster.kill()
        away = give(space, WATER | {"text": "while it is away"})
        assert (away.status_code, away.headers["Retry-After"]) == (503, "30")
        status, answer = space.ask("/predict", {"text": "खाल्डो"})
        assert (status, "prediction_id" in answer) == (200, False), "citizens are served all the same"
        cluster.start()
        again = give(space, WATER | {"text": "while it is away"})
        assert [each.status_code for each in (*kept, again)] == [201] * 4
        store = FeedbackStore.open(url, Path())
        for each in (*kept, again):
            store.review(each.json()["feedback_id"], "accept", "reviewer")
        assert store.count_reviewed("urgency", None) == 4


def test_feedback_is_forwarded_where_the_database_is_out_of_reach(
    start_with_feedback: Callable[..., Space], tmp_path: Path
) -> None:
    service = start_with_feedback(FEEDBACK_DIR=str(tmp_path))
    space = start_with_feedback(FEEDBACK_URL=f"{service.url}/feedback")
    first, again = give(space, WATER), give(space, WATER)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (
        FeedbackStore.open(None, tmp_path).review(first.json()["feedback_id"], "accept", "x").state
        == "accepted"
    )
    service.stop()
    assert give(space, WATER | {"text": "later"}).status_code == 503


def test_of_ten_thousand_at_once_few_are_kept_and_the_others_are_asked_to_wait(
    start_with_feedback: Callable[..., Space], tmp_path: Path
) -> None:
    space = start_with_feedback(FEEDBACK_DIR=str(tmp_path))
    began = datetime.now(UTC)
    session = requests.Session()

    def send(n: int) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = WATER | {"text": f"flood {n}"}
        answer = session.post(f"{space.url}/feedback", json=body, headers=headers, timeout=60)
        return answer.status_code, answer.headers.get("Retry-After", "")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(10_000)))
    took = (datetime.now(UTC) - began).total_seconds()
    kept = sum(status == 201 for status, _ in answers)
    assert 120 <= kept <= 121 + took, "a burst, and then one a second"
    assert {status for status, _ in answers} == {201, 429}
    assert all(int(wait) >= 1 for status, wait in answers if status == 429)
