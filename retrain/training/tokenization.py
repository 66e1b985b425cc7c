"""Texts as the model reads them: their tokens, and how much of a text these cover."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from retrain.errors import resource_errors

# In characters: far more than 512 tokens cover in any language. A tokenizer reads a whole text before it cuts
# it, and a text of ten megabytes costs it gigabytes.
LONGEST_TEXT = 100_000
MOST_TOKENS = 512  # of any XLM-R


def length_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of a text a model reads, wherever it serves: as many as it was trained with."""
    return min(MOST_TOKENS, int(tokenizer.model_max_length))


@resource_errors()
def tokenize(
    tokenizer: PreTrainedTokenizerBase, split: datasets.Dataset, max_length: int
) -> datasets.Dataset:
    """Columns input_ids and attention_mask instead of grievance; texts are cut at max_length tokens."""

    def encode(batch: dict[str, list[Any]]) -> Mapping[str, Any]:
        texts = _first_part(batch["grievance"])
        encoded: Mapping[str, Any] = tokenizer(texts, truncation=True, max_length=max_length)
        return encoded

    # The key of the cache is what the result depends on: by default datasets would pickle the tokenizer.
    parts = (split._fingerprint, tokenizer.backend_tokenizer.to_str(), str(max_length))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return split.map(encode, batched=True, remove_columns=["grievance"], new_fingerprint=key)


def cut_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[str]:
    """Each text as far as training reads it, so that an API is not judged by its limit on length."""
    texts = _first_part(texts)
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
    return [
        text[: max(end for _, end in offsets)] if len(offsets) == max_length else text
        for text, offsets in zip(texts, encoded["offset_mapping"], strict=True)
    ]


def _first_part(texts: Sequence[str]) -> list[str]:
    return [text[:LONGEST_TEXT] for text in texts]
