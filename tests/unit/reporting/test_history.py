"""What many runs show together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retrain.events import Restored
from retrain.records import Release, Scores, Verdict, Version
from retrain.reporting.history import (
    f1_alarm,
    health,
    history_lines,
    last_finished,
    those_that_served,
    training_minutes,
)
from retrain.run_record import RunRecord, StageBegun

SCORES = Scores(10, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, {}, [])


def a_run(outcome: str, f1_macro: float | None = None) -> RunRecord:
    run = RunRecord(outcome, started_at="2026-01-01", finished_at="2026-01-01")
    return replace(run, test_scores=replace(SCORES, f1_macro=f1_macro)) if f1_macro is not None else run


def test_a_fall_of_f1_below_the_last_five_runs_is_an_alarm() -> None:
    runs = [a_run("rejected", f1) for f1 in (0.5, 0.90, 0.91, 0.92, 0.93, 0.60)] + [a_run("failed")]
    assert f1_alarm(0.8901, runs) is None
    assert "below the median of the last 5 runs (0.9100)" in str(f1_alarm(0.8899, runs))
    assert f1_alarm(0.1, runs[:4]) is None, "four runs are too few to tell"


def test_health_counts_verdicts_and_leaves_unchanged_runs_out() -> None:
    found = health([a_run("accepted"), a_run("rejected"), a_run("failed"), a_run("unchanged")])
    assert (found.runs, found.success_rate, found.acceptance_rate) == (3, pytest.approx(2 / 3), 0.5)
    assert health([]).success_rate is None


# --- runs with what these figures are made of


def run_of(
    day: str, outcome: str, f1_macro: float | None = None, minutes: float | None = None, **known: Any
) -> RunRecord:
    """A run of this day of January 2026 that began at midnight; its training began at one."""
    date = f"2026-01-{day}T"
    stages: tuple[StageBegun, ...] = ()
    if minutes is not None:
        ended = datetime(2026, 1, int(day), 1, tzinfo=UTC) + timedelta(minutes=minutes)
        stages = (
            StageBegun("load data", date + "00:00:00.000+00:00"),
            StageBegun("train", date + "01:00:00.000+00:00"),
            StageBegun("evaluate", ended.isoformat()),
            StageBegun("compare", date + "22:00:00.000+00:00"),
        )
    return replace(
        a_run(outcome, f1_macro),
        folder=f"runs/{day}",
        started_at=date + "00:00:00.000+00:00",
        finished_at=date + "23:00:00.000+00:00",
        stages=stages,
        **known,
    )


def released(tag: str) -> Release:
    return Release(tag, "0" * 40, None, "")


def restored(tag: str) -> Restored:
    return Restored(tag, "0" * 40, None, "")


RUNS = [
    run_of("01", "accepted", 0.80, 30, release=released("v1")),
    run_of("02", "failed", None, 500),
    run_of("03", "rejected", 0.70, 10),
    run_of("04", "unchanged"),
    run_of("05", "rolled_back", 0.90, 600, release=released("v2"), restored=restored("v3")),
    run_of("06", "failed", 0.60, 700, release=released("v4")),
    run_of("07", "accepted", 0.85, 14, release=released("v5")),
    run_of("08", "accepted", 0.86),
    run_of("09", "inconclusive", 0.65),
]


def test_success_and_acceptance_are_shares_of_what_was_tried_and_what_came_to_a_verdict() -> None:
    found = health(RUNS)
    assert found.runs == 8
    assert found.success_rate == pytest.approx(4 / 8)
    assert found.acceptance_rate == pytest.approx(3 / 4)


def test_the_training_time_is_the_median_of_runs_that_came_to_a_verdict() -> None:
    assert health(RUNS).training_minutes == pytest.approx(14)
    assert health(RUNS[:3]).training_minutes == pytest.approx(20)
    assert health([RUNS[1]]).training_minutes is None


@pytest.mark.parametrize(
    ("run", "minutes"),
    [
        (RUNS[0], 30),
        (run_of("01", "failed", None, 0.5), 0.5),
        (RUNS[7], None),
        (RunRecord("failed"), None),
        (replace(RUNS[0], stages=RUNS[0].stages[:2]), None),
        (replace(RUNS[0], stages=RUNS[0].stages[2:]), None),
    ],
    ids=["half an hour", "half a minute", "without stages", "without anything", "cut short", "not trained"],
)
def test_a_training_lasts_from_its_stage_to_the_next(run: RunRecord, minutes: float | None) -> None:
    assert training_minutes(run) == (None if minutes is None else pytest.approx(minutes))


def test_every_score_is_a_point_and_every_version_that_served_has_its_time() -> None:
    found = health(RUNS)
    points = [(when[8:10], f1) for when, f1 in found.f1_macro]
    assert points == [
        ("01", 0.80),
        ("03", 0.70),
        ("05", 0.90),
        ("06", 0.60),
        ("07", 0.85),
        ("08", 0.86),
        ("09", 0.65),
    ]


def test_versions_that_served_are_those_that_came_into_service_with_what_people_went_back_to() -> None:
    versions = [
        (Version("v20260104_000000", "4", verified=True), {"restored_from": "v20260101_000000"}),
        (Version("v20260103_000000", "3", verified=True, given_up=True), {}),
        (Version("v20260102_000000", "2", given_up=True), {}),
        (Version("v20260101_000000", "1", verified=True), {}),
    ]
    assert those_that_served(versions) == (
        ("2026-01-01T00:00:00+00:00", "v20260101_000000"),
        ("2026-01-03T00:00:00+00:00", "v20260103_000000"),
        ("2026-01-04T00:00:00+00:00", "v20260104_000000 (v20260101_000000 again)"),
    )
    lines = list(history_lines([], those_that_served(versions), "v20260104_000000"))
    assert lines[-1] == (
        "in production since 2026-01-04 00:00: v20260104_000000 (v20260101_000000 again), now"
    )
    assert not lines[-2].endswith("now")


def test_where_nothing_was_tried_nothing_is_known() -> None:
    found = health([run_of("01", "unchanged")])
    assert found.runs == 0
    assert found.success_rate is found.acceptance_rate is found.training_minutes is None
    assert health([run_of("01", "failed")]).acceptance_rate is None


def test_the_last_finished_run_is_the_newest_that_came_to_a_verdict() -> None:
    assert last_finished(RUNS[:7]) == RUNS[6]
    assert last_finished(RUNS[:6]) == RUNS[2]
    assert last_finished([RUNS[1]]) is None


@pytest.mark.parametrize(
    ("before", "now", "worries"),
    [
        ([0.9] * 5, 0.8801, False),
        ([0.9] * 5, 0.8799, True),
        ([0.1] * 5 + [0.9] * 5, 0.5, True),
        ([0.9] * 5 + [0.1] * 5, 0.5, False),
        ([0.5, 0.9, 0.9, 0.9, 0.5], 0.87, True),
        ([0.9] * 4, 0.1, False),
    ],
    ids=["within two points", "beyond", "the newest count", "the oldest do not", "median", "too few"],
)
def test_a_score_is_compared_with_the_median_of_the_five_before(
    before: list[float], now: float, worries: bool
) -> None:
    runs = [run_of("01", "rejected", f1) for f1 in before]
    assert (f1_alarm(now, runs) is not None) == worries


def test_an_alarm_says_by_how_much_and_of_what() -> None:
    said = str(f1_alarm(0.5, [run_of("01", "rejected", 0.9)] * 5))
    assert "macro F1 on the test set is 0.5000, more than 2 points below the median" in said
    assert "of the last 5 runs (0.9000)" in said


def test_the_table_has_a_line_for_each_run_the_newest_first_and_the_indicators() -> None:
    better = Verdict("accepted", (), delta=0.0125)
    first, *_ = RUNS
    lines = list(history_lines([replace(first, verdict=better), RUNS[1]]))
    assert [line.split() for line in lines] == [
        ["run", "outcome", "macro", "F1", "gain", "training", "version"],
        ["02", "failed", "500.0", "min"],
        ["01", "accepted", "0.8000", "+0.0125", "30.0", "min", "v1"],
        ["success", "rate:", "50%"],
        ["acceptance", "rate:", "100%"],
        ["training", "time,", "median:", "30.0", "min"],
    ]


@pytest.mark.parametrize("times", [("soon", "later"), ("2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00")])
def test_times_that_somebody_else_wrote_are_left_out(times: tuple[str, str]) -> None:
    stages = tuple(StageBegun(name, at) for name, at in zip(("train", "evaluate"), times, strict=True))
    assert health([replace(a_run("rejected"), stages=stages)]).training_minutes is None
