"""Turns of the wheel against a Hub: what is started, once, whatever happens in between."""

from datetime import timedelta

import pytest

from retrain.errors import RetrainError
from retrain.hub.ledger import LedgerMovedError
from retrain.orchestrator.decision import LEASE
from retrain.orchestrator.turns import run_until_done, table
from tests.unit.orchestrator.conftest import HOUR, NOW, PREPARE, RETRAIN, Town

MINUTE = timedelta(minutes=1)


def test_corrections_become_a_version_and_that_version_a_run(town: Town) -> None:
    wheel = town.wheel()
    assert wheel.turn(NOW).action == "nothing"
    town.corrections = [NOW - 2 * HOUR, NOW - HOUR]
    assert wheel.turn(NOW).action == "prepare"
    assert wheel.turn(NOW + MINUTE).action == "wait"
    version = town.make_version(NOW - HOUR)
    town.api.pause_space(PREPARE)
    assert wheel.turn(NOW + 2 * MINUTE).action == "retrain"
    assert wheel.turn(NOW + 3 * MINUTE).action == "wait"
    town.end_run("rejected", version, NOW + 3 * MINUTE)
    ended = wheel.turn(NOW + 2 * HOUR)
    assert (ended.action, ended.reason) == ("end", "The retraining ended: rejected.")
    assert (town.restarts(PREPARE), town.restarts(RETRAIN)) == (1, 1)
    (request,) = town.requests()
    assert (request.result, request.version) == ("The retraining ended: rejected.", version)
    assert "2 of 2 reviewed corrections are waiting" in list(table(wheel.ledger.read()))[1]
    assert wheel.turn(NOW + 20 * HOUR).action == "nothing"


def test_corrections_are_not_counted_while_a_request_is_open(town: Town) -> None:
    town.corrections = [NOW - HOUR] * 2
    assert town.wheel().turn(NOW).action == "prepare"
    before = town.counted
    assert before > 0
    assert town.wheel().turn(NOW + MINUTE).action == "wait"
    assert town.counted == before


def test_a_run_is_recognised_though_the_clock_of_its_space_is_behind(town: Town) -> None:
    version = town.make_version(NOW - HOUR)
    assert town.wheel().turn(NOW).action == "retrain"
    town.end_run("accepted", version, NOW - 2 * MINUTE)
    assert town.wheel().turn(NOW + HOUR).reason == "The retraining ended: accepted."


def test_a_dry_run_changes_nothing(town: Town) -> None:
    town.corrections = [NOW - HOUR] * 2
    assert town.wheel().turn(NOW, dry_run=True).action == "prepare"
    assert town.requests() == []
    assert town.restarts(PREPARE) == 0


def test_a_version_that_somebody_else_makes_meanwhile_is_not_taken_for_it(town: Town) -> None:
    town.corrections = [NOW - 2 * HOUR, NOW - HOUR]
    town.wheel().turn(NOW)
    town.make_version(NOW - 2 * HOUR)
    assert town.wheel().turn(NOW + MINUTE).action == "wait"
    town.api.pause_space(PREPARE)
    ended = town.wheel().turn(NOW + 2 * MINUTE)
    assert (ended.action, ended.failed) == ("end", True)
    assert town.restarts(RETRAIN) == 0


# Each step of a turn: what the Hub refuses there, so that the program ends as if it was killed.
CUTS = {
    "before it is noted": ({"path": "/commit/runs", "drop": True, "times": None}, 0),
    "noted, and the answer lost": ({"path": "/commit/runs", "lose_answer": True, "times": None}, 0),
    "noted, before the restart": ({"path": "/restart", "status": 403, "times": None}, 0),
    "restarted, before that is noted": ({"path": "/commit/runs", "drop": True, "times": None, "skip": 1}, 1),
}


@pytest.mark.parametrize(("fault", "restarts"), CUTS.values(), ids=CUTS)
def test_a_turn_that_is_cut_off_is_taken_up_by_the_next_and_starts_a_space_once(
    town: Town, fault: dict[str, object], restarts: int
) -> None:
    town.corrections = [NOW - 2 * HOUR, NOW - HOUR]
    town.hub.faults.add(**fault)
    with pytest.raises(RetrainError):
        town.wheel("first").turn(NOW)
    town.hub.faults.clear()
    assert town.restarts(PREPARE) == restarts
    decision = town.wheel("second").turn(NOW + LEASE + MINUTE)
    assert decision.action == ("wait" if restarts else "prepare")
    assert town.restarts(PREPARE) == 1
    version = town.make_version(NOW - HOUR)
    town.api.pause_space(PREPARE)
    assert town.wheel("third").turn(NOW + 20 * MINUTE).action == "retrain"
    assert len(town.requests()) == 1
    assert town.requests()[0].version == version


def test_of_two_at_once_one_starts_the_space_and_the_other_waits(town: Town) -> None:
    town.corrections = [NOW - 2 * HOUR, NOW - HOUR]
    first, second = town.wheel("first"), town.wheel("second")
    _, entries = second.gather()
    assert first.turn(NOW).action == "prepare"
    with pytest.raises(LedgerMovedError):
        second.ledger.write(entries, "from what was read before")
    assert second.turn(NOW).action == "wait"
    assert town.restarts(PREPARE) == 1


def test_a_label_set_that_fails_does_not_keep_another_from_its_turn(town: Town) -> None:
    said: list[str] = []
    well, broken = town.wheel(), town.wheel()
    broken.config = broken.config.model_copy(update={"label": "department"})

    def refuse(label: str, since: object) -> None:
        raise RetrainError("The database is away.")

    broken.count = refuse  # type: ignore[assignment]
    assert not run_until_done([broken, well], said.append, pause_seconds=0.01)
    assert said[0] == "department: The database is away."
    assert said[1].startswith("urgency: nothing: 0 of 2 reviewed corrections are waiting")
