"""The live API, questioned: lists, single texts, and every way in which it may misbehave."""

import itertools
import threading
import time
from typing import Any

import pytest
from pydantic import SecretStr

from retrain.errors import ComparisonError
from retrain.evaluation.live_model import LiveModel
from retrain.records import Answer, Version
from tests.conftest import LABELS, LiveAPI

LABEL2ID = {name: i for i, name in enumerate(LABELS)}
TEXTS = [f"text {i}" for i in range(40)]
EXPECTED = [i % 3 for i in range(40)]


def by_number(text: str) -> dict[str, Any]:
    number = int(text.split()[1])
    return {"label": LABELS[number % 3], "confidence": 0.5 + number % 50 / 100, "scores": {}}


def in_order(text: str | list[str]) -> tuple[int, Any]:
    return 200, [by_number(one) for one in text] if isinstance(text, list) else by_number(text)


def ask(api: LiveAPI, texts: list[str] = TEXTS, failures_allowed: int = 1000, **options: Any) -> list[Answer]:
    return LiveModel(api.url, LABEL2ID, **options).ask(texts, failures_allowed=failures_allowed)


def labels(answers: list[Answer]) -> list[int | None]:
    return [answer.label for answer in answers]


def causes(answers: list[Answer]) -> set[str | None]:
    return {answer.error for answer in answers}


# --- answers


def test_answers_come_back_in_the_order_of_the_texts_with_confidence_and_latency(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    answers = ask(live_api)
    assert labels(answers) == EXPECTED
    assert answers[7].confidence == pytest.approx(0.57)
    assert all(answer.seconds is not None and answer.seconds > 0 for answer in answers)
    lists = [asked for asked in live_api.asked if isinstance(asked, list)]
    assert len(lists) == 5
    assert len(live_api.asked) == 8  # and three texts of the first list alone, to see that its order holds


def test_an_api_that_takes_no_lists_is_asked_one_by_one(live_api: LiveAPI) -> None:
    live_api.answer = lambda text: (422, {}) if isinstance(text, list) else in_order(text)
    assert labels(ask(live_api)) == EXPECTED
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 1


@pytest.mark.parametrize(
    "reordered", [lambda a: a[::-1], lambda a: a[1:] + a[:1]], ids=["reversed", "rotated"]
)
def test_an_api_that_answers_lists_in_another_order_is_asked_one_by_one(
    live_api: LiveAPI, reordered: Any
) -> None:
    def answer(text: str | list[str]) -> tuple[int, Any]:
        status, body = in_order(text)
        return status, reordered(body) if isinstance(body, list) else body

    live_api.answer = answer
    assert labels(ask(live_api)) == EXPECTED


def test_a_list_that_fails_for_one_text_costs_that_text_alone(live_api: LiveAPI) -> None:
    def answer(text: str | list[str]) -> tuple[int, Any]:
        return (500, {}) if text == "text 20" or "text 20" in text else in_order(text)

    live_api.answer = answer
    answers = ask(live_api)
    assert [i for i, label in enumerate(labels(answers)) if label is None] == [20]
    assert answers[20].error == "status 500"


# --- failures and their causes


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((500, {}), "status 500"),
        ((200, "<html>"), "no JSON but text/html"),
        ((200, {"prediction": 1}), "JSON without a label"),
        ((200, [1, 2]), "JSON without a label"),
        ((200, {"label": "PANIC"}), "unknown label"),
        ((200, {"label": "normal"}), "unknown label"),
        ((200, {"label": 1}), "JSON without a label"),
        ((200, {"label": "NORMAL", "confidence": 1.5}), "confidence outside 0 to 1"),
        ((200, {"label": "NORMAL", "confidence": float("nan")}), "confidence outside 0 to 1"),
        ((200, {"label": "NORMAL", "confidence": "high"}), "confidence outside 0 to 1"),
    ],
)
def test_an_answer_that_is_no_prediction_is_a_failure_with_its_cause(
    live_api: LiveAPI, answer: tuple[int, Any], cause: str
) -> None:
    live_api.answer = lambda text: answer
    answers = ask(live_api)
    assert labels(answers) == [None] * 40
    assert causes(answers) == {cause}


def test_a_passing_503_is_tried_again(live_api: LiveAPI) -> None:
    first = iter([503])
    live_api.answer = lambda text: (next(first, 200), in_order(text)[1])
    assert labels(ask(live_api)) == EXPECTED


def test_a_429_is_asked_again_after_as_long_as_it_says(live_api: LiveAPI) -> None:
    times: list[float] = []

    def answer(text: str | list[str]) -> tuple[Any, ...]:
        times.append(time.monotonic())
        return (429, {}, {"Retry-After": "1"}) if len(times) == 1 else in_order(text)

    live_api.answer = answer
    assert labels(ask(live_api)) == EXPECTED
    assert times[1] - times[0] >= 1.0


def test_an_api_that_is_down_is_not_asked_for_every_row(live_api: LiveAPI) -> None:
    live_api.close()
    answers = ask(live_api, [f"text {i}" for i in range(400)], failures_allowed=20)
    assert labels(answers) == [None] * 400
    assert causes(answers) == {"no connection", "not asked, after too many failures"}


