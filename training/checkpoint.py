"""Loads a classifier, from a base checkpoint or a released version: safetensors alone, no remote code."""

from collections.abc import Mapping

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from errors import CheckpointError, loading_errors, resource_errors


def load_classifier(
    checkpoint: str,
    token: str | bool | None,
    *,
    revision: str = "main",
    id2label: Mapping[int, str] | None = None,
    setting: str = "MODEL_CHECKPOINT",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an XLM-RoBERTa with a classification head, in float32, and its tokenizer.

    checkpoint: a repository on the Hub or a folder.
    id2label: the labels of a head that is made anew; the checkpoint's own head is taken without it.
    setting: the variable that names it, for messages.

    Raises:
        CheckpointError: it can't be loaded or is no XLM-R.
    """
    labels = {}
    if id2label is not None:
        label2id = {name: i for i, name in id2label.items()}
        labels = {"num_labels": len(id2label), "id2label": dict(id2label), "label2id": label2id}
    with resource_errors(), loading_errors(setting, checkpoint):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision, token=token)
        model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, revision=revision, token=token, use_safetensors=True, dtype=torch.float32, **labels
        )
    if model.config.model_type != "xlm-roberta":
        raise CheckpointError(
            f"{setting}={checkpoint} is a {model.config.model_type} model. "
            "Name an XLM-RoBERTa checkpoint, such as xlm-roberta-base."
        )
    return model, tokenizer
