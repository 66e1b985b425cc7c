"""The live API, questioned: lists, single texts, and every way in which it may misbehave."""

import itertools
import threading
import time
from typing import Any

import pytest
from pydantic import SecretStr

from retrain.errors import ComparisonError
from retrain.evaluation.live_model import LiveModel
from retrain.records import Answer, Served, SpaceState, Version
from retrain.redaction import Redactor
from tests.conftest import LABELS, LiveAPI

LABEL2ID = {name: i for i, name in enumerate(LABELS)}
RUNNING, SLEEPING = SpaceState("RUNNING"), SpaceState("SLEEPING", coming=True)
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
    assert len(live_api.asked) == 9, "one more than without it"
    assert live_api.asked[0] == live_api.asked[1] == TEXTS[:8]


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
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 1, "it is not worth another wait"


def test_a_list_that_passes_by_itself_is_no_reason_to_ask_one_by_one(live_api: LiveAPI) -> None:
    statuses = iter([200, 200, 200, 200, 401])  # a list, three of its texts, a list

    def answer(text: str | list[str]) -> tuple[int, Any]:
        return (status, {}) if (status := next(statuses, 200)) != 200 else in_order(text)

    live_api.answer = answer
    texts = [f"text {i}" for i in range(80)]
    assert labels(ask(live_api, texts)) == [i % 3 for i in range(80)]
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 10


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
    assert model.served().version is None
    live_api.about = lambda: {"model_version": "v20250101_000000", "model_revision": "abc"}
    assert model.served().version == Version("v20250101_000000", "abc")


def test_of_a_version_without_end_the_beginning_is_kept(live_api: LiveAPI) -> None:
    live_api.about = lambda: {"model_version": "v" * 100_000, "model_revision": "a" * 100_000}
    assert LiveModel(live_api.url, LABEL2ID).served().version == Version("v" * 100, "a" * 100)


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
    looks = iter([503] * 8)  # one look is asked for four times
    live_api.about_status = lambda: next(looks, 200)
    LiveModel(live_api.url, LABEL2ID).wake(lambda: RUNNING, patience_minutes=1)
    assert next(looks, "asked until it was ready") == "asked until it was ready"


def test_a_sleeping_space_is_waited_for_as_long_as_it_is_waking(live_api: LiveAPI) -> None:
    stages = iter([SLEEPING, SpaceState("APP_STARTING", coming=True), RUNNING])
    LiveModel(live_api.url, LABEL2ID).wake(lambda: next(stages), patience_minutes=1)
    assert next(stages, "asked until it ran") == "asked until it ran"


# --- lists


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_an_api_that_refuses_lists_as_such_is_not_offered_another_until_it_is_asked_anew(
    live_api: LiveAPI, status: int
) -> None:
    model = LiveModel(live_api.url, LABEL2ID)
    live_api.answer = lambda text: (status, {}) if isinstance(text, list) else in_order(text)
    assert labels(model.ask(TEXTS, failures_allowed=9)) == EXPECTED
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 1
    live_api.answer = in_order
    live_api.asked.clear()
    assert labels(model.ask(TEXTS, failures_allowed=9)) == EXPECTED
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 5


@pytest.mark.parametrize(
    "answer",
    [
        lambda right: [*right, right[-1]],
        lambda right: right[:-1],
        lambda right: {"predictions": right},
        lambda right: [each["label"] for each in right],
    ],
    ids=["one too many", "one too few", "no list", "no labels"],
)
def test_a_list_that_is_not_answered_text_by_text_is_taken_for_a_refusal(
    live_api: LiveAPI, answer: Any
) -> None:
    live_api.answer = lambda text: (
        (200, answer(in_order(text)[1])) if isinstance(text, list) else in_order(text)
    )
    assert labels(ask(live_api)) == EXPECTED
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 1


@pytest.mark.parametrize("given", ["label", "confidence"])
def test_labels_and_confidences_both_show_that_a_list_is_answered_in_another_order(
    live_api: LiveAPI, given: str
) -> None:
    """Of each answer one of the two is the same for every text."""
    same = {"label": "NORMAL", "confidence": 0.9}
    same.pop(given)

    def answer(text: str | list[str]) -> tuple[int, Any]:
        if isinstance(text, list):
            return 200, [by_number(each) | same for each in text[::-1]]
        return 200, by_number(text) | same

    live_api.answer = answer
    answers = ask(live_api)
    expected = [by_number(text) | same for text in TEXTS]
    assert [(LABELS[a.label or 0], a.confidence) for a in answers] == [
        (each["label"], each["confidence"]) for each in expected
    ]


def test_a_confidence_that_differs_in_its_last_digits_is_no_other_order(live_api: LiveAPI) -> None:
    def answer(text: str | list[str]) -> tuple[int, Any]:
        drift = 0.019 if isinstance(text, str) else 0.0
        texts = [text] if isinstance(text, str) else text
        bodies = [{"label": "NORMAL", "confidence": 0.5 + drift} for _ in texts]
        return 200, bodies if isinstance(text, list) else bodies[0]

    live_api.answer = answer
    ask(live_api)
    assert sum(isinstance(asked, list) for asked in live_api.asked) == 5


