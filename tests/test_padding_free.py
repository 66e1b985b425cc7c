"""Padding-free batches and the compact vocabulary compute what the padded, full model computes."""

from pathlib import Path

import datasets
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from configs import UrgencyConfig
from retrain.training.batching import attend_in_turn, attend_nested, collate_packed, micro_batches, packed
from retrain.training.compact_vocabulary import compact_vocabulary
from retrain.training.fine_tuning import predict
from retrain.training.focal_loss import FocalLossMultiClass, FocalLossTrainer
from tests.test_configs import NEEDED

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


def test_predictions_come_back_in_the_order_of_the_rows(model: PreTrainedModel) -> None:
    rows = rows_of([40, 3, 512, 8, 21])
    expected = padded_logits(model, rows).softmax(-1).detach().numpy()
    config = UrgencyConfig.from_environment(NEEDED | {"EVAL_BATCH_SIZE": "2"})
    assert predict(model, datasets.Dataset.from_list(rows), config) == pytest.approx(expected, abs=1e-5)


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
