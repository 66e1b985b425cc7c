"""Padding-free batches: the texts of a batch follow one another in one sequence, each blind to the others.

Most grievances are short and a few are very long: padded to its longest text, a batch is mostly padding. Here
the linear layers compute only real tokens; attention and positions stay within each text. Logits and
gradients equal those of the padded model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

ATTENTION = "within_texts"
FIRST_POSITION = 2  # XLM-R numbers positions from padding_idx + 1
Batch = dict[str, Tensor]


def attention_within_texts(  # noqa: PLR0913 (transformers' interface)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    lengths: Sequence[int],
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each text to itself.

    query, key, value: (1, heads, tokens, size), texts one after another; lengths: tokens of each text.
    Returns (1, tokens, heads, size), as transformers' AttentionInterface requires.
    """
    attend = attend_nested if query.is_cuda else attend_in_turn
    return attend(query, key, value, lengths, dropout_p=dropout, scale=scaling), None


def attend_in_turn(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], **how: Any) -> Tensor:
    """One text after the other: fastest on a CPU."""
    texts = zip(*(each.split(lengths, dim=2) for each in (query, key, value)), strict=True)
    return torch.cat([scaled_dot_product_attention(*text, **how) for text in texts], dim=2).transpose(1, 2)


def attend_nested(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], **how: Any) -> Tensor:
    """All texts in one call, as a nested tensor: a GPU has a variable-length kernel for it."""
    ends = torch.tensor([0, *lengths], device=query.device).cumsum(0)
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(
            each[0].transpose(0, 1).contiguous(), ends, min_seqlen=min(lengths), max_seqlen=max(lengths)
        ).transpose(1, 2)
        for each in (query, key, value)
    )
    return scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).values().unsqueeze(0)


AttentionInterface.register(ATTENTION, attention_within_texts)


class PackedClassifier(nn.Module):
    """An XLM-RoBERTa classifier for batches from collate_packed; it shares the weights of `model`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, position_ids: Tensor, lengths: Tensor) -> SequenceClassifierOutput:
        """input_ids, position_ids: (1, tokens); lengths: (texts,). Returns logits, (texts, classes)."""
        encoded = self.model.roberta(input_ids, position_ids=position_ids, lengths=lengths.tolist())
        first_tokens = encoded.last_hidden_state[0, lengths.cumsum(0) - lengths]
        return SequenceClassifierOutput(logits=self.model.classifier(first_tokens.unsqueeze(1)))


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[PackedClassifier]:
    """Inside the block `model` attends within texts, and works only through the PackedClassifier."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield PackedClassifier(model)
    finally:
        model.set_attn_implementation(usual)


def collate_packed(rows: Sequence[dict[str, Any]]) -> Batch:
    """Put rows with input_ids, and with labels if they have any, into one sequence."""
    lengths = [len(row["input_ids"]) for row in rows]
    batch: Batch = {"labels": torch.tensor([row["label"] for row in rows])} if "label" in rows[0] else {}
    positions = [torch.arange(FIRST_POSITION, FIRST_POSITION + length) for length in lengths]
    return batch | {
        "lengths": torch.tensor(lengths),
        "input_ids": torch.tensor([token for row in rows for token in row["input_ids"]]).unsqueeze(0),
        "position_ids": torch.cat(positions).unsqueeze(0),
    }


def micro_batches(batch: Batch, token_budget: int) -> Iterator[Batch]:
    """Split a batch between texts; each part stays within the token budget or is a single text."""
    lengths = batch["lengths"].tolist()
    starts, tokens = [0], 0
    for i, length in enumerate(lengths):
        if tokens and tokens + length > token_budget:
            starts.append(i)
            tokens = 0
        tokens += length
    sizes = [end - start for start, end in zip(starts, [*starts[1:], len(lengths)], strict=True)]
    token_sizes = [int(part.sum()) for part in batch["lengths"].split(sizes)]
    parts = {
        name: values.split(sizes) if name in ("labels", "lengths") else values.split(token_sizes, dim=1)
        for name, values in batch.items()
    }
    for i in range(len(sizes)):
        yield {name: split[i] for name, split in parts.items()}
