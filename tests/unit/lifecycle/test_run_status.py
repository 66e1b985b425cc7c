"""What the world may see of a run, from its events."""

import pytest

from retrain.events import Entry, Progress
from retrain.journal import Journal
from retrain.lifecycle.run_status import run_status


def test_the_time_left_is_reckoned_from_this_run_alone(journal: Journal) -> None:
    """Not from points that a run which goes on from a checkpoint tells again, nor from an earlier count."""
    times = ("00:00:00", "00:00:00", "00:00:01", "00:00:11", "00:00:21")
    done = ((500, True), (1, False), (501, False), (502, False), (503, False))
    events = [
        Entry(f"2026-01-01T{time}+00:00", Progress("train", n, 600, again=again))
        for time, (n, again) in zip(times, done, strict=True)
    ]
    progress = run_status([events[0], *events[2:]])["progress"]
    assert progress["seconds_left"] == pytest.approx(970)
    assert run_status(events[1:])["progress"]["done"] == 503
