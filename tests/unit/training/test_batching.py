"""Padding-free batches compute what the padded model computes."""

import pytest
import torch
from transformers import (
    PreTrainedModel,
)

from retrain.training.batching import attend_in_turn, attend_nested, collate_packed, micro_batches, packed
from retrain.training.focal_loss import FocalLossMultiClass
from tests.unit.training.conftest import LENGTHS, gradients, padded_logits, rows_of


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_logits_and_gradients_are_those_of_the_padded_model(
    model: PreTrainedModel, lengths: list[int]
) -> None:
    rows = rows_of(lengths)
    labels = torch.tensor([row["label"] for row in rows])
    expected = padded_logits(model, rows)
    FocalLossMultiClass()(expected, labels).backward()
    expected_gradients = gradients(model)
    with packed(model) as classifier:
        batch = collate_packed(rows)
        logits = classifier(**{name: batch[name] for name in ("input_ids", "position_ids", "lengths")}).logits
        FocalLossMultiClass()(logits, batch["labels"]).backward()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    found = gradients(model)
    assert found.keys() == expected_gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_attention_of_nested_texts_is_that_of_one_text_after_the_other(lengths: list[int]) -> None:
    """The way it goes on a GPU, computed on the CPU: outputs and gradients."""
    found = []
    for attend in (attend_in_turn, attend_nested):
        generator = torch.Generator().manual_seed(0)
        given = [
            torch.randn(1, 4, sum(lengths), 16, generator=generator, requires_grad=True) for _ in range(3)
        ]
        attended = attend(*given, lengths, dropout_p=0.0, scale=0.25)
        assert attended.shape == (1, sum(lengths), 4, 16)
        (attended**2).sum().backward()
        found.append([attended, *(each.grad for each in given)])
    for in_turn, nested in zip(*found, strict=True):
        torch.testing.assert_close(nested, in_turn, rtol=1e-4, atol=1e-5)


def test_micro_batches_keep_to_the_budget_and_lose_nothing() -> None:
    batch = collate_packed(rows_of([5, 512, 9, 7, 30, 2, 2]))
    parts = list(micro_batches(batch, token_budget=40))
    assert [part["lengths"].tolist() for part in parts] == [[5], [512], [9, 7], [30, 2, 2]]
    for name, values in batch.items():
        dim = 0 if name in ("labels", "lengths") else 1
        assert torch.equal(torch.cat([part[name] for part in parts], dim=dim), values)
