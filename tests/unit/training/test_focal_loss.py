"""The focal loss against its formula, and its Trainer, whose batches may come in parts."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    PreTrainedModel,
    TrainingArguments,
)

from retrain.training.batching import collate_packed, packed
from retrain.training.focal_loss import FocalLossMultiClass, FocalLossTrainer
from tests.unit.training.conftest import gradients, rows_of


def test_focal_loss_follows_its_formula() -> None:
    logits, labels = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(-1)[torch.arange(2), labels]
    expected = (-torch.tensor([0.1, 0.6]) * (1 - p) ** 1.5 * p.log()).mean()
    assert torch.allclose(FocalLossMultiClass(1.5, [0.1, 0.6, 0.3])(logits, labels), expected)


def test_without_gamma_it_is_cross_entropy() -> None:
    logits, labels = torch.randn(8, 3), torch.randint(3, (8,))
    assert torch.allclose(FocalLossMultiClass(0.0, 1.0)(logits, labels), cross_entropy(logits, labels))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_gradient_is_finite_for_a_row_that_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    FocalLossMultiClass(gamma)(logits, torch.tensor([0, 0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_a_batch_over_the_budget_has_the_same_gradient_in_parts(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    """A real training step, once whole and once in four parts: the same loss, the same gradient."""
    rows = rows_of([40, 3, 120, 8, 21, 30])
    steps = []
    for budget in (10_000, 45):
        with packed(model) as classifier:
            arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
            trainer = FocalLossTrainer(
                classifier, arguments, focal_loss=FocalLossMultiClass(), token_budget=budget
            )
            trainer.current_gradient_accumulation_steps = 1
            torch.manual_seed(1)
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
            model.config.attention_probs_dropout_prob = 0.0
            loss = trainer.training_step(classifier, collate_packed(rows))
        steps.append((loss, gradients(model)))
    (whole, expected), (in_parts, found) = steps
    torch.testing.assert_close(in_parts, whole)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6, msg=name)
