"""Which models can be trained here: those of RoBERTa's shape. Knows the values of config.json and no more."""

from collections.abc import Mapping
from typing import Any

# Their encoder is `roberta`, and their positions begin after padding_idx: packed and padded batches give the
# same logits (tests/unit/training/test_batching.py). BERT and DeBERTa number positions in other ways.
MODEL_TYPES = ("xlm-roberta", "roberta", "camembert")
PADDING_ID = 1


def refusal(config: Mapping[str, Any]) -> str:
    """Why a model with this config.json can't be trained; empty if it can."""
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        return (
            f"is a {kind} model. Name one of RoBERTa's shape ({', '.join(MODEL_TYPES)}), such as "
            "xlm-roberta-base: batches without padding need it"
        )
    if (padding := config.get("pad_token_id", PADDING_ID)) != PADDING_ID:
        return f"has pad_token_id {padding}, and batches without padding need {PADDING_ID}. Name another one"
    return ""
