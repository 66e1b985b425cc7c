"""The model card of a version: what a reader wants to know first. Knows only values."""

from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from configs import BaseConfig
from run_record import DatasetInfo, Scores, Verdict

_TEXT = """---
{front_matter}
---
# {title}

Classifies a citizen's grievance in Nepali (Devanagari or romanised) or English by **{label}**.
Version `{version_tag}`, retrained and checked automatically against the model that it replaced.

## Use

```python
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", revision="{version_tag}")
classify("सडकमा ठूलो खाल्डो परेको छ", truncation=True)
```

## Labels

{labels}

## Scores on the test set ({rows} rows)

Accuracy {accuracy:.4f}, macro F1 **{f1_macro:.4f}**, weighted F1 {f1_weighted:.4f}.

| class | precision | recall | F1 | rows |
| --- | --- | --- | --- | --- |
{per_class}

The confusion matrix and the full report are in `reports/`.

## Why it was released

{reasons}

## Data

Data set `{dataset}` at `{dataset_revision}`{dataset_tag}: {sizes}. Base checkpoint: `{base_model}`.

## Limits

It orders work for officers and does not replace their reading: a grievance that names no danger may still be
urgent. It reads the first {max_length} tokens of a text, and knows the places and the words of its own city.
"""


def model_card(
    config: BaseConfig,
    labels: Sequence[str],
    version_tag: str,
    scores: Scores,
    verdict: Verdict,
    dataset: DatasetInfo,
) -> ModelCard:
    """Compose the card, with the scores as a model-index that the Hub shows."""
    name = config.hub_model_id.split("/")[1]
    data = ModelCardData(
        language=["ne", "en"],
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["grievance", config.label],
        datasets=[dataset.repo_id],
        metrics=["f1", "accuracy"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=dataset.repo_id,
                dataset_name=dataset.repo_id.split("/")[1],
                dataset_split="test",
                dataset_revision=dataset.revision,
                metric_type=kind,
                metric_name=metric,
                metric_value=round(value, 4),
            )
            for kind, metric, value in (
                ("f1", "Macro F1", scores.f1_macro),
                ("accuracy", "Accuracy", scores.accuracy),
            )
        ],
    )
    return ModelCard(
        _TEXT.format(
            front_matter=data.to_yaml(),
            title=name,
            repo_id=config.hub_model_id,
            label=config.label,
            max_length=config.max_length,
            version_tag=version_tag,
            labels="\n".join(f"- {i}: {name}" for i, name in enumerate(labels)),
            rows=scores.rows,
            accuracy=scores.accuracy,
            f1_macro=scores.f1_macro,
            f1_weighted=scores.f1_weighted,
            per_class="\n".join(
                f"| {name} | {c.precision:.4f} | {c.recall:.4f} | {c.f1:.4f} | {c.support} |"
                for name, c in scores.per_class.items()
            ),
            reasons="\n".join(f"- {reason}" for reason in verdict.reasons),
            dataset=dataset.repo_id,
            dataset_revision=dataset.revision,
            dataset_tag=f" (`{dataset.version_tag}` is its newest version tag)"
            if dataset.version_tag
            else "",
            sizes=", ".join(f"{size} rows in {split}" for split, size in dataset.split_sizes.items()),
            base_model=config.model_checkpoint,
        )
    )
