"""Padding-free batches compute what the padded model computes."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    CamembertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMRobertaConfig,
)

from retrain.architectures import refusal
from retrain.training.batching import (
    Texts,
    attend_in_turn,
    attend_padded,
    attention_within_texts,
    collate_packed,
    micro_batches,
    packed,
    token_budget,
    tokens_in,
    whole_tiles,
)
from retrain.training.compact_vocabulary import compact_vocabulary
from retrain.training.focal_loss import FocalLossMultiClass
from tests.unit.training.conftest import LENGTHS, gradients, padded_logits, rows_of


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_logits_and_gradients_are_those_of_the_padded_model(
    model: PreTrainedModel, lengths: list[int]
) -> None:
    rows = rows_of(lengths)
    expected = padded_logits(model, rows)
    FocalLossMultiClass()(expected, torch.tensor([row["label"] for row in rows])).backward()
    expected_gradients = gradients(model)
    with packed(model) as classifier:
        batch = collate_packed(rows)
        logits = classifier(
            **{name: batch[name] for name in ("starts", "lengths", "input_ids", "position_ids")}
        ).logits
        FocalLossMultiClass()(logits, batch["labels"]).backward()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    found = gradients(model)
    assert found.keys() == expected_gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("tile", [1, 8, 128])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_a_batch_filled_up_to_whole_tiles_has_the_same_logits_and_gradients(
    model: PreTrainedModel, lengths: list[int], tile: int
) -> None:
    batch = collate_packed(rows_of(lengths))
    labels = batch.pop("labels")
    names = ("input_ids", "position_ids", "lengths")
    filled = batch | dict(zip(names, whole_tiles(*(batch[name] for name in names), tile), strict=True))
    assert filled["input_ids"].shape == filled["position_ids"].shape == (1, sum(filled["lengths"]))
    assert filled["input_ids"].shape[1] % tile == 0
    with packed(model) as classifier, compact_vocabulary(model, batch["input_ids"].unique()):
        found = {}
        for name, each in (("as it is", batch), ("filled up", filled)):
            logits = classifier(**each).logits
            FocalLossMultiClass()(logits, labels).backward()
            found[name] = {"logits": logits.detach()} | gradients(model)
    for name, expected in found["as it is"].items():
        torch.testing.assert_close(found["filled up"][name], expected, rtol=1e-4, atol=1e-6, msg=name)


SMALL = {"vocab_size": 600, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 128, "max_position_embeddings": 514, "num_labels": 3}
LARGE = {"num_hidden_layers": 6, "num_attention_heads": 16}
SHAPES = {
    "XLM-R large": XLMRobertaConfig(**SMALL | LARGE),
    "XLM-T": XLMRobertaConfig(**SMALL, type_vocab_size=1, hidden_act="gelu"),
    "distilled XLM-R": XLMRobertaConfig(**SMALL | {"num_hidden_layers": 1}, type_vocab_size=2),
    "RoBERTa": RobertaConfig(**SMALL),
    "CamemBERT": CamembertConfig(**SMALL),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_every_shape_that_is_let_pass_computes_the_logits_of_the_padded_model(
    config: PretrainedConfig,
) -> None:
    assert not refusal(config.to_dict())
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():  # so wide that a wrong position shows
        nn.init.normal_(parameter, std=0.2)
    rows = rows_of([5, 17, 60, 3])
    texts = [torch.tensor(row["input_ids"]) for row in rows]
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1)
    expected = model(input_ids=ids, attention_mask=(ids != 1).long()).logits
    with packed(model) as classifier:
        batch = collate_packed(rows)
        del batch["labels"]
        torch.testing.assert_close(classifier(**batch).logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("padding_id", [0, 3])
def test_another_padding_id_moves_the_positions_and_is_refused(padding_id: int) -> None:
    config = XLMRobertaConfig(**SMALL | {"pad_token_id": padding_id})
    assert f"has pad_token_id {padding_id}" in refusal(config.to_dict())


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_attention_of_padded_texts_is_that_of_one_text_after_the_other(lengths: list[int]) -> None:
    """The way it goes on a GPU, computed on the CPU: outputs and gradients."""
    found = []
    for attend in (attend_in_turn, attend_padded):
        generator = torch.Generator().manual_seed(0)
        given = [
            torch.randn(1, 4, sum(lengths), 16, generator=generator, requires_grad=True) for _ in range(3)
        ]
        attended = attend(*given, Texts(lengths), dropout_p=0.0, scale=0.25)
        assert attended.shape == (1, sum(lengths), 4, 16)
        (attended**2).sum().backward()
        found.append([attended, *(each.grad for each in given)])
    for in_turn, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, in_turn, rtol=1e-4, atol=1e-5)


def test_micro_batches_keep_to_the_budget_and_lose_nothing() -> None:
    batch = collate_packed(rows_of([5, 512, 9, 7, 30, 2, 2]))
    parts = list(micro_batches(batch, token_budget=40))
    assert [part["lengths"] for part in parts] == [[5], [512], [9, 7], [30, 2, 2]]
    for name in ("labels", "input_ids", "position_ids"):
        dim = 0 if name == "labels" else 1
        assert torch.equal(torch.cat([part[name] for part in parts], dim=dim), batch[name])
    assert [part["starts"].tolist() for part in parts] == [[0], [0], [0, 9], [0, 30, 32]]


def queries(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 4, sum(lengths), 16, generator=generator) for _ in range(3)]


def test_attention_drops_as_much_as_it_is_told_to() -> None:
    q, k, v = queries([7, 5])

    def attend(**how: float) -> torch.Tensor:
        torch.manual_seed(0)
        return attention_within_texts(nn.Identity(), q, k, v, None, texts=Texts([7, 5]), **how)[0]

    assert torch.equal(attend(), attend(dropout=0.0))
    assert not torch.allclose(attend(), attend(dropout=0.5))
    assert not attend(dropout=1.0).any()


def test_attention_is_scaled_as_it_is_told_to_and_by_the_size_unless_told() -> None:
    q, k, v = queries([7, 5])
    usual, as_usual, other = (
        attention_within_texts(nn.Identity(), q, k, v, None, scaling=scaling, texts=Texts([7, 5]))[0]
        for scaling in (None, 16**-0.5, 1.0)
    )
    torch.testing.assert_close(usual, as_usual)
    assert not torch.allclose(usual, other)


def test_in_training_attention_drops_as_the_config_says(model: PreTrainedModel) -> None:
    model.config.hidden_dropout_prob = 0.0
    model.config.attention_probs_dropout_prob = 0.5
    trained = type(model)(model.config).train()
    batch = collate_packed(rows_of([9, 30]))
    batch.pop("labels")
    with packed(trained) as classifier, torch.no_grad():
        hidden = [
            classifier.model.roberta(
                batch["input_ids"], position_ids=batch["position_ids"], texts=Texts(batch["lengths"])
            ).last_hidden_state
            for _ in range(2)
        ]
    assert not torch.allclose(*hidden)


def test_no_text_sees_another(model: PreTrainedModel) -> None:
    rows = rows_of([9, 30, 12])
    with packed(model) as classifier:

        def logits(rows: list[dict[str, object]]) -> torch.Tensor:
            batch = collate_packed(rows)
            batch.pop("labels")
            return classifier(**batch).logits

        alone = torch.cat([logits([row]) for row in rows])
        torch.testing.assert_close(logits(rows), alone, rtol=1e-4, atol=1e-5)


def test_a_model_attends_as_usual_after_the_block(model: PreTrainedModel) -> None:
    usual = model.config._attn_implementation

    def fail() -> None:
        with packed(model):
            assert model.config._attn_implementation != usual
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.config._attn_implementation == usual


def test_rows_stand_one_after_another_and_their_places_begin_anew() -> None:
    batch = collate_packed([{"input_ids": [0, 7, 2], "label": 1}, {"input_ids": [0, 2], "label": 0}])
    assert batch.pop("lengths") == [3, 2]
    assert {name: values.tolist() for name, values in batch.items()} == {
        "labels": [1, 0],
        "starts": [0, 3],
        "input_ids": [[0, 7, 2, 0, 2]],
        "position_ids": [[2, 3, 4, 2, 3]],
    }
    assert "labels" not in collate_packed([{"input_ids": [0, 2]}])


@pytest.mark.parametrize(
    ("lengths", "budget", "sizes"),
    [
        ([10, 10, 10], 30, [3]),
        ([10, 10, 10], 29, [2, 1]),
        ([10, 20, 10], 30, [2, 1]),
        ([40], 30, [1]),
        ([10, 40, 10], 30, [1, 1, 1]),
        ([31, 31], 30, [1, 1]),
    ],
)
def test_a_part_has_as_many_texts_as_its_budget_holds(
    lengths: list[int], budget: int, sizes: list[int]
) -> None:
    parts = micro_batches(collate_packed(rows_of(lengths)), budget)
    assert [len(part["labels"]) for part in parts] == sizes


GIGABYTE = 2**30


@pytest.mark.parametrize(
    ("free", "hidden_size", "layers", "tokens"),
    [
        (3 * GIGABYTE, 768, 12, 5140),
        (3 * GIGABYTE, 1024, 24, 2048),
        (20 * GIGABYTE, 1024, 24, 8192),
        (GIGABYTE // 10, 768, 12, 2048),
    ],
    ids=["base on a T4", "large on a T4", "large on an H100", "hardly any room"],
)
def test_a_gpu_computes_as_many_tokens_at_once_as_its_memory_holds(
    free: int, hidden_size: int, layers: int, tokens: int
) -> None:
    assert tokens_in(free, hidden_size, layers) == tokens


def test_a_cpu_computes_few_tokens_at_once(model: PreTrainedModel) -> None:
    assert token_budget(model.config, torch.device("cpu")) == 2048