def test_an_api_that_hangs_is_given_up(live_api: LiveAPI) -> None:
    released = threading.Event()
    live_api.answer = lambda text: (released.wait(30), (200, {}))[1]
    answers = ask(live_api, failures_allowed=2, timeout=(1.0, 0.2))
    released.set()
    assert causes(answers) == {"no answer in time", "not asked, after too many failures"}


def test_a_list_that_times_out_is_asked_for_text_by_text(live_api: LiveAPI) -> None:
    released = threading.Event()

    def answer(text: str | list[str]) -> tuple[int, Any]:
        if isinstance(text, list):
            released.wait(60)
        return in_order(text)

    live_api.answer = answer
    answers = ask(live_api, TEXTS[:8], timeout=(1.0, 2.0))
    released.set()
    assert labels(answers) == EXPECTED[:8]


def test_a_list_that_passes_by_itself_is_no_reason_to_ask_one_by_one(live_api: LiveAPI) -> None:
    statuses = iter([200, 200, 200, 200, 401])  # a list, three of its texts, a list

    def answer(text: str | list[str]) -> tuple[int, Any]:
        return (status, {}) if (status := next(statuses, 200)) != 200 else in_order(text)

    live_api.answer = answer
    assert labels(ask(live_api)) == EXPECTED
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 5


def test_scores_are_read_in_the_order_of_the_ids_or_not_at_all(live_api: LiveAPI) -> None:
    scores = {"URGENT": 0.5, "HIGHLY URGENT": 0.3, "NORMAL": 0.2}
    live_api.answer = lambda text: (200, {"label": "URGENT", "confidence": 0.5, "scores": scores})
    assert ask(live_api, ["one"])[0].scores == (0.2, 0.5, 0.3)
    scores["NORMAL"] = float("nan")
    assert ask(live_api, ["one"])[0].scores is None


def test_requests_at_a_time_are_bounded(live_api: LiveAPI) -> None:
    """At most four, and really several: with one at a time the barrier would never open."""
    now, most, lock, meet = 0, 0, threading.Lock(), threading.Barrier(2)

    def answer(text: str | list[str]) -> tuple[int, Any]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if isinstance(text, list) and text[0] != "text 0":
            meet.wait(20)
        with lock:
            now -= 1
        return in_order(text)

    live_api.answer = answer
    texts = [f"text {i}" for i in range(8 * 9)]
    assert None not in labels(ask(live_api, texts))
    assert 2 <= most <= 4


def test_the_token_goes_along_as_a_bearer(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    ask(live_api, api_token=SecretStr("sesame"))
    assert {headers["Authorization"] for headers in live_api.headers} == {"Bearer sesame"}


# --- who answers


def test_the_version_is_asked_for_where_the_api_tells_it(live_api: LiveAPI) -> None:
    model = LiveModel(live_api.url, LABEL2ID)
    assert model.served_version() is None
    live_api.about = lambda: {"model_version": "v20250101_000000", "model_revision": "abc"}
    assert model.served_version() == Version("v20250101_000000", "abc")


def test_of_a_version_without_end_the_beginning_is_kept(live_api: LiveAPI) -> None:
    live_api.about = lambda: {"model_version": "v" * 100_000, "model_revision": "a" * 100_000}
    assert LiveModel(live_api.url, LABEL2ID).served_version() == Version("v" * 100, "a" * 100)


def ask_one_version(api: LiveAPI) -> tuple[list[Answer], Version | None]:
    model = LiveModel(api.url, LABEL2ID)
    return model.ask_one_version(TEXTS, failures_allowed=9, on_progress=lambda done: None)


def test_answers_during_which_the_version_changed_are_void_and_asked_for_once_more(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    revisions = iter(["old", "new"])
    live_api.about = lambda: {"model_revision": next(revisions, "new")}
    answers, served = ask_one_version(live_api)
    assert served == Version(None, "new")
    assert labels(answers) == EXPECTED
    assert live_api.asked.count(TEXTS[:8]) == 2


def test_an_api_that_keeps_changing_its_version_can_not_be_compared_with(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    revisions = map(str, itertools.count())
    live_api.about = lambda: {"model_revision": next(revisions)}
    with pytest.raises(ComparisonError, match="changed its version while it was asked, twice"):
        ask_one_version(live_api)


def test_a_space_that_runs_is_waited_for_while_it_loads_its_model(live_api: LiveAPI) -> None:
    looks = iter([503, 503, 503, 503])  # one look is asked for four times
    live_api.about_status = lambda: next(looks, 200)
    LiveModel(live_api.url, LABEL2ID).wake(lambda: "RUNNING", patience_minutes=1)
    assert next(looks, "asked until it was ready") == "asked until it was ready"


def test_a_sleeping_space_is_waited_for_as_long_as_it_is_waking(live_api: LiveAPI) -> None:
    stages = iter(["SLEEPING", "APP_STARTING", "RUNNING"])
    LiveModel(live_api.url, LABEL2ID).wake(lambda: next(stages), patience_minutes=1)
    assert next(stages, "asked until it ran") == "asked until it ran"
