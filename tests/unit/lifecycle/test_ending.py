"""The end of a run: the pause, and the steps before it that must not bar its way."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.events import Archived, Ended, Notified, Paused, PauseFailed, Pausing, Warned
from retrain.hub.spaces import Space
from retrain.journal import Journal
from retrain.lifecycle.ending import Ending, best_effort, pause_or_stay
from retrain.run_record import RunRecord
from tests.conftest import CITY, USERS


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub", USERS) as running:
        HfApi(endpoint=running.url, token=CITY).create_repo(
            "city/retrain", repo_type="space", space_sdk="docker"
        )
        yield running


@pytest.fixture
def space(hub: LocalHub) -> Space:
    return Space(HfApi(endpoint=hub.url, token=CITY), "city/retrain")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "run")


def kept(journal: Journal) -> dict[str, Any]:
    """What run.json holds."""
    return json.loads((journal.folder / "run.json").read_text(encoding="utf-8"))


def events(journal: Journal) -> list[Any]:
    return [entry.event for entry in journal.read()]


def test_a_pause_is_tried_again_until_it_is_done(hub: LocalHub, space: Space, journal: Journal) -> None:
    hub.faults.add(path="/pause", status=403, times=2)
    said: list[int] = []
    pause_or_stay(space, journal, lambda: said.append(1), again_seconds=0.05)
    assert said == [1]
    assert space.stage() == "PAUSED"
    assert journal.record().pause_failed is None


def test_a_pause_is_in_the_record_before_it_can_end_us(hub: LocalHub, space: Space, journal: Journal) -> None:
    held, seen = hub.faults.add(path="/pause", delay=20), []

    def look() -> None:
        held.met.wait(20)
        seen.append((kept(journal), events(journal)))
        held.released.set()

    looking = threading.Thread(target=look)
    looking.start()
    pause_or_stay(space, journal, lambda: None, again_seconds=0.01)
    looking.join(20)
    ((record, events_before),) = seen
    assert record["pausing"] == {"space_id": "city/retrain"}
    assert events_before == [Pausing("city/retrain")]
    assert events(journal) == [Pausing("city/retrain"), Paused("city/retrain")]


def test_a_pause_is_tried_again_as_often_as_it_takes(hub: LocalHub, space: Space, journal: Journal) -> None:
    """Each time it is asked for twice."""
    hub.faults.add(path="/pause", status=403, times=6)
    pause_or_stay(space, journal, lambda: None, again_seconds=0.01)
    assert space.stage() == "PAUSED"
    assert events(journal).count(Pausing("city/retrain")) == 4
    assert "pause_failed" not in kept(journal)


def test_a_pause_that_fails_in_a_way_that_nobody_expects_is_tried_again(
    hub: LocalHub, journal: Journal
) -> None:
    failures = [KeyError("a bug of the client")]

    class Client(HfApi):
        def pause_space(self, *args: Any, **options: Any) -> Any:
            if failures:
                raise failures.pop()
            return super().pause_space(*args, **options)

    space = Space(Client(endpoint=hub.url, token=CITY), "city/retrain")
    pause_or_stay(space, journal, lambda: None, again_seconds=0.01)
    assert space.stage() == "PAUSED"
    (failed,) = [event for event in events(journal) if isinstance(event, PauseFailed)]
    assert "KeyError" in failed.message


def test_an_interrupted_run_leaves_a_space_that_is_being_stopped_and_does_not_stay_up(
    hub: LocalHub, space: Space, journal: Journal
) -> None:
    space.pause()
    pause_or_stay(space, journal, lambda: None, interrupted=True)
    assert list(journal.read()) == []
    space.restart()
    hub.faults.add(path="/runtime", status=403, times=None)
    hub.faults.add(path="/pause", status=403, times=None)
    pause_or_stay(space, journal, lambda: None, interrupted=True, again_seconds=60)
    failed = journal.record().pause_failed
    assert failed is not None
    assert failed.space_id == "city/retrain"


# --- steps that must not bar the way


def test_a_step_that_hangs_is_left_behind_and_named(journal: Journal) -> None:
    released = threading.Event()
    best_effort("The report", lambda: released.wait(20), 0.2, journal)
    assert not released.is_set()
    assert journal.record().warnings == (
        Warned("The report took longer than 0 seconds and was left behind."),
    )
    released.set()


@pytest.mark.parametrize(("error", "said"), [(ValueError("no room"), "no room"), (KeyError(), "KeyError")])
def test_a_step_that_fails_is_a_warning(journal: Journal, error: Exception, said: str) -> None:
    def fail() -> None:
        raise error

    best_effort("The report", fail, 20, journal)
    assert journal.record().warnings == (Warned(f"The report failed: {said}"),)


def test_a_step_that_is_done_is_waited_for_and_says_nothing(journal: Journal) -> None:
    done = []
    best_effort("The report", lambda: done.append(1), 20, journal)
    assert done == [1]
    assert list(journal.read()) == []


# --- the order of it all


class Steps:
    """The steps of an ending, which write down when they are taken and what they are given."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.taken: list[str] = []
        self.sent: list[RunRecord] = []

    def keep(self) -> None:
        self.taken.append("keep")
        self.journal.write(Archived("http://hub/runs"))

    def send(self, record: RunRecord) -> None:
        self.taken.append("send")
        self.sent.append(record)
        self.journal.write(Notified("a service"))

    def say(self, record: RunRecord) -> None:
        self.taken.append("say")
        self.sent.append(record)

    def ending(self, space: Space | None, **changed: Any) -> Ending:
        steps: dict[str, Any] = {
            "keep": {"Keeping": self.keep},
            "send": {"Sending": self.send},
            "say": self.say,
        }
        return Ending(self.journal, space=space, **(steps | changed))


