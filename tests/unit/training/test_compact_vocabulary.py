"""The compact vocabulary computes what the full one computes."""

from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from retrain.training.batching import collate_packed, packed
from retrain.training.compact_vocabulary import compact_vocabulary
from retrain.training.focal_loss import FocalLossMultiClass
from tests.unit.training.conftest import VOCABULARY, rows_of


def train(model: PreTrainedModel, steps: int) -> None:
    """AdamW on packed batches; weight decay on every parameter that is not of the embedding."""
    embedding = list(model.get_input_embeddings().parameters())
    others = [p for p in model.parameters() if all(p is not e for e in embedding)]
    optimizer = torch.optim.AdamW([{"params": embedding, "weight_decay": 0.0}, {"params": others}], lr=1e-3)
    with packed(model) as classifier:
        for step in range(steps):
            batch = collate_packed(rows_of([3 + step % 7, 12, 5 + step % 3]))
            labels = batch.pop("labels")
            FocalLossMultiClass()(classifier(**batch).logits, labels).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def test_fifty_steps_in_the_compact_vocabulary_equal_those_in_the_full_one(
    checkpoint: Path, model: PreTrainedModel
) -> None:
    full = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3).eval()
    full.load_state_dict(model.state_dict())
    before = full.get_input_embeddings().weight.detach().clone()
    train(full, steps=50)
    with compact_vocabulary(model, range(VOCABULARY)):
        assert model.get_input_embeddings().weight.shape[0] == VOCABULARY
        train(model, steps=50)
    for name, expected in full.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], expected, rtol=1e-4, atol=1e-5, msg=name)
    after = model.get_input_embeddings().weight.detach()
    assert after.shape == before.shape
    assert torch.equal(after[VOCABULARY:], before[VOCABULARY:])
    assert not torch.equal(after[5:VOCABULARY], before[5:VOCABULARY])
