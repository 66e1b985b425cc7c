"""Which interrupted run this one can go on from, and which checkpoints are of no use any more."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrain.journal import Journal
from retrain.records import FINISHED


def resumable_run(run_dir: Path, own: Path, inputs: Mapping[str, Any]) -> Path | None:
    """The folder of the newest other run with the same `inputs` that has ended without reaching a verdict.

    None if the newest such run finished, still runs, or ended in a bug: it would end there again.
    """
    for folder in sorted(run_dir.glob("*"), key=lambda each: each.name, reverse=True):
        journal = Journal(folder)
        if folder == own or not journal.path.exists() or not any(folder.glob("checkpoints/checkpoint-*")):
            continue
        record = journal.record()
        if record.inputs and record.inputs.values == inputs:
            over = record.outcome in (*FINISHED, "bug")
            return None if over or journal.in_use else folder
    return None


def remove_checkpoints(run_dir: Path, model_id: str) -> None:
    """Remove the checkpoints of the ended runs of this model: a finished run makes them obsolete."""
    for folder in run_dir.glob("*"):
        journal = Journal(folder)
        if not any(folder.glob("checkpoints/*")) or journal.in_use:
            continue
        inputs = journal.record().inputs
        if inputs and inputs.values.get("HUB_MODEL_ID") == model_id:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
