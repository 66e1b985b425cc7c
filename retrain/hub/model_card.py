"""The model card of a version: what a reader wants to know first, in the words of model_card.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import RemoteEntryNotFoundError

from configs import BaseConfig
from retrain.errors import hub_errors
from retrain.records import DatasetInfo, Scores, Verdict, Version

TEMPLATE = Path(__file__).with_suffix(".md")
OWN_BEGINS = "<!-- What you write below this line is kept from version to version. -->"


def own_sections(api: HfApi, repo_id: str, revision: str | None) -> str:
    """What people have written into the card of a revision, below the line that says that it is theirs."""
    return _card_of(api, repo_id, revision).partition(OWN_BEGINS)[2].strip()


def restored_card(api: HfApi, repo_id: str, revision: str, head: str | None) -> str:
    """The card of an earlier version, with people's sections as they are at the head."""
    card = _card_of(api, repo_id, revision).partition(OWN_BEGINS)[0]
    return f"{card}{OWN_BEGINS}\n{own_sections(api, repo_id, head)}\n"


def _card_of(api: HfApi, repo_id: str, revision: str | None) -> str:
    if revision is None:
        return ""
    with hub_errors("read the card of", repo_id):
        try:
            file = api.hf_hub_download(repo_id, "README.md", revision=revision)
        except RemoteEntryNotFoundError:
            return ""
    return Path(file).read_text(encoding="utf-8")


def model_card(
    config: BaseConfig,
    version_tag: str,
    scores: Scores,
    verdict: Verdict,
    dataset: DatasetInfo,
    history: Sequence[tuple[Version, Mapping[str, Any]]] = (),
    own: str = "",
) -> ModelCard:
    """Compose the card, with the scores as a model-index that the Hub shows.

    history: earlier versions with their metadata; own: people's sections, which stay.
    """
    metrics = (("f1", "Macro F1", scores.f1_macro), ("accuracy", "Accuracy", scores.accuracy))
    data = ModelCardData(
        language=["ne", "en"],
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["grievance", config.label],
        datasets=[dataset.repo_id],
        metrics=[kind for kind, _, _ in metrics],
        model_name=config.hub_model_id.split("/")[1],
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
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        data=data,
        config=config,
        version_tag=version_tag,
        scores=scores,
        verdict=verdict,
        dataset=dataset,
        history=history,
        own_begins=OWN_BEGINS,
        own=own,
    )
