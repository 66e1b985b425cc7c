"""The focal loss against its formula, and its Trainer, whose batches may come in parts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    PreTrainedModel,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

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
                classifier, arguments, focal_loss=FocalLossMultiClass(), max_tokens=budget
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


def test_the_loss_is_computed_in_float32_whatever_the_logits_are() -> None:
    """In bfloat16 1 - p_t of a row that is nearly certain would have one digit."""
    logits, labels = torch.tensor([[4.0, 0.5, -1.0], [0.0, 1.0, 3.0]]), torch.tensor([0, 1])
    loss = FocalLossMultiClass()(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, FocalLossMultiClass()(logits, labels), rtol=1e-6, atol=0.0)


def test_each_row_has_the_weight_of_its_class() -> None:
    logits = torch.zeros(3, 3)
    by_class = FocalLossMultiClass(2.0, [0.1, 0.2, 0.7])
    losses = [float(by_class(logits[:1], torch.tensor([i]))) for i in range(3)]
    assert losses == pytest.approx([losses[0], 2 * losses[0], 7 * losses[0]])


def test_a_row_counts_less_the_surer_it_is_right() -> None:
    """(1 - p_t)² is a hundredth for p_t = 0.9."""
    logits = torch.tensor([[0.9, 0.1]]).log()
    plain, focal = (float(FocalLossMultiClass(g, 1.0)(logits, torch.tensor([0]))) for g in (0.0, 2.0))
    assert focal == pytest.approx(plain / 100, rel=1e-4)


def trainer_of(classifier: nn.Module, folder: Path, **options: Any) -> FocalLossTrainer:
    arguments = TrainingArguments(str(folder), report_to="none", use_cpu=True)
    trainer = FocalLossTrainer(classifier, arguments, focal_loss=FocalLossMultiClass(), **options)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def test_no_more_tokens_are_computed_at_once_than_the_budget(tmp_path: Path) -> None:
    tokens: list[int] = []

    class Classifier(nn.Module):
        """Counts what it is given; its logits depend on a weight and nothing else."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, input_ids: torch.Tensor, **batch: torch.Tensor) -> SequenceClassifierOutput:
            tokens.append(input_ids.numel())
            return SequenceClassifierOutput(logits=self.weight.expand(len(batch["lengths"]), 3))

    classifier, batch = Classifier(), collate_packed(rows_of([40, 3, 120, 8, 21, 30]))
    trainer_of(classifier, tmp_path, max_tokens=45).training_step(classifier, batch)
    assert tokens == [43, 120, 29, 30]


def test_after_a_step_in_parts_a_batch_counts_whole_again(model: PreTrainedModel, tmp_path: Path) -> None:
    batch = collate_packed(rows_of([40, 3, 120, 8, 21, 30]))
    with packed(model) as classifier:
        trainer = trainer_of(classifier, tmp_path, max_tokens=45)
        before = trainer.compute_loss(classifier.eval(), batch)
        trainer.training_step(classifier, batch)
        after, outputs = trainer.compute_loss(classifier.eval(), batch, return_outputs=True)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after, FocalLossMultiClass()(outputs.logits, batch["labels"]))