def test_the_time_of_a_list_is_shared_out_to_its_texts(live_api: LiveAPI) -> None:
    """All of them together did not take longer than the whole."""

    def answer(text: str | list[str]) -> tuple[int, Any]:
        if isinstance(text, list):
            threading.Event().wait(0.3)
        return in_order(text)

    live_api.answer = answer
    began = time.monotonic()
    answers = ask(live_api, TEXTS[:8])
    assert sum(answer.seconds or 0 for answer in answers) <= time.monotonic() - began


# --- failures


def test_three_texts_that_fail_in_a_row_stand_for_the_rest_of_their_batch(live_api: LiveAPI) -> None:
    live_api.answer = lambda text: (500, {})
    assert labels(ask(live_api, TEXTS[:8])) == [None] * 8
    assert live_api.asked == [TEXTS[:8], *TEXTS[:3]]


def test_texts_that_fail_after_one_that_did_not_are_all_asked(live_api: LiveAPI) -> None:
    live_api.answer = lambda text: in_order(text) if text == "text 0" else (500, {})
    assert labels(ask(live_api, TEXTS[:8])) == [0, *[None] * 7]
    assert live_api.asked == [TEXTS[:8], *TEXTS[:8], "text 0"]


@pytest.mark.parametrize(("allowed", "asked"), [(0, 2), (1, 3)])
def test_a_batch_is_given_up_after_more_failures_than_allowed(
    live_api: LiveAPI, allowed: int, asked: int
) -> None:
    live_api.answer = lambda text: (500, {})
    assert labels(ask(live_api, failures_allowed=allowed)) == [None] * 40
    assert len(live_api.asked) == asked, "a list, and so many of its texts"


def test_a_wait_that_an_api_asks_for_is_granted_up_to_a_minute(live_api: LiveAPI) -> None:
    retry = LiveModel(live_api.url, LABEL2ID).session.get_adapter(live_api.url).max_retries
    assert retry.retry_after_max == 60


def test_no_text_costs_no_request(live_api: LiveAPI) -> None:
    assert ask(live_api, []) == []
    assert live_api.asked == []


