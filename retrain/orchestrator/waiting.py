"""Asks the preparation how many corrections wait: it knows the city's database, files and exports."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from retrain.errors import RetrainError
from retrain.orchestrator.turns import Waiting, time_in

ROOT = Path(__file__).parents[2]
PREPARATION = ROOT / "companion_spaces/prepare_dataset"
SECONDS = 15 * 60


class WaitingError(RetrainError):
    """The source of corrections can't be asked."""


def count_waiting(values: Mapping[str, str], label: str, since: datetime | None) -> Waiting:
    """The reviewed corrections of a label set that are newer than `since`.

    values: the settings of the preparation.

    Raises:
        WaitingError: the source can't be read, or the preparation is not here.
    """
    if not PREPARATION.exists():
        raise WaitingError(
            f"{PREPARATION.name}, which counts the corrections, is not here. Run this in a clone of the "
            "repository."
        )
    paths = os.pathsep.join(map(str, (ROOT, PREPARATION.parent, PREPARATION)))
    try:
        asked = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, PREPARATION / "prepare_dataset.py", "waiting"],
            input=json.dumps({label: since.isoformat() if since else None}),
            env=os.environ | values | {"LABEL": label, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise WaitingError(
            f"The source of corrections did not answer in {SECONDS / 60:.0f} minutes."
        ) from error
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or ["no reason given"]
        raise WaitingError(f"The waiting corrections can't be counted: {lines[-1]}")
    found = json.loads(asked.stdout)[label]
    return Waiting(int(found["count"]), time_in(found, "newest"))
