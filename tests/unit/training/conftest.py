"""A tiny model, rows of given lengths, and what the padded model makes of them."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCABULARY = 400
LENGTHS = {
    "odd lengths": [3, 17, 5, 101, 2, 64, 33],
    "sixteen equal": [24] * 16,
    "one very long": [4, 512, 9, 7],
    "one alone": [11],
}


@pytest.fixture
def model(checkpoint: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3).eval()


def rows_of(lengths: list[int]) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [
        {
            "input_ids": [0, *torch.randint(5, VOCABULARY, (n - 2,), generator=generator).tolist(), 2],
            "label": i % 3,
        }
        for i, n in enumerate(lengths)
    ]


def padded_logits(model: PreTrainedModel, rows: list[dict[str, object]]) -> torch.Tensor:
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<s>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(model.name_or_path) / "tokenizer.json"))
    tokenizer.add_special_tokens(special | {"pad_token": "<pad>"})
    batch = DataCollatorWithPadding(tokenizer)([{"input_ids": row["input_ids"]} for row in rows])
    return model(**batch).logits


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found
