"""How a release comes into service, or is found not to: what answers prove, and what is believed when."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from retrain.errors import NotTriedError, RolloutError
from retrain.records import Answer, Release, Served, SpaceState, Version
from retrain.release.inference_space import InferenceSpace
from retrain.release.rollout import (
    ANY_ANSWER,
    Canary,
    median_seconds,
    not_ready,
    roll_out,
    wrong_answer,
)

SURE, TIED = (0.1, 0.7, 0.2), (0.495, 0.5, 0.005)


def canary(*scores: Sequence[float] | None, seconds: float | None = None) -> Canary:
    return Canary([f"text {i}" for i in range(len(scores))], scores, seconds)


# --- what answers prove


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (SURE, Answer(1)),
        (SURE, Answer(1, scores=SURE)),
        (SURE, Answer(1, scores=(0.109, 0.691, 0.2))),
        (SURE, Answer(error="status 500")),
        (None, Answer(2)),
        (TIED, Answer(0)),
        ((0.0, 0.01, 0.0), Answer(0)),
        ((0.0, 0.01, 0.0), Answer(1, scores=(0.0, 0.0, 0.0))),
        (TIED, Answer(0, scores=(0.5, 0.495, 0.005))),
    ],
    ids=[
        "the label",
        "the scores",
        "the scores but for precision",
        "none: it may still come",
        "any, where no scores are known",
        "the other label of two that are as probable",
        "the other label within the tolerance",
        "scores within the tolerance",
        "its scores, too",
    ],
)
def test_an_answer_can_be_that_of_the_version(expected: Sequence[float] | None, answer: Answer) -> None:
    assert wrong_answer(canary(SURE, expected), [Answer(1), answer]) is None


@pytest.mark.parametrize(
    ("expected", "answer", "said"),
    [
        (SURE, Answer(0), "test text 1 gets another label than the model gave here"),
        (SURE, Answer(2, scores=SURE), "test text 1 gets another label than the model gave here"),
        (SURE, Answer(1, scores=(0.115, 0.685, 0.2)), "the scores of test text 1 are off by 0.015"),
        (SURE, Answer(1, scores=(0.085, 0.7, 0.215)), "the scores of test text 1 are off by 0.015"),
        (TIED, Answer(2), None),
        ((0.48, 0.5, 0.02), Answer(0), "test text 1 gets another label than the model gave here"),
    ],
    ids=["label", "label though not scores", "one score", "scores", "hardly probable", "less probable"],
)
def test_an_answer_can_not_be_that_of_the_version(
    expected: Sequence[float], answer: Answer, said: str | None
) -> None:
    found = wrong_answer(canary(SURE, expected), [Answer(1), answer])
    assert found == said


def test_every_text_has_its_answer() -> None:
    with pytest.raises(ValueError, match="zip"):
        wrong_answer(canary(SURE, SURE), [Answer(1)])


def test_a_version_that_does_not_answer_every_text_is_not_ready() -> None:
    answers = [Answer(1), Answer(error="status 503"), Answer(error="no connection")]
    assert not_ready(canary(SURE, SURE, SURE), answers) == "2 of 3 test texts are not answered: status 503"
    assert not_ready(canary(SURE), [Answer(0)]) is None


@pytest.mark.parametrize(
    ("before", "now", "ready"),
    [
        (0.25, 0.75, True),
        (0.25, 0.76, False),
        (0.01, 0.15, True),
        (0.01, 0.16, False),
        (None, 9.0, True),
        (0.25, None, True),
    ],
    ids=["three times", "more", "three times what is noticed", "more", "unknown before", "unknown now"],
)
def test_a_version_may_be_three_times_slower_than_before(
    before: float | None, now: float | None, ready: bool
) -> None:
    found = not_ready(canary(SURE, seconds=before), [Answer(1, seconds=now)])
    assert (found is None) == ready
    assert ready or found == f"a text takes {now:.2f} s, and took {before:.2f} s before"


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], None), ([None], None), ([3.0, None, 1.0], 2.0), ([5.0, 1.0, 2.0], 2.0)],
)
def test_the_time_of_a_text_is_the_median_of_those_that_were_answered(
    times: list[float | None], expected: float | None
) -> None:
    assert median_seconds([Answer(seconds=each) for each in times]) == expected


# --- what is believed when

OLD, NEW = Version("v20250101_000000", "a" * 40), Version("v20250201_000000", "b" * 40)
RELEASE = Release("v20250201_000000", NEW.revision, OLD.revision, "")
RIGHT, WRONG, SILENT = Answer(1), Answer(0), Answer(error="status 503")
# A stage; the version that is served, or what the Space waits for; its answer.
Look = tuple[str, Version | str | None, Answer]
FINE = ("RUNNING", "RUNNING_BUILDING", "APP_STARTING", "unknown")


@dataclass
class Space:
    """A Space that shows one look after the other, and the last one for ever."""

    looks: list[Look]
    refusals: list[NotTriedError] = field(default_factory=list)
    restarts: int = 0
    taken: int = 0
    asked: int = 0
    states: list[str] = field(default_factory=list)

    @property
    def now(self) -> Look:
        return self.looks[min(self.taken, len(self.looks)) - 1]

    def service(self) -> InferenceSpace:
        def restart() -> None:
            self.restarts += 1
            if self.refusals:
                raise self.refusals.pop(0)

        def state() -> SpaceState:
            self.taken += 1
            stage = self.now[0]
            return SpaceState(
                stage,
                remedy="" if stage in FINE else "Mend it.",
                broken=stage == "RUNTIME_ERROR",
                unknown=stage == "unknown",
            )

        def ask(texts: Sequence[str]) -> list[Answer]:
            self.asked += 1
            return [self.now[2] for _ in texts]

        def served() -> Served:
            said = self.now[1]
            return Served(None, said) if isinstance(said, str) else Served(said)

        return InferenceSpace("city/inference", restart, state, served, ask)


def rolled_out(
    looks: list[Look], minutes: float, expected: Canary, refusals: Sequence[NotTriedError] = ()
) -> tuple[Space, str]:
    """The Space afterwards, and the error; all of them wait at the same time, a second between two looks."""
    space = Space(looks, [*refusals])
    try:
        roll_out(space.service(), RELEASE, expected, timeout_minutes=minutes, on_state=space.states.append)
    except NotTriedError as error:
        return space, f"not tried: {error}"
    except RolloutError as error:
        return space, str(error)
    return space, ""


SERVED, BROKEN = ("RUNNING", NEW, RIGHT), ("RUNTIME_ERROR", None, SILENT)
AS_BEFORE, WRONGLY = ("RUNNING", OLD, RIGHT), ("RUNNING", NEW, WRONG)
NEVER = "city/inference does not serve v20250201_000000 (last seen: "
NOT_TRIED = "not tried: city/inference could not load v20250201_000000 (last seen: "
# Looks, minutes; how many looks were taken, and what was said in the end.
ROLLOUTS: dict[str, tuple[list[Look], float, int, str]] = {
    "the released revision with right answers is proof": ([SERVED], 1, 1, ""),
    "another revision is not, whatever it answers": ([AS_BEFORE, AS_BEFORE, SERVED], 1, 3, ""),
    "an unknown revision is, if it runs and answers": ([("RUNNING", None, RIGHT)], 1, 1, ""),
    "an unknown revision that does not run is not": (
        [("APP_STARTING", None, RIGHT), ("RUNNING", None, RIGHT)],
        1,
        2,
        "",
    ),
    "the released revision is proof in any stage": ([("RUNNING_BUILDING", NEW, RIGHT)], 1, 1, ""),
    "a broken stage is believed at its fifth look": (
        [AS_BEFORE, BROKEN],
        1,
        6,
        NEVER + "stage RUNTIME_ERROR).",
    ),
    "a broken stage of before the restart is not believed yet": ([BROKEN] * 6 + [SERVED], 1, 7, ""),
    "a broken stage that passes is forgotten": (
        [AS_BEFORE, *[BROKEN] * 4, AS_BEFORE, BROKEN, SERVED],
        1,
        8,
        "",
    ),
    "wrong answers of the version itself are believed at their fifth look": (
        [WRONGLY],
        1,
        5,
        NEVER + "stage RUNNING, serving v20250201_000000, but test text 0 "
        "gets another label than the model gave here).",
    ),
    "wrong answers of who knows what may be those of the old version": (
        [("RUNNING", None, WRONG)] * 6 + [("RUNNING", None, RIGHT)],
        1,
        7,
        "",
    ),
    "answers that are still missing are waited for": ([("RUNNING", NEW, SILENT)] * 6 + [SERVED], 1, 7, ""),
    "a rollout ends after its minutes": (
        [AS_BEFORE],
        0.01,
        1,
        NEVER + "stage RUNNING, serving v20250101_000000).",
    ),
    "a Space that somebody paused has not tried the version": (
        [AS_BEFORE, ("PAUSED", None, SILENT)],
        1,
        6,
        NOT_TRIED + "stage PAUSED).",
    ),
    "a Space that can't be built has not tried it": (
        [AS_BEFORE, ("BUILD_ERROR", None, SILENT)],
        1,
        6,
        NOT_TRIED + "stage BUILD_ERROR).",
    ),
    "a Space that waits for the Hub has not tried it": (
        [("RUNNING", "the Hub can't be reached", SILENT)],
        0.01,
        1,
        NOT_TRIED + "stage RUNNING, waiting: the Hub can't be reached, but 1 of 1 test texts are not "
        "answered: status 503).",
    ),
    "a Space that waited for the Hub and came up serves it": (
        [("RUNNING", "the Hub can't be reached", SILENT)] * 6 + [SERVED],
        1,
        7,
        "",
    ),
    "an API that does not take our token says nothing of the version": (
        [("RUNNING", NEW, Answer(error="status 401"))],
        0.01,
        1,
        NOT_TRIED + "stage RUNNING, serving v20250201_000000, but 1 of 1 test texts are not answered: "
        "status 401).",
    ),
    "a Space that waited for the Hub most of the time has not tried it": (
        [("RUNNING", "the Hub is away", SILENT)] * 3 + [("APP_STARTING", None, SILENT)],
        4 / 60,
        4,
        NOT_TRIED + "stage APP_STARTING).",
    ),
    "a Space of which the Hub says nothing has not tried it": (
        [("unknown", None, SILENT)],
        0.01,
        1,
        NOT_TRIED + "stage unknown).",
    ),
    "a revision without a tag is told by its beginning": (
        [("RUNNING", Version(None, "c" * 40), RIGHT)],
        0.01,
        1,
        NEVER + "stage RUNNING, serving cccccccccccc).",
    ),
}


@pytest.fixture(scope="module")
def rollouts() -> Iterator[dict[str, Future[tuple[Space, str]]]]:
    with ThreadPoolExecutor(len(ROLLOUTS)) as pool:
        yield {
            name: pool.submit(rolled_out, looks, minutes, canary(SURE))
            for name, (looks, minutes, _, _) in ROLLOUTS.items()
        }


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_rollout_ends_as_its_looks_say(name: str, rollouts: dict[str, Future[tuple[Space, str]]]) -> None:
    _, _, looks, said = ROLLOUTS[name]
    space, error = rollouts[name].result()
    assert (space.restarts, space.taken, error) == (1, looks, said)


def test_a_restart_that_is_refused_for_a_while_is_tried_again() -> None:
    refusals = [NotTriedError(f"status {status}", transient=True) for status in (500, 503, 503)]
    space, error = rolled_out([SERVED], 1, canary(SURE), refusals)
    assert (space.restarts, error) == (4, "")
    assert space.states[:2] == ["not restarted yet: status 500", "not restarted yet: status 503"]


@pytest.mark.parametrize(("transient", "minutes"), [(False, 1.0), (True, 0.0)], ids=["for good", "too long"])
def test_a_restart_that_is_refused_is_no_fault_of_the_version(transient: bool, minutes: float) -> None:
    refusals = [NotTriedError("status 403", transient=transient)]
    space, error = rolled_out([SERVED], minutes, canary(SURE), refusals)
    assert (space.restarts, space.taken, error) == (1, 0, "not tried: status 403")


def test_a_state_is_told_when_it_changes(rollouts: dict[str, Future[tuple[Space, str]]]) -> None:
    space, _ = rollouts["another revision is not, whatever it answers"].result()
    assert space.states == [
        "stage RUNNING, serving v20250101_000000",
        "stage RUNNING, serving v20250201_000000, answering as it should",
    ]
    assert space.asked == 1


def test_where_no_scores_are_known_any_answer_will_do() -> None:
    space, error = rolled_out([("RUNNING", NEW, WRONG)], 1, ANY_ANSWER)
    assert (space.taken, error) == (1, "")
