"""Brings a released version into service and proves it: restart, the new revision, the right answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from retrain.errors import NotTriedError, RolloutError
from retrain.records import Answer, Release
from retrain.release.inference_space import InferenceSpace

SECONDS_BETWEEN_LOOKS = 1.0
# Hardware and precision differ between the Space that trained and the one that serves.
SCORE_TOLERANCE = 1e-2
SLOWER_AT_MOST = 3.0
NOTICEABLE_SECONDS = 0.05  # below it a latency is noise
# Looks in a row at something that does not pass by itself, before it is believed.
LOOKS_TO_BELIEVE = 5
# Why no text is answered, where the version can't be the cause.
NO_ACCESS = ("status 401", "status 403", "no connection")
SECONDS_OF_OLD_STAGE = 60.0


@dataclass(frozen=True)
class Canary:
    """Texts, and for each the scores of every class (in id order) that the version in question must give.

    seconds: what a text took before the rollout, if that is known.
    """

    texts: Sequence[str]
    scores: Sequence[Sequence[float] | None]
    seconds: float | None = None


# Without known scores, all that can be asked is that it answers.
ANY_ANSWER = Canary(["नमस्कार"], [None])


def median_seconds(answers: Sequence[Answer]) -> float | None:
    """The median time of a text that was answered."""
    times = [answer.seconds for answer in answers if answer.seconds is not None]
    return median(times) if times else None


def wrong_answer(canary: Canary, answers: Sequence[Answer]) -> str | None:
    """How the answers can't be those of the version in question; None if they can. A pure function."""
    for number, (expected, answer) in enumerate(zip(canary.scores, answers, strict=True)):
        if answer.label is None or expected is None:
            continue
        best, second = sorted(expected, reverse=True)[:2]
        if expected[answer.label] < best and best - second > SCORE_TOLERANCE:
            return f"test text {number} gets another label than the model gave here"
        off = max(abs(a - b) for a, b in zip(answer.scores, expected, strict=True)) if answer.scores else 0.0
        if off > SCORE_TOLERANCE:
            return f"the scores of test text {number} are off by {off:.3f}"
    return None


def not_ready(canary: Canary, answers: Sequence[Answer]) -> str | None:
    """What a version may still lack that has just started: every answer, and in time. A pure function."""
    missing = [answer.error for answer in answers if answer.label is None]
    if missing:
        return f"{len(missing)} of {len(answers)} test texts are not answered: {missing[0]}"
    now = median_seconds(answers)
    if canary.seconds and now and now > SLOWER_AT_MOST * max(canary.seconds, NOTICEABLE_SECONDS):
        return f"a text takes {now:.2f} s, and took {canary.seconds:.2f} s before"
    return None


def is_refused(answers: Sequence[Answer]) -> bool:
    """Whether the API lets us ask at all: a token that it does not take is no fault of the version."""
    return bool(answers) and all(answer.error in NO_ACCESS for answer in answers)


def roll_out(
    space: InferenceSpace,
    release: Release,
    canary: Canary,
    *,
    timeout_minutes: float,
    on_state: Callable[[str], None] = lambda state: None,
) -> None:
    """Restart the Space and wait until it serves the released revision and passes the canary.

    If the Space does not say its revision, its stage and the canary must do. A stage of RUNNING is never
    proof by itself.

    Raises:
        NotTriedError: the Space could not be restarted, does not run, or could not load any version.
        RolloutError: the version breaks the Space, answers wrongly, or did not come up in time.
    """
    patience = timeout_minutes * 60
    _restart(space, patience, on_state)
    began = time.monotonic()
    last, first_stage, looks, tried, in_vain = "", None, 0, 0, 0
    while time.monotonic() < began + patience:
        now, about = space.state(), space.served()
        served = about.version
        first_stage = first_stage or now.stage
        state = f"stage {now}" + (f", serving {served.tag or served.revision[:12]}" if served else "")
        state += f", waiting: {about.waiting_for}" if about.waiting_for else ""
        # Right after a restart the stage may still be that of before.
        is_news = now.stage != first_stage or time.monotonic() > began + SECONDS_OF_OLD_STAGE
        hopeless = bool(now.remedy) and is_news
        could_try = not (about.waiting_for or now.unknown or (now.remedy and not now.broken))
        may_be_it = served.revision == release.revision if served else now.stage == "RUNNING"
        if may_be_it:
            answers = space.ask(canary.texts)
            wrong, lacking = wrong_answer(canary, answers), not_ready(canary, answers)
            if not (wrong or lacking):
                on_state(f"{state}, answering as it should")
                return
            state += f", but {wrong or lacking}"
            could_try = could_try and not is_refused(answers)
            # From the version itself a wrong answer is final; otherwise the old one may still be there.
            hopeless = hopeless or bool(wrong and served)
        if state != last:
            on_state(state)
        last = state
        tried, in_vain = tried + could_try, in_vain + (not could_try)
        looks = looks + 1 if hopeless else 0
        if looks >= LOOKS_TO_BELIEVE:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if in_vain > tried:
        raise NotTriedError(f"{space.space_id} could not load {release.version_tag} (last seen: {last}).")
    raise RolloutError(f"{space.space_id} does not serve {release.version_tag} (last seen: {last}).")


def _restart(space: InferenceSpace, patience: float, on_state: Callable[[str], None]) -> None:
    """Restart the Space; for `patience` seconds again and again, if the Hub's refusal may pass by itself."""
    deadline, said = time.monotonic() + patience, ""
    while True:
        try:
            return space.restart()
        except NotTriedError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
            if str(error) != said:
                on_state(f"not restarted yet: {error}")
            said = str(error)
        time.sleep(SECONDS_BETWEEN_LOOKS)