def test_progress_is_the_number_of_texts_that_are_done(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    told: list[int] = []
    LiveModel(live_api.url, LABEL2ID).ask(TEXTS[:20], failures_allowed=0, on_progress=told.append)
    assert told[0] == 8
    assert told[-1] == 20
    assert told == sorted(told)
    assert len(told) == 3


# --- what is read of an answer


@pytest.mark.parametrize(
    ("told", "confidence"),
    [({}, None), ({"confidence": None}, None), ({"confidence": 0}, 0.0), ({"confidence": 1}, 1.0)],
)
def test_a_confidence_may_be_absent_or_any_share(
    live_api: LiveAPI, told: dict[str, Any], confidence: float | None
) -> None:
    live_api.answer = lambda text: (200, {"label": "URGENT"} | told)
    (answer,) = ask(live_api, ["one"])
    assert (answer.label, answer.confidence, answer.error) == (1, confidence, None)


@pytest.mark.parametrize("confidence", [True, -0.1, 1.1])
def test_a_confidence_that_is_no_share_is_a_failure(live_api: LiveAPI, confidence: Any) -> None:
    live_api.answer = lambda text: (200, {"label": "URGENT", "confidence": confidence})
    assert causes(ask(live_api, ["one"])) == {"confidence outside 0 to 1"}


@pytest.mark.parametrize(
    ("scores", "read"),
    [
        ({"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 0.0}, (0.0, 1.0, 0.0)),
        ({"NORMAL": 0.5, "URGENT": 0.5}, None),
        ({"NORMAL": False, "URGENT": True, "HIGHLY URGENT": False}, None),
        ([0.2, 0.5, 0.3], None),
        (None, None),
    ],
)
def test_scores_are_those_of_every_class_or_none(
    live_api: LiveAPI, scores: Any, read: tuple[float, ...] | None
) -> None:
    live_api.answer = lambda text: (200, {"label": "URGENT", "scores": scores})
    (answer,) = ask(live_api, ["one"])
    assert (answer.label, answer.scores) == (1, read)


# --- which version answers


@pytest.mark.parametrize(
    ("about", "version"),
    [
        ({"model_revision": "abc"}, Version(None, "abc")),
        ({"model_version": "v1"}, None),
        ({"model_revision": ""}, None),
        (["abc"], None),
        ("<html>", None),
    ],
)
def test_a_version_is_told_by_its_revision(live_api: LiveAPI, about: Any, version: Version | None) -> None:
    live_api.about = lambda: about
    assert LiveModel(live_api.url, LABEL2ID).served().version == version


def test_an_api_that_can_not_be_asked_serves_no_version() -> None:
    assert LiveModel("nowhere://127.0.0.1/predict", LABEL2ID).served().version is None


@pytest.mark.parametrize(
    "told", [[None, "new", "new", "new"], ["old", None, None, None]], ids=["before", "after"]
)
def test_a_version_that_is_known_on_one_side_only_has_changed(
    live_api: LiveAPI, told: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    live_api.answer = in_order
    revisions = iter(told)
    live_api.about = lambda: {"model_revision": next(revisions)}
    _, served = ask_one_version(live_api)
    assert served == (told[-1] and Version(None, told[-1]))
    assert "while it was asked: once more" in caplog.messages[-1]
    assert live_api.asked.count(TEXTS[:8]) == 2


def test_a_version_that_stays_is_asked_once(live_api: LiveAPI) -> None:
    live_api.answer = in_order
    live_api.about = lambda: {"model_version": "v1", "model_revision": "abc"}
    answers, served = ask_one_version(live_api)
    assert (labels(answers), served) == (EXPECTED, Version("v1", "abc"))
    assert live_api.asked.count(TEXTS[:8]) == 1


def test_patience_with_a_sleeping_space_has_an_end(live_api: LiveAPI) -> None:
    stages: list[SpaceState] = []

    def state() -> SpaceState:
        stages.append(SLEEPING)
        return stages[-1]

    LiveModel(live_api.url, LABEL2ID).wake(state, patience_minutes=0.01)
    assert stages == [SLEEPING]


def test_a_space_that_can_not_be_asked_is_not_taken_for_one_that_loads() -> None:
    """Its stage says that it runs: what is wrong with it comes out when it is asked."""
    stages = iter([RUNNING])
    LiveModel("nowhere://127.0.0.1/predict", LABEL2ID).wake(lambda: next(stages), patience_minutes=1)
    assert next(stages, "asked once") == "asked once"


@pytest.mark.parametrize("stage", ["PAUSED", "STOPPED", "RUNTIME_ERROR", "BUILD_ERROR"])
def test_a_space_that_can_not_wake_is_not_waited_for(live_api: LiveAPI, stage: str) -> None:
    live_api.about_status = lambda: 503
    stuck = SpaceState(stage, remedy="Restart it.")
    with pytest.raises(ComparisonError, match=rf"The inference Space is {stage}.* Restart it\."):
        LiveModel(live_api.url, LABEL2ID).wake(lambda: stuck, patience_minutes=60)


def test_an_api_that_answers_is_asked_whatever_the_stage_of_its_space(live_api: LiveAPI) -> None:
    stages = iter([SpaceState("PAUSED", remedy="Restart it.")])
    LiveModel(live_api.url, LABEL2ID).wake(lambda: next(stages), patience_minutes=1)
    assert next(stages, "asked once") == "asked once"


def test_what_an_api_waits_for_is_known_where_it_says_so(live_api: LiveAPI) -> None:
    live_api.about = lambda: {"status": "waiting", "reason": "the Hub can't be reached"}
    assert LiveModel(live_api.url, LABEL2ID).served() == Served(None, "the Hub can't be reached")
    live_api.about = lambda: {"status": "starting", "reason": None}
    assert LiveModel(live_api.url, LABEL2ID).served() == Served()


def test_what_an_api_says_of_itself_is_cleaned_and_masked(live_api: LiveAPI) -> None:
    said = "v1\r\n\x1b[31mERROR \u202eevil\u2066 sesame-sesame"
    live_api.about = lambda: {
        "model_version": said,
        "model_revision": said,
        "status": "waiting",
        "reason": said,
    }
    clean = "v1[31mERROR evil [secret]"
    model = LiveModel(live_api.url, LABEL2ID, redact=Redactor(["sesame-sesame"]))
    assert model.served() == Served(Version(clean, clean), clean)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_texts_do_not_follow_a_redirect(live_api: LiveAPI, status: int) -> None:
    """To http, to another host, or to a page to log in: neither the texts nor the token go there."""
    elsewhere = LiveAPI()
    elsewhere.answer = in_order
    live_api.answer = lambda text: (status, {}, {"Location": f"{elsewhere.url}?secret=1"})
    answers = ask(live_api, api_token=SecretStr("sesame"))
    elsewhere.close()
    assert elsewhere.asked == []
    assert causes(answers) == {f"redirected to {elsewhere.url}: set API_ENDPOINT to where it answers"}


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((200, "[" * 100_000), "no JSON but text/html"),
        ((200, '{"confidence": ' + "9" * 6000 + "}"), "no JSON but text/html"),
        ((307, {}, {"Location": "http://[::1/x"}), "RequestException"),
    ],
    ids=["nested without end", "a number without end", "a redirect to no address"],
)
def test_a_broken_answer_is_a_failure_with_its_cause(
    live_api: LiveAPI, answer: tuple[Any, ...], cause: str
) -> None:
    live_api.answer = lambda text: answer
    answers = ask(live_api)
    assert labels(answers) == [None] * 40
    assert causes(answers) == {cause}


def test_a_broken_answer_about_itself_is_none(live_api: LiveAPI) -> None:
    live_api.about = lambda: "[" * 100_000  # type: ignore[assignment, return-value]
    assert LiveModel(live_api.url, LABEL2ID).served() == Served()
