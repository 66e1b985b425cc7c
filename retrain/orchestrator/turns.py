"""Turns of the wheel: gathers what is known of a label set, lets `decision` decide, and does it.

Each step is noted on the Hub before it is done, so that it can be killed anywhere, run again, and run twice.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from configs import BaseConfig
from retrain.errors import RetrainError
from retrain.hub.dataset_repo import DatasetRepo
from retrain.hub.ledger import Ledger, LedgerMovedError
from retrain.hub.model_repo import ModelRepo
from retrain.hub.run_archive import RunArchive
from retrain.hub.spaces import AT_WORK, Space
from retrain.orchestrator.decision import LEASE, PREPARE, RETRAIN, Decision, Facts, Request, Rules, decide
from retrain.records import time_of_tag
from retrain.reporting.history import last_finished
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LONGEST_PAUSE = 30.0  # seconds between two looks; the first ones are closer together
FIRST_PAUSE = 2.0

logger = logging.getLogger(__name__)
_REQUEST = TypeAdapter(Request)


@dataclass(frozen=True)
class Waiting:
    """Reviewed corrections that no version holds, and when the newest of them was reviewed (UTC)."""

    count: int
    newest: datetime | None


@dataclass
class Wheel:
    """What turns for one label set. count: counts the corrections that were reviewed after a time."""

    config: BaseConfig
    api: "HfApi"
    prepare_space: str
    count: Callable[[str, datetime | None], Waiting]
    rules: Rules
    holder: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        config, api = self.config, self.api
        assert config.retrain_space_id
        self.spaces = {PREPARE: Space(api, self.prepare_space), RETRAIN: Space(api, config.retrain_space_id)}
        self.dataset = DatasetRepo(api, config.dataset_repo_id)
        self.model = ModelRepo(api, config.hub_model_id)
        self.archive = RunArchive(api, config.hub_model_id)
        self.ledger = Ledger(api, config.hub_model_id)

    def gather(self) -> tuple[Facts, list[dict[str, Any]]]:
        """What is known now, and the ledger as it stands.

        Stages come first: what a Space publishes before it is paused is then seen.
        """
        at_work = {step: space.stage() in AT_WORK for step, space in self.spaces.items()}
        entries = self.ledger.read()
        last = next((found for entry in reversed(entries) if (found := request_of(entry))), None)
        head = self.dataset.head()
        metadata = self.dataset.metadata(head) if head else {}
        holds_until = time_in(metadata.get("watermark"), "corrections")
        # A request under way waits for its own watermark: the source need not be asked at each look.
        is_open = last is not None and last.is_open
        waiting = Waiting(0, None) if is_open else self.count(self.config.label, holds_until)
        runs, newest = self.archive.read(), self.model.newest()
        finished = last_finished(runs)
        tag = metadata.get("version_tag")
        facts = Facts(
            waiting=waiting.count,
            newest=waiting.newest,
            version=head,
            tag=tag if isinstance(tag, str) else None,
            holds_until=holds_until,
            model_at=time_of_tag(str(newest.tag)) if newest else None,
            tried=finished.dataset.revision if finished and finished.dataset else None,
            preparing=at_work[PREPARE],
            retraining=at_work[RETRAIN],
            ended=ended_since(runs, last) if last else None,
            last=last,
        )
        return facts, entries

    def turn(self, now: datetime, *, dry_run: bool = False) -> Decision:
        """Decide, and do it unless it is only asked for; returns what was decided.

        Raises:
            HubError: the Hub refuses; LedgerMovedError: somebody else was first.
        """
        facts, entries = self.gather()
        decision = decide(facts, self.rules, now, self.holder)
        if dry_run or decision.action in ("wait", "nothing"):
            return decision
        if decision.action == "end":
            assert facts.last
            self._note(entries, replace(facts.last, result=decision.reason))
            return decision
        step = PREPARE if decision.action == PREPARE else RETRAIN
        request = self._request(facts, decision, now)
        self._note(entries, request)
        self.spaces[step].restart()
        self._note(self.ledger.read(), replace(request, started=True))
        return decision

    def _request(self, facts: Facts, decision: Decision, now: datetime) -> Request:
        last = facts.last if facts.last and facts.last.is_open else None
        request = last or Request(
            uuid.uuid4().hex[:12],
            decision.reason,
            asked_at=now,
            step=decision.action,
            at=now,
            holder=self.holder,
            watermark=facts.newest if decision.action == PREPARE else None,
            before=facts.version,
        )
        version = facts.version if decision.action == RETRAIN else None
        return replace(
            request, step=decision.action, at=now, holder=self.holder, started=False, version=version
        )

    def _note(self, entries: Sequence[Mapping[str, Any]], request: Request) -> None:
        """Write the state of a request over the one that the ledger holds."""
        others = [dict(entry) for entry in entries if entry.get("id") != request.id]
        state = request.result or f"{request.step}{'' if request.started else ' noted'}"
        self.ledger.write([*others, _REQUEST.dump_python(request, mode="json")], f"{request.id}: {state}")


def run_until_done(
    wheels: Sequence[Wheel],
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
    pause_seconds: float = FIRST_PAUSE,
) -> bool:
    """Turn all wheels, each on its own, until nothing is due; returns whether all went well."""
    turning, well, said, pause = list(wheels), True, dict[str, str](), pause_seconds
    while turning:
        for wheel in list(turning):
            label = wheel.config.label
            try:
                decision = wheel.turn(datetime.now(UTC), dry_run=dry_run)
            except LedgerMovedError:  # look again, with what the other one has noted
                continue
            except RetrainError as error:
                say(f"{label}: {error}")
                turning.remove(wheel)
                well = False
                continue
            if (line := f"{label}: {decision.action}: {decision.reason}") != said.get(label):
                say(line)
                said[label], pause = line, pause_seconds
            well = well and not decision.failed
            if dry_run or decision.action in ("nothing", "end"):
                turning.remove(wheel)
        if turning:
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
    return well


def request_of(entry: Mapping[str, Any]) -> Request | None:
    """A request from the ledger; None if somebody else wrote it."""
    try:
        return _REQUEST.validate_python(entry)
    except ValidationError:
        return None


def ended_since(runs: Sequence[RunRecord], request: Request) -> str | None:
    """The outcome of the run on the version of a request, begun after it; None if there is none.

    The Space has another clock: what began a little before may have begun after.
    """
    if request.step != RETRAIN:
        return None
    for run in reversed(runs):
        began = time_in(vars(run), "started_at")
        if began and began >= request.at - LEASE and run.dataset and run.dataset.revision == request.version:
            return run.outcome
    return None


def time_in(values: Any, name: str) -> datetime | None:
    """A time among JSON values, in UTC; None if there is none."""
    try:
        found = datetime.fromisoformat(values[name])
    except (KeyError, TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The requests of a ledger as lines, newest first."""
    yield f"{'asked (UTC)':<17} {'request':<13} {'result':<40} why"
    for request in filter(None, map(request_of, reversed(entries))):
        state = request.result or f"{request.step} {'under way' if request.started else 'noted'}"
        yield f"{request.asked_at:%Y-%m-%d %H:%M}  {request.id:<13} {state[:60]:<40} {request.reason}"