def test_a_run_is_kept_and_sent_before_its_space_is_paused(space: Space, journal: Journal) -> None:
    journal.write(Ended("rejected", ("why",)))
    steps = Steps(journal)
    record = steps.ending(space).finish()
    assert steps.taken == ["keep", "send", "say"]
    assert [(each.told, each.pausing) for each in steps.sent] == [(None, None), (Notified("a service"), None)]
    assert record.pausing == Pausing("city/retrain")
    assert events(journal)[-1] == Paused("city/retrain")
    assert space.stage() == "PAUSED"
    assert kept(journal) == record.as_json()


def test_an_interrupted_run_makes_its_report_last(space: Space, journal: Journal) -> None:
    steps = Steps(journal)
    assert steps.ending(space).finish(interrupted=True).told == Notified("a service")
    assert steps.taken == ["send", "say", "keep"]
    assert kept(journal)["kept"] == {"url": "http://hub/runs"}


def test_a_pause_that_failed_is_sent_once_more(hub: LocalHub, space: Space, journal: Journal) -> None:
    """An interrupted run does not stay up for another try."""
    hub.faults.add(path="/runtime", status=403, times=None)
    hub.faults.add(path="/pause", status=403, times=None)
    steps = Steps(journal)
    record = steps.ending(space).finish(interrupted=True)
    assert steps.taken == ["send", "say", "send", "keep"]
    failed = steps.sent[-1].pause_failed
    assert failed == record.pause_failed
    assert failed is not None


def test_whatever_fails_the_space_is_paused(space: Space, journal: Journal) -> None:
    def fail(*_: object) -> None:
        raise LookupError("a bug")

    ending = Steps(journal).ending(space, keep={"Keeping": fail}, send={"Sending": fail}, say=fail)
    record = ending.finish()
    assert record.warnings == (Warned("Keeping failed: a bug"), Warned("Sending failed: a bug"))
    assert space.stage() == "PAUSED"


def test_without_a_space_a_run_just_ends(journal: Journal) -> None:
    steps = Steps(journal)
    record = steps.ending(None).finish()
    assert (record.pausing, record.pause_failed) == (None, None)
    assert steps.taken == ["keep", "send", "say"]


@pytest.mark.parametrize("damage", ["a folder", "a long number", "deep JSON"])
def test_a_damaged_journal_does_not_keep_the_space_from_its_pause(tmp_path: Path, damage: str) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/retrain", repo_type="space", space_sdk="docker")
        journal = Journal(tmp_path / "run")
        journal.folder.mkdir()
        if damage == "a folder":
            journal.path.mkdir()
        else:
            journal.path.write_text("9" * 5000 if damage == "a long number" else "[" * 100_000)
        Ending(journal, keep={}, send={}, space=Space(api, "city/retrain")).finish()
        assert api.get_space_runtime("city/retrain").stage == "PAUSED"


def test_an_error_while_the_failed_pause_is_sent_does_not_end_the_process(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/retrain", repo_type="space", space_sdk="docker")
        hub.faults.add(path="/pause", status=403, times=2)

        def fail() -> None:
            raise RuntimeError("can't start new thread")

        space = Space(api, "city/retrain")
        pause_or_stay(space, Journal.create(tmp_path / "run"), fail, again_seconds=0.05)
        assert api.get_space_runtime("city/retrain").stage == "PAUSED"
