"""What many runs tell together."""

from dataclasses import replace

import pytest

from retrain.events import RunRecord
from retrain.records import Scores
from retrain.reporting.history import f1_alarm, health

SCORES = Scores(10, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, {}, [])


def a_run(outcome: str, f1_macro: float | None = None) -> RunRecord:
    run = RunRecord(outcome, started_at="2026-01-01", finished_at="2026-01-01")
    return replace(run, test_scores=replace(SCORES, f1_macro=f1_macro)) if f1_macro is not None else run


def test_a_fall_of_f1_below_the_last_five_runs_is_told() -> None:
    runs = [a_run("rejected", f1) for f1 in (0.5, 0.90, 0.91, 0.92, 0.93, 0.60)] + [a_run("failed")]
    assert f1_alarm(0.8901, runs) is None
    assert "below the median of the last 5 runs (0.9100)" in str(f1_alarm(0.8899, runs))
    assert f1_alarm(0.1, runs[:4]) is None, "four runs are too few to tell"


def test_health_counts_verdicts_and_leaves_unchanged_runs_out() -> None:
    told = health([a_run("accepted"), a_run("rejected"), a_run("failed"), a_run("unchanged")])
    assert (told.runs, told.success_rate, told.acceptance_rate) == (3, pytest.approx(2 / 3), 0.5)
    assert health([]).success_rate is None
