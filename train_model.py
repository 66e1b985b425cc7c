"""Entry point of the retrain Space: one training process under a supervisor, see retrain.job.

The exit code is the run's outcome (records.OUTCOMES; 128 + the signal's number for an interrupted run).
"""

import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from configs import BaseConfig, get_config, in_both_roles
from retrain.errors import HubError
from retrain.events import Archived
from retrain.job import Job, Steps, run, start
from retrain.journal import Journal
from retrain.language import N_
from retrain.lifecycle.webhook import Delivery, why_not_due
from retrain.records import FINISHED
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from retrain.hub.run_archive import RunArchive

SOURCE = Path(__file__).parent
TRAINING = (sys.executable, "-u", str(SOURCE / "model_pipeline.py"))
PROCESS_SECONDS = 75.0  # for the report, and for W&B: less than ending.STEP_SECONDS, which covers it

logger = logging.getLogger("retrain")


def main(environ: Mapping[str, str], warnings: Sequence[str] = ()) -> int:
    """Run once; whatever happens, record it, notify people and pause the Space. Returns the exit code.

    warnings: what is wrong with the environment beside the settings.
    """
    return run(RETRAIN, environ, warnings)


def at_the_end(journal: Journal, config: BaseConfig, environ: Mapping[str, str], api: "HfApi") -> Steps:
    """Make the report, keep it on the Hub, and close the run on W&B."""
    from retrain.hub.run_archive import RunArchive

    return Steps(
        keep={
            "The report": partial(run_apart, journal, environ, "retrain", "report"),
            "Keeping the run on the Hub": partial(archive, RunArchive(api, config.hub_model_id), journal),
        },
        send={"W&B": partial(finish_tracking, journal, environ)},
    )


def own_space(variables: Mapping[str, str]) -> str | None:
    """The Space that this job is to pause; None if that one serves citizens."""
    if in_both_roles(variables):
        return None
    return variables.get("RETRAIN_SPACE_ID") or variables.get("SPACE_ID")


def why_not(config: BaseConfig, delivery: Delivery, api: "HfApi") -> str | None:
    """Why the run that a webhook has started is not due; None if the data set has a new version."""
    from retrain.hub.run_archive import RunArchive

    return why_not_due(
        delivery,
        config.dataset_repo_id,
        decided_on(RunArchive(api, config.hub_model_id), config.dataset_repo_id),
    )


def decided_on(runs: "RunArchive", dataset: str) -> Iterator[str]:
    """The versions of the data set from which earlier runs made a model that was accepted or rejected."""
    try:
        records = runs.read()
    except HubError as error:  # rather one run too many than a version without one
        logger.warning("The earlier runs can't be read, so a replay is not noticed: %s", error)
        return
    decided = (record.dataset for record in records if record.outcome in FINISHED)
    for known in decided:
        if known and known.version_tag and known.repo_id.casefold() == dataset.casefold():
            yield known.version_tag


def run_apart(journal: Journal, environ: Mapping[str, str], module: str, *arguments: str) -> None:
    """Run a module on the run's folder in a process of its own: it is heavy, and its end is not ours."""
    command = [sys.executable, "-m", module, *arguments, str(journal.folder)]
    done = subprocess.run(  # noqa: S603 (our own command)
        command, cwd=SOURCE, env=dict(environ), capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    if done.returncode:
        logger.error("%s: %s", module, done.stderr.strip())
        raise RuntimeError(f"{module} ended with exit code {done.returncode}. See the log.")


def archive(runs: "RunArchive", journal: Journal) -> None:
    """Put record and report where they outlive this container."""
    journal.write(Archived(runs.add(journal.folder)))


def finish_tracking(journal: Journal, environ: Mapping[str, str], record: RunRecord) -> None:
    """Close the run on W&B if the training process could not, or say there that the pause failed."""
    if record.tracking and (record.told is None or record.pause_failed):
        run_apart(journal, environ, "retrain.reporting.tracking")


STAGES = (
    N_("load data"),
    N_("load checkpoint"),
    N_("train"),
    N_("evaluate"),
    N_("compare"),
    N_("release"),
    N_("roll out"),
)
RETRAIN = Job(TRAINING, BaseConfig, get_config, own_space, at_the_end, stages=STAGES, why_not=why_not)

if __name__ == "__main__":
    sys.exit(start(RETRAIN))
