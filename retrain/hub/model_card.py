"""What a version says of itself: metadata.json for programs, the model card (model_card.md) for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from retrain.records import DatasetInfo, Scores, Verdict, Version

TEMPLATE = Path(__file__).with_suffix(".md")
OWN_BEGINS = "<!-- What you write below this line is kept from version to version. -->"


@dataclass(frozen=True)
class VersionFacts:
    """All that is known of a version before it has a name.

    settings: the public settings of the run, by variable; stages: as in run.json; history: earlier versions
    with their metadata; own_sections: what people have written into the card, which stays.
    """

    model_id: str
    label: str
    settings: Mapping[str, Any]
    author: str
    scores: Scores
    verdict: Verdict
    dataset: DatasetInfo
    base_checkpoint_revision: str | None
    environment: Mapping[str, Any]
    stages: Sequence[Mapping[str, str]]
    previous: Version | None
    history: Sequence[tuple[Version, Mapping[str, Any]]]
    own_sections: str

    @property
    def title(self) -> str:
        """The title of the release's commit."""
        first = " (first release)" if self.verdict.delta is None else ""
        return f"Auto-deploy: ΔF1 >= {self.settings['DECISION_THRESHOLD']:.4f}{first}"

    def metadata(self, version_tag: str) -> dict[str, Any]:
        """The content of metadata.json: what the version is, and where it comes from."""
        return {
            "model_name": self.model_id,
            "version_tag": version_tag,
            "commit_message": self.title,
            "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "author": self.author,
            "training_args": dict(self.settings),
            "eval_metrics": asdict(self.scores),
            "comparison": asdict(self.verdict),
            "dataset": asdict(self.dataset),
            "base_checkpoint": self.settings["MODEL_CHECKPOINT"],
            "base_checkpoint_revision": self.base_checkpoint_revision,
            "environment": dict(self.environment),
            "previous_version": self.previous and self.previous.tag,
            "previous_revision": self.previous and self.previous.revision,
            "stages": list(self.stages),
        }

    def card(self, version_tag: str) -> str:
        """The model card, with the scores as a model-index that the Hub shows."""
        scores, dataset = self.scores, self.dataset
        metrics = (("f1", "Macro F1", scores.f1_macro), ("accuracy", "Accuracy", scores.accuracy))
        data = ModelCardData(
            language=["ne", "en"],
            library_name="transformers",
            pipeline_tag="text-classification",
            tags=["grievance", self.label],
            datasets=[dataset.repo_id],
            metrics=[kind for kind, _, _ in metrics],
            model_name=self.model_id.split("/")[1],
            eval_results=[
                EvalResult(
                    task_type="text-classification",
                    dataset_type=dataset.repo_id,
                    dataset_name=dataset.repo_id.split("/")[1],
                    dataset_split="test",
                    dataset_revision=dataset.revision,
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(value, 4),
                )
                for kind, name, value in metrics
            ],
        )
        template = str(TEMPLATE)
        about = vars(self) | {"version_tag": version_tag, "data": data, "own_begins": OWN_BEGINS}
        return str(ModelCard.from_template(data, template_path=template, **about))
