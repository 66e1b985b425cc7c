"""What is due for a label set: a pure function of what was found. Knows no Hub, no database and no clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Step = Literal["prepare", "retrain"]
PREPARE: Step = "prepare"
RETRAIN: Step = "retrain"
# How long a note that a Space is about to be started keeps others from starting it: its writer may be dead.
LEASE = timedelta(minutes=5)


@dataclass(frozen=True)
class Request:
    """One turn of the wheel: what was asked for, and how far it is. Times are in UTC.

    step: "prepare" or "retrain"; at: when the step was noted; holder: who noted it; started: its Space was
    restarted. watermark: the newest correction that the version must hold; before: the data set's commit when
    it was asked for; version: the commit that the retraining is about; result: how it ended.
    """

    id: str
    reason: str
    asked_at: datetime
    step: str
    at: datetime
    holder: str
    started: bool = False
    watermark: datetime | None = None
    before: str | None = None
    version: str | None = None
    result: str | None = None

    @property
    def is_open(self) -> bool:
        return self.result is None


@dataclass(frozen=True)
class Facts:
    """What was found for a label set.

    waiting: reviewed corrections that no version of the data set holds, and newest: when the last of them
    was reviewed; neither is looked for while a request is open. version, tag: the data set's head;
    holds_until: up to when it holds corrections; model_at: when the newest model was released; tried: the
    commit of the data set that the last finished run was about; preparing, retraining: the Space is at work;
    ended: how the retraining that was asked for ended; last: the newest request.
    """

    waiting: int
    newest: datetime | None
    version: str | None
    tag: str | None
    holds_until: datetime | None
    model_at: datetime | None
    tried: str | None
    preparing: bool
    retraining: bool
    ended: str | None = None
    last: Request | None = None


@dataclass(frozen=True)
class Rules:
    """When something is due."""

    min_corrections: int = 50
    max_model_age: timedelta = timedelta(days=30)
    cool_down: timedelta = timedelta(hours=6)
    prepare_timeout: timedelta = timedelta(hours=2)
    retrain_timeout: timedelta = timedelta(hours=13)


@dataclass(frozen=True)
class Decision:
    """What to do now, and why; result: how a request ends with it."""

    action: Literal["prepare", "retrain", "wait", "end", "nothing"]
    reason: str
    failed: bool = False


def decide(facts: Facts, rules: Rules, now: datetime, holder: str) -> Decision:
    """What is due for a label set now, for whoever asks as `holder`."""
    if facts.last and facts.last.is_open:
        step = _preparation if facts.last.step == PREPARE else _retraining
        return step(facts, facts.last, rules, now, holder)
    return _due(facts, rules, now)


def _preparation(facts: Facts, request: Request, rules: Rules, now: datetime, holder: str) -> Decision:
    if facts.version != request.before and _holds(facts, request):
        return Decision("retrain", f"{facts.tag or facts.version} holds the corrections that were asked for.")
    if facts.preparing:
        if now - request.at > rules.prepare_timeout:
            minutes = rules.prepare_timeout.total_seconds() / 60
            return Decision("end", f"The preparation took longer than {minutes:.0f} minutes.", failed=True)
        return Decision("wait", "The preparation is under way.")
    if request.started:
        return Decision(
            "end",
            "The preparation ended without a version that holds the corrections: its log says why.",
            failed=True,
        )
    return _start_again(PREPARE, request, now, holder)


def _retraining(facts: Facts, request: Request, rules: Rules, now: datetime, holder: str) -> Decision:
    if facts.ended is not None:
        return Decision("end", f"The retraining ended: {facts.ended}.")
    if facts.retraining:
        if now - request.at > rules.retrain_timeout:
            hours = rules.retrain_timeout.total_seconds() / 3600
            return Decision("end", f"The retraining took longer than {hours:g} hours.", failed=True)
        return Decision("wait", "The retraining is under way.")
    if request.started:
        return Decision(
            "end", "The retraining ended and kept no record on the Hub: its log says why.", failed=True
        )
    return _start_again(RETRAIN, request, now, holder)


def _start_again(
    step: Literal["prepare", "retrain"], request: Request, now: datetime, holder: str
) -> Decision:
    """A step that was noted and not started: its writer is about to start it, or was killed before."""
    if request.holder != holder and abs(now - request.at) < LEASE:  # a clock may have jumped
        return Decision("wait", f"{request.holder} is starting it.")
    return Decision(step, "It was noted and not started: whoever did so was cut off.")


def _due(facts: Facts, rules: Rules, now: datetime) -> Decision:
    if facts.preparing or facts.retraining:
        what = "preparation" if facts.preparing else "retraining"
        return Decision("nothing", f"A {what} that somebody else has started is under way.")
    last = facts.last
    if last and timedelta(0) <= now - last.at < rules.cool_down:
        rest = rules.cool_down - (now - last.at)
        return Decision(
            "nothing", f"The last turn ended lately: not before {rest.total_seconds() / 60:.0f} minutes."
        )
    waiting = f"{facts.waiting} of {rules.min_corrections} reviewed corrections are waiting"
    if facts.waiting >= rules.min_corrections:
        return Decision("prepare", f"{waiting}.")
    age = now - facts.model_at if facts.model_at else None
    if facts.waiting and age is not None and age >= rules.max_model_age:
        return Decision("prepare", f"The model is {age.days} days old, and {waiting}.")
    if facts.version is not None and facts.version != facts.tried:
        return Decision("retrain", f"No run has come to a verdict on {facts.tag or facts.version[:12]} yet.")
    old = f", and the model is {age.days} days old" if age is not None else ""
    return Decision("nothing", f"{waiting}{old}.")


def _holds(facts: Facts, request: Request) -> bool:
    """Whether the version has what was asked for, whoever made it."""
    if request.watermark is None:
        return True
    return facts.holds_until is not None and facts.holds_until >= request.watermark
