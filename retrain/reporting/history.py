"""Every run's record on the branch `runs` of the model repository, and what many runs tell together.

By hand, with the job's environment: `python -m retrain.reporting.history`. The health indicators are pure
functions of the records; an unchanged run counts in none of them.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from retrain.errors import RetrainError, hub_errors
from retrain.records import FINISHED

BRANCH = "runs"
RUNS_READ = 50
# A run is worse than usual where its macro F1 is so far below the median of so many before it.
F1_DROP, RUNS_COMPARED = 0.02, 5

Record = Mapping[str, Any]
# What every record of ours has.
NEEDED = {"outcome", "reasons", "started_at", "finished_at", "folder"}


def publish_run(api: HfApi, repo_id: str, folder: Path) -> str:
    """Commit run.json and report.html to the branch; returns where they are to be seen.

    A report with texts goes to a private repository only.

    Raises:
        HubError: the Hub refused it.
    """
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with hub_errors("keep the record of the run in", repo_id):
        open_to_all = not api.model_info(repo_id).private
        with_texts = record.get("settings", {}).get("REPORT_TEXTS", False)
        # Apart, so that many of these do not push what happened out of what is read.
        place = f"unchanged/{folder.name}" if record["outcome"] == "unchanged" else folder.name
        names = ["run.json"] if open_to_all and with_texts else ["run.json", "report.html"]
        operations = [
            CommitOperationAdd(f"{place}/{name}", folder / name) for name in names if (folder / name).exists()
        ]
        if BRANCH not in [branch.name for branch in api.list_repo_refs(repo_id).branches]:
            # From the oldest commit, which holds no weights.
            oldest = api.list_repo_commits(repo_id)[-1].commit_id
            api.create_branch(repo_id, branch=BRANCH, revision=oldest, exist_ok=True)
        title = f"{folder.name}: {record['outcome']}"
        api.create_commit(repo_id, operations, commit_message=title, revision=BRANCH)
    return f"{api.endpoint}/{repo_id}/tree/{BRANCH}/{place}"


def read_runs(api: HfApi, repo_id: str, newest: int = RUNS_READ) -> list[Record]:
    """The records of the newest runs, oldest first; none where none were kept.

    Raises:
        HubError: the Hub refused it.
    """
    with hub_errors("read the earlier runs of", repo_id):
        try:
            files = api.list_repo_files(repo_id, revision=BRANCH)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return []
        wanted = sorted(name for name in files if fnmatch(name, "[0-9]*/run.json"))[-newest:]
        if not wanted:
            return []
        folder = Path(api.snapshot_download(repo_id, revision=BRANCH, allow_patterns=wanted))
    records = (_parsed(folder / name) for name in wanted)
    return [record for record in records if record.keys() >= NEEDED]


def _parsed(file: Path) -> Record:
    """The record in a file; an empty one for what somebody else has put there."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("outcome") else {}


def last_finished(runs: Sequence[Record]) -> Record | None:
    """The newest run that came to a verdict."""
    return next((run for run in reversed(runs) if run["outcome"] in FINISHED), None)


def health(runs: Sequence[Record]) -> dict[str, Any]:
    """The health indicators: shares in 0..1 and minutes, None where there are no runs to tell from.

    success_rate: runs that came to a verdict; acceptance_rate: of those, the ones that were released.
    """
    tried = [run for run in runs if run["outcome"] != "unchanged"]
    finished = [run for run in tried if run["outcome"] in FINISHED]
    accepted = [run for run in finished if run["outcome"] == "accepted"]
    minutes = [took for run in finished if (took := training_minutes(run)) is not None]
    return {
        "runs": len(tried),
        "success_rate": len(finished) / len(tried) if tried else None,
        "acceptance_rate": len(accepted) / len(finished) if finished else None,
        "training_minutes": median(minutes) if minutes else None,
        "f1_macro": [[run["started_at"], f1] for run in tried if (f1 := _f1_macro(run)) is not None],
        "in_production": [
            [run["finished_at"], version["version_tag"]]
            for run in runs
            if (version := run.get("restored") or (run["outcome"] == "accepted" and run.get("release")))
        ],
    }


def training_minutes(run: Record) -> float | None:
    """How long the stage "train" took."""
    times = {stage["name"]: datetime.fromisoformat(stage["started_at"]) for stage in run.get("stages", ())}
    if "train" not in times or "evaluate" not in times:
        return None
    return (times["evaluate"] - times["train"]).total_seconds() / 60


def f1_alarm(f1_macro: float, runs: Sequence[Record]) -> str | None:
    """Why a run's F1 should worry people, given the runs before it; None where it need not."""
    before = [f1 for run in runs if (f1 := _f1_macro(run)) is not None][-RUNS_COMPARED:]
    if len(before) < RUNS_COMPARED or f1_macro >= median(before) - F1_DROP:
        return None
    return (
        f"The new model's macro F1 on the test set is {f1_macro:.4f}, more than {F1_DROP * 100:.0f} points "
        f"below the median of the last {RUNS_COMPARED} runs ({median(before):.4f}). Look at what changed in "
        "the data set and in the settings."
    )


def _f1_macro(run: Record) -> float | None:
    return run["test_scores"]["f1_macro"] if "test_scores" in run else None


def print_runs(runs: Sequence[Record]) -> None:
    """The runs, newest first, and the indicators."""
    print(f"{'run':38} {'outcome':13} {'macro F1':>9} {'gain':>8} {'training':>9}  version")
    for run in reversed(runs):
        f1, delta, took = _f1_macro(run), (run.get("verdict") or {}).get("delta"), training_minutes(run)
        version = (run.get("release") or {}).get("version_tag", "")
        print(
            f"{Path(run['folder']).name:38} {run['outcome']:13} "
            f"{'' if f1 is None else f'{f1:.4f}':>9} {'' if delta is None else f'{delta:+.4f}':>8} "
            f"{'' if took is None else f'{took:.1f} min':>9}  {version}"
        )
    known = health(runs)
    for name in ("success_rate", "acceptance_rate"):
        if known[name] is not None:
            print(f"{name.replace('_', ' ')}: {known[name]:.0%}")
    if known["training_minutes"] is not None:
        print(f"training time, median: {known['training_minutes']:.1f} min")
    for since, version in known["in_production"]:
        print(f"in production since {since[:16].replace('T', ' ')}: {version}")


def main() -> str | None:
    """Print the history; returns what went wrong."""
    from retrain.release.inference_space import connect

    try:
        api, config, _ = connect(os.environ)
        runs = read_runs(api, config.hub_model_id)
    except RetrainError as error:
        return str(error)
    if not runs:
        return f"{config.hub_model_id} has no record of a run yet."
    print_runs(runs)
    return None


if __name__ == "__main__":
    sys.exit(main())
