"""What the world may see of a run, from its events."""

from typing import Any

import pytest

from retrain.events import (
    Alive,
    Archived,
    Ended,
    Entry,
    Environment,
    Inputs,
    PauseFailed,
    Progress,
    Stage,
    Started,
    Validation,
    Warned,
)
from retrain.journal import Journal
from retrain.lifecycle.run_status import run_status
from retrain.records import OUTCOMES, Verdict


def test_the_time_left_is_reckoned_from_this_run_only(journal: Journal) -> None:
    """Not from points that a run which goes on from a checkpoint repeats, nor from an earlier count."""
    times = ("00:00:00", "00:00:00", "00:00:01", "00:00:11", "00:00:21")
    done = ((500, True), (1, False), (501, False), (502, False), (503, False))
    events = [
        Entry(f"2026-01-01T{time}+00:00", Progress("train", n, 600, again=again))
        for time, (n, again) in zip(times, done, strict=True)
    ]
    (bar,) = run_status([events[0], *events[2:]])["bars"]
    assert bar["seconds_left"] == pytest.approx(970)
    assert run_status(events[1:])["bars"][0]["done"] == 503


def at(second: int, event: Any) -> Entry:
    return Entry(f"2026-01-01T00:{second // 60:02}:{second % 60:02}.000+00:00", event)


def progress(second: int, done: int, stage: str = "train", **fields: Any) -> Entry:
    return at(second, Progress(stage, done, 100, **fields))


# --- progress


def test_progress_is_that_of_the_last_step_and_its_speed() -> None:
    events = [at(0, Stage("train")), *(progress(10 * n, n) for n in range(1, 6))]
    assert run_status(events)["bars"] == [
        {"stage": "train", "done": 5, "total": 100, "share": 0.05, "seconds_left": 950.0}
    ]


def test_of_a_single_step_no_speed_is_known() -> None:
    assert run_status([progress(1, 1)])["bars"][0]["seconds_left"] is None


@pytest.mark.parametrize(
    "after",
    [at(60, Stage("evaluate")), at(60, Ended("failed"))],
    ids=["the next stage", "the end"],
)
def test_progress_is_over_with_its_stage_and_with_the_run(after: Entry) -> None:
    events = [at(0, Stage("train")), progress(10, 1), progress(20, 2)]
    assert run_status(events)["bars"]
    assert run_status([*events, after])["bars"] == []


def test_progress_without_a_number_is_none() -> None:
    assert run_status([at(1, Progress("roll out", state="stage BUILDING"))])["bars"] == []


def test_speed_is_that_of_the_same_count_upwards() -> None:
    before = [progress(2, 7), progress(3, 8)]
    events = [*before, progress(10, 1), progress(20, 2), progress(40, 3)]
    assert run_status(events)["bars"][0]["seconds_left"] == pytest.approx(15 * 97)


def test_a_validation_stands_beside_the_training_and_leaves_when_it_is_done() -> None:
    events = [at(0, Stage("train")), progress(10, 10), progress(20, 20), progress(25, 40, stage="validate")]
    bars = run_status(events)["bars"]
    assert [(bar["stage"], bar["done"]) for bar in bars] == [("train", 20), ("validate", 40)]
    events += [progress(30, 100, stage="validate"), progress(40, 30)]
    assert [bar["stage"] for bar in run_status(events)["bars"]] == ["train"]


# --- stages, curves and the log


def test_a_stage_lasts_until_the_next_and_the_last_one_until_the_end() -> None:
    events = [at(0, Stage("load data")), at(10, Stage("train"))]
    assert [stage["seconds"] for stage in run_status(events)["stages"]] == [10.0, None]
    ended = [*events, at(75, Ended("failed"))]
    assert [stage["seconds"] for stage in run_status(ended)["stages"]] == [10.0, 65.0]


