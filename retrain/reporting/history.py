"""What many runs show together: pure functions of their records, oldest first.

An unchanged run counts in none of the health indicators.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from retrain.records import FINISHED, Health, Version, time_of_tag
from retrain.run_record import RunRecord

# A run is worse than usual if its macro F1 is so far below the median of so many before it.
F1_DROP, RUNS_COMPARED = 0.02, 5


def last_finished(runs: Sequence[RunRecord]) -> RunRecord | None:
    """The newest run that came to a verdict."""
    return next((run for run in reversed(runs) if run.outcome in FINISHED), None)


def health(runs: Sequence[RunRecord], served: Sequence[tuple[str, str]] = ()) -> Health:
    """The health indicators; served: see those_that_served."""
    tried = [run for run in runs if run.outcome != "unchanged"]
    finished = [run for run in tried if run.outcome in FINISHED]
    accepted = [run for run in finished if run.outcome == "accepted"]
    minutes = [took for run in finished if (took := training_minutes(run)) is not None]
    return Health(
        runs=len(tried),
        success_rate=len(finished) / len(tried) if tried else None,
        acceptance_rate=len(accepted) / len(finished) if finished else None,
        training_minutes=median(minutes) if minutes else None,
        f1_macro=tuple((str(run.started_at), f1) for run in tried if (f1 := f1_macro_of(run)) is not None),
        in_production=tuple(served),
    )


def those_that_served(versions: Sequence[tuple[Version, Mapping[str, Any]]]) -> tuple[tuple[str, str], ...]:
    """(time, version) of the versions that came into service, oldest first: also what people rolled back to.

    versions: with their metadata.json, newest first.
    """
    return tuple(
        (
            time_of_tag(version.tag).isoformat(),
            f"{version.tag} ({origin})" if (origin := _origin(metadata)) else version.tag,
        )
        for version, metadata in reversed(versions)
        if version.tag and version.verified
    )


def _origin(metadata: Mapping[str, Any]) -> str:
    return f"{metadata['restored_from']} again" if "restored_from" in metadata else ""


def training_minutes(run: RunRecord) -> float | None:
    """How long the stage "train" took."""
    began = {stage.name: stage.started_at for stage in run.stages}
    try:
        train, evaluate = (datetime.fromisoformat(began[name]) for name in ("train", "evaluate"))
        return (evaluate - train).total_seconds() / 60
    except (KeyError, ValueError, TypeError):  # it did not get as far, or somebody else wrote the record
        return None


def f1_macro_of(run: RunRecord) -> float | None:
    """The run's macro F1 on the test set, if it got as far."""
    return run.test_scores.f1_macro if run.test_scores else None


def f1_alarm(f1_macro: float, runs: Sequence[RunRecord]) -> str | None:
    """Why a run's F1 should worry people, given the runs before it; None if it need not."""
    before = [f1 for run in runs if (f1 := f1_macro_of(run)) is not None][-RUNS_COMPARED:]
    if len(before) < RUNS_COMPARED or f1_macro >= median(before) - F1_DROP:
        return None
    return (
        f"The new model's macro F1 on the test set is {f1_macro:.4f}, more than {F1_DROP * 100:.0f} points "
        f"below the median of the last {RUNS_COMPARED} runs ({median(before):.4f}). Look at what changed in "
        "the data set and in the settings."
    )


def history_lines(
    runs: Sequence[RunRecord], served: Sequence[tuple[str, str]] = (), now: str | None = None
) -> Iterator[str]:
    """A table of the runs, newest first, the indicators, and the versions that served.

    served: see those_that_served; now: the tag of the one that serves, if that is known.
    """
    yield f"{'run':38} {'outcome':13} {'macro F1':>9} {'gain':>8} {'training':>9}  version"
    for run in reversed(runs):
        f1, took = f1_macro_of(run), training_minutes(run)
        delta = run.verdict.delta if run.verdict else None
        version = run.release.version_tag if run.release else ""
        yield (
            f"{Path(str(run.folder)).name:38} {run.outcome:13} "
            f"{'' if f1 is None else f'{f1:.4f}':>9} {'' if delta is None else f'{delta:+.4f}':>8} "
            f"{'' if took is None else f'{took:.1f} min':>9}  {version}"
        ).rstrip()
    known = health(runs)
    if known.success_rate is not None:
        yield f"success rate: {known.success_rate:.0%}"
    if known.acceptance_rate is not None:
        yield f"acceptance rate: {known.acceptance_rate:.0%}"
    if known.training_minutes is not None:
        yield f"training time, median: {known.training_minutes:.1f} min"
    for since, version in served:
        is_now = now is not None and version.split()[0] == now
        yield f"in production since {since[:16].replace('T', ' ')}: {version}{', now' if is_now else ''}"
