"""Which interrupted run this one can go on from, and which checkpoints are of no use any more."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrain.journal import Journal
from retrain.records import FINISHED

logger = logging.getLogger(__name__)


def resumable_run(run_dir: Path, own: Path, inputs: Mapping[str, Any]) -> Path | None:
    """The folder of the newest other run with the same `inputs` that has ended without reaching a verdict.

    None if the newest such run finished, still runs, or ended in a bug: it would end there again.
    """
    for folder in _folders(run_dir):
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
    for folder in _folders(run_dir):
        journal = Journal(folder)
        if not any(folder.glob("checkpoints/*")) or journal.in_use:
            continue
        inputs = journal.record().inputs
        if inputs and inputs.values.get("HUB_MODEL_ID") == model_id:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _folders(run_dir: Path) -> list[Path]:
    """What may be folders of runs, the newest first; not those of others, such as a volume's lost+found."""
    allowed = os.R_OK | os.W_OK | os.X_OK
    found = [each for each in run_dir.glob("*") if each.is_dir()]
    others = [each for each in found if not os.access(each, allowed, effective_ids=True)]
    if others:
        names = ", ".join(each.name for each in others)
        logger.warning("In RUN_DIR these folders can't be read and written, and are passed over: %s", names)
    return sorted(set(found) - set(others), key=lambda each: each.name, reverse=True)
