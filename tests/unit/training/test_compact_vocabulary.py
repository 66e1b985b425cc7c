"""The compact vocabulary computes what the full one computes."""

import shutil
from pathlib import Path

import pytest
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


def test_only_the_rows_that_occur_are_there_and_each_is_its_own(model: PreTrainedModel) -> None:
    full = model.get_input_embeddings().weight.detach().clone()
    with compact_vocabulary(model, [0, 2, 7, 9]):
        compact = model.get_input_embeddings()
        assert compact.weight.shape == (4, full.shape[1])
        ids = torch.tensor([[9, 0], [7, 2]])
        assert torch.equal(compact(ids), full[ids])


@pytest.mark.parametrize("token", [1, 8, 399])
def test_a_token_that_does_not_occur_is_an_error_and_no_other_tokens_row(
    model: PreTrainedModel, token: int
) -> None:
    with compact_vocabulary(model, [0, 2, 7, 9]), pytest.raises(IndexError):
        model.get_input_embeddings()(torch.tensor([token]))


def test_the_full_matrix_is_back_after_the_block_with_what_was_learnt(model: PreTrainedModel) -> None:
    full = model.get_input_embeddings()
    before = full.weight.detach().clone()

    def learn() -> None:
        with compact_vocabulary(model, [2, 7]):
            model.get_input_embeddings().weight.data += 1.0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learn()
    assert model.get_input_embeddings() is full
    changed = (full.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2, 7]
    torch.testing.assert_close(full.weight[[2, 7]], before[[2, 7]] + 1.0)


def test_the_rows_that_do_not_occur_are_not_in_memory_while_training(model: PreTrainedModel) -> None:
    full = model.get_input_embeddings()
    with compact_vocabulary(model, [0, 2, 5]):
        mapped = full.weight.untyped_storage().filename
        assert mapped
        assert not Path(mapped).exists(), "nobody else sees the file, and it ends with the process"


def test_the_file_of_the_checkpoint_is_not_in_memory_while_training(checkpoint: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(checkpoint, tmp_path / "own"))
    mapped = Path("/proc/self/maps")
    model = AutoModelForSequenceClassification.from_pretrained(own, num_labels=3)
    assert str(own) in mapped.read_text()
    with compact_vocabulary(model, range(VOCABULARY)):
        assert str(own) not in mapped.read_text()