def test_stages_that_are_planned_are_listed_from_the_start_and_say_if_they_were_not_needed() -> None:
    planned = ("load data", "train", "compare", "release")
    events = [at(0, Started("x", planned=planned)), at(1, Stage("load data")), at(2, Stage("train"))]
    shown = [(stage["name"], stage["state"]) for stage in run_status(events)["stages"]]
    assert shown == [("load data", "done"), ("train", "now"), ("compare", "ahead"), ("release", "ahead")]
    ended = [*events, at(3, Stage("compare")), at(4, Ended("rejected"))]
    assert [stage["state"] for stage in run_status(ended)["stages"]] == ["done", "done", "done", "skipped"]


def test_an_outcome_stands_in_the_log_once() -> None:
    log = run_status([at(1, Verdict("accepted", ())), at(2, Ended("accepted"))])["log"]
    assert log == ["00:00:01  decided: accepted", "00:00:02  ended"]
    assert run_status([at(2, Ended("failed"))])["log"] == ["00:00:02  ended: failed"]


@pytest.mark.parametrize(("points", "every"), [(1, 1), (200, 1), (201, 2), (400, 2), (401, 3), (1000, 5)])
def test_a_curve_has_at_most_two_hundred_points_and_ends_where_it_ends(points: int, every: int) -> None:
    events = [progress(n, n, loss=1 / n) for n in range(1, points + 1)]
    loss = run_status(events)["curves"]["loss"]
    assert len(loss) == -(-points // every) <= 200
    assert tuple(loss[-1]) == (points, 1 / points)
    assert [done for done, _ in loss] == sorted({done for done, _ in loss})


def test_both_curves_are_shown() -> None:
    events = [
        progress(1, 1, loss=0.5),
        at(2, Validation(2, 9, 0.7, 0.4)),
        progress(3, 3),
    ]
    curves = run_status(events)["curves"]
    assert [tuple(point) for point in curves["loss"]] == [(1, 0.5)]
    assert [tuple(point) for point in curves["f1_macro"]] == [(2, 0.7)]


def test_the_log_shows_the_last_twelve_events_that_have_words_for_all() -> None:
    shown = run_status([at(n, Stage(f"stage {n}")) for n in range(13)])["log"]
    assert shown == [f"00:00:{n:02}  stage {n}" for n in range(1, 13)]
    assert run_status([at(1, Inputs({"SEED": 1})), at(2, Alive()), progress(3, 1)])["log"] == []
    assert run_status([at(3, Warned("look"))])["log"] == ["00:00:03  warning: look"]


# --- what is known


def test_a_run_that_hardly_began_knows_nothing() -> None:
    status = run_status([])
    assert (status["outcome"], status["headline"]) == (None, "The run is under way.")
    assert status["stages"] == status["warnings"] == status["log"] == status["bars"] == []
    assert status["reasons"] == []
    for name in ("label", "scores", "verdict", "dataset", "release", "pause_failed"):
        assert status[name] is None


def test_the_end_of_a_run_is_shown_with_what_to_do() -> None:
    events = [
        at(0, Started("x", "urgency", {})),
        at(1, Warned("look")),
        at(2, Ended("rolled_back", ("why", "and why"))),
        at(3, Archived("http://hub/runs")),
        at(4, PauseFailed("city/retrain", "x")),
    ]
    status = run_status(events)
    assert (status["label"], status["outcome"]) == ("urgency", "rolled_back")
    assert status["headline"] == OUTCOMES["rolled_back"].meaning
    assert status["what_to_do"] == OUTCOMES["rolled_back"].what_to_do
    assert (list(status["reasons"]), status["warnings"]) == (["why", "and why"], ["look"])
    assert status["pause_failed"] == "city/retrain"
    assert status["record_url"] == "http://hub/runs"
    assert (status["started_at"], status["finished_at"]) == (events[0].time, events[2].time)


def test_neither_settings_nor_inputs_are_shown_to_the_world() -> None:
    events = [
        at(0, Started("/secret/place", "urgency", {"HUB_MODEL_ID": "city/model"})),
        at(1, Inputs({"HUB_MODEL_ID": "city/model"})),
        at(1, Environment({"python": "3.11"})),
    ]
    assert not [word for word in ("city/model", "/secret", "3.11") if word in str(run_status(events))]
