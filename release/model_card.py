"""The model card of a version: what a reader wants to know first, in the words of model_card.md."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from configs import BaseConfig
from run_record import DatasetInfo, Scores, Verdict

TEMPLATE = Path(__file__).with_suffix(".md")


def model_card(
    config: BaseConfig, version_tag: str, scores: Scores, verdict: Verdict, dataset: DatasetInfo
) -> ModelCard:
    """Compose the card, with the scores as a model-index that the Hub shows."""
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
    )
