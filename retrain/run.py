"""What a run works with, and what it knows of the runs before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import BaseConfig, TrainingSettings
from retrain.errors import RetrainError
from retrain.evaluation.live_model import LiveModel
from retrain.events import Stage
from retrain.hub.model_repo import ModelRepo
from retrain.hub.run_archive import RunArchive
from retrain.journal import Journal
from retrain.records import Verdict
from retrain.release.inference_space import InferenceSpace
from retrain.reporting.history import health, last_finished, those_that_served
from retrain.reporting.tracking import Tracker
from retrain.run_record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi


# The settings that the weights depend on, beside the data set and the checkpoint.
MODEL_INPUTS = ("LABEL", *(name.upper() for name in TrainingSettings.model_fields))


@dataclass(frozen=True)
class Run:
    """What a run works with: settings, journal, the Hub, and the API that serves citizens now."""

    config: BaseConfig
    journal: Journal
    tracker: Tracker
    api: "HfApi"
    repo: ModelRepo
    live: LiveModel
    space: InferenceSpace
    checkpoint_revision: str | None
    inputs: Mapping[str, Any]
    earlier: Sequence[RunRecord] = ()

    @property
    def model_folder(self) -> Path:
        """What is released from."""
        return self.journal.folder / "model"

    def stage(self, name: str) -> None:
        """Record that a stage begins."""
        self.journal.write(Stage(name))


def earlier_runs(api: "HfApi", repo: ModelRepo, journal: Journal) -> list[RunRecord]:
    """What the Hub keeps of the runs before this one; none of them is needed to train."""
    try:
        runs = RunArchive(api, repo.repo_id).read()
        served = those_that_served(repo.history())
    except RetrainError as error:
        journal.warn(f"The history of runs can't be read: {error}")
        return []
    journal.write(health(runs, served))
    return runs


def nothing_to_learn(
    config: BaseConfig, inputs: Mapping[str, Any], earlier: Sequence[RunRecord], repo: ModelRepo
) -> Verdict | None:
    """The verdict of a run that need not train; None if it has to, or a release has to be finished first."""
    newest = repo.newest()
    if newest and not newest.is_good and repo.is_ours(newest):
        return None
    return (unchanged(inputs, earlier) if config.skip_unchanged else None) or given_up_before(inputs, repo)


def given_up_before(inputs: Mapping[str, Any], repo: ModelRepo) -> Verdict | None:
    """The verdict of a run that would make a version again that was given up or rolled back."""
    for version in repo.versions():
        if not version.given_up:
            continue
        made = model_inputs(repo.metadata(version.revision))
        if made and made.items() <= inputs.items():
            return Verdict(
                "rejected",
                (
                    f"{version.tag} was made from the same data set, checkpoint and training settings, and "
                    "was given up or rolled back: training would make the same model again. To serve it "
                    f"after all: `python -m retrain rollback --to {version.tag}`.",
                ),
            )
    return None


def model_inputs(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights of a version depend on, from its metadata.json; without settings that came later."""
    settings, dataset = metadata.get("training_args"), metadata.get("dataset")
    if not isinstance(settings, dict) or not isinstance(dataset, dict):  # somebody else's
        return {}
    return {name: settings[name] for name in MODEL_INPUTS if name in settings} | {
        "dataset": dataset.get("revision"),
        "checkpoint": metadata.get("base_checkpoint_revision"),
    }


def unchanged(inputs: Mapping[str, Any], earlier: Sequence[RunRecord]) -> Verdict | None:
    """The verdict of a run that would only repeat the last finished one; None if it would not."""
    finished = last_finished(earlier)
    if finished is None or finished.inputs is None or finished.inputs.values != inputs:
        return None
    run = Path(str(finished.folder)).name
    return Verdict(
        "unchanged",
        (
            f"Data set, checkpoint and settings are those of the last finished run ({run}: "
            f"{finished.outcome}), and SKIP_UNCHANGED is set.",
        ),
    )
