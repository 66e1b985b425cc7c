"""Padding-free batches: the texts of a batch follow one another in one sequence, each blind to the others.

Most grievances are short and a few are very long: padded to its longest text, a batch is mostly padding. Here
the linear layers compute only real tokens, filled up to whole tiles on a GPU; attention and positions stay
within each text. Logits and gradients equal those of the padded model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

ATTENTION = "within_texts"
FIRST_POSITION = 2  # XLM-R numbers positions from padding_idx + 1
# At most this many tokens are computed at once in training, which limits memory whatever the batch. On a GPU
# more of them are faster, up to the second number for XLM-R base (measured on an H100).
CPU_TOKENS, GPU_TOKENS = 2048, 8192
# cuBLAS looks for the best kernel at each new number of tokens, about 20 ms for each layer's shapes; and it
# computes in tiles of so many rows anyway.
TILE = 128
Batch = dict[str, Any]


class Texts:
    """Where the texts of a packed batch lie: the same for all layers, so it is made once.

    lengths: tokens of each text.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self._places: Tensor | None = None

    def places(self, device: torch.device) -> Tensor:
        """For each token its place among the rows of a padded batch, (tokens,)."""
        if self._places is None:
            lengths, longest = torch.tensor(self.lengths), max(self.lengths)
            starts = torch.arange(len(lengths)) * longest - (lengths.cumsum(0) - lengths)
            places = torch.arange(int(lengths.sum())) + starts.repeat_interleave(lengths)
            self._places = places.to(device, non_blocking=True)
        return self._places

    @cached_property
    def mask(self) -> Tensor:
        """Which places of the padded batch hold a token, (texts, 1, 1, longest)."""
        assert self._places is not None, "places come first"
        shape = (len(self.lengths), 1, 1, max(self.lengths))
        held = torch.zeros(shape, dtype=torch.bool, device=self._places.device)
        held.view(-1)[self._places] = True
        return held


def attention_within_texts(  # noqa: PLR0913 (transformers' interface)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    texts: Texts,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of each text to itself.

    query, key, value: (1, heads, tokens, size), one text after another. Returns (1, tokens, heads, size), as
    transformers' AttentionInterface requires.
    """
    attend = attend_padded if query.is_cuda else attend_in_turn
    return attend(query, key, value, texts, dropout_p=dropout, scale=scaling), None


def attend_in_turn(query: Tensor, key: Tensor, value: Tensor, texts: Texts, **how: Any) -> Tensor:
    """One text after the other: fastest on a CPU."""
    split = zip(*(each.split(texts.lengths, dim=2) for each in (query, key, value)), strict=True)
    return torch.cat([scaled_dot_product_attention(*text, **how) for text in split], dim=2).transpose(1, 2)


def attend_padded(query: Tensor, key: Tensor, value: Tensor, texts: Texts, **how: Any) -> Tensor:
    """All texts in one call, padded for the attention only: fastest on a GPU, which few calls keep busy."""
    heads, size = query.shape[1], query.shape[3]
    places, count = texts.places(query.device), len(texts.lengths)
    rows = count * max(texts.lengths)

    def padded(each: Tensor) -> Tensor:
        laid_out = each.new_zeros(rows, heads, size).index_copy(0, places, each[0].transpose(0, 1))
        return laid_out.view(count, -1, heads, size).transpose(1, 2)

    q, k, v = padded(query), padded(key), padded(value)
    attended = scaled_dot_product_attention(q, k, v, attn_mask=texts.mask, **how)
    return attended.transpose(1, 2).reshape(rows, heads, size)[places].unsqueeze(0)


AttentionInterface.register(ATTENTION, attention_within_texts)


class PackedClassifier(nn.Module):
    """An XLM-RoBERTa classifier for batches from collate_packed; it shares the weights of `model`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, starts: Tensor, lengths: Sequence[int], input_ids: Tensor, position_ids: Tensor
    ) -> SequenceClassifierOutput:
        """For a batch from collate_packed. Returns logits, (texts, classes)."""
        if input_ids.is_cuda:
            input_ids, position_ids, lengths = whole_tiles(input_ids, position_ids, lengths, TILE)
        encoded = self.model.roberta(input_ids, position_ids=position_ids, texts=Texts(lengths))
        first_tokens = encoded.last_hidden_state[0, starts]
        return SequenceClassifierOutput(logits=self.model.classifier(first_tokens.unsqueeze(1)))


def whole_tiles(
    input_ids: Tensor, position_ids: Tensor, lengths: Sequence[int], tile: int
) -> tuple[Tensor, Tensor, list[int]]:
    """Fill a batch up to a multiple of `tile` tokens by a text that no one looks at.

    Its logits are not computed, so it has no gradient. It repeats the first token: a compact vocabulary
    need not hold any other.
    """
    extra = -input_ids.shape[1] % tile
    if not extra:
        return input_ids, position_ids, list(lengths)
    filler = [torch.cat([each, each[:, :1].expand(-1, extra)], dim=1) for each in (input_ids, position_ids)]
    return filler[0], filler[1], [*lengths, extra]


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
    """Put rows with input_ids, and with labels if they have any, into one sequence.

    Returns labels, starts: (texts,); input_ids, position_ids: (1, tokens); and lengths as a list: reading
    them from a GPU would make the CPU wait for it.
    """
    lengths = [len(row["input_ids"]) for row in rows]
    batch: Batch = {"labels": torch.tensor([row["label"] for row in rows])} if "label" in rows[0] else {}
    positions = [torch.arange(FIRST_POSITION, FIRST_POSITION + length) for length in lengths]
    return batch | {
        # The first tensor: the Trainer takes the number of rows from it.
        "starts": torch.tensor([0, *accumulate(lengths[:-1])]),
        "lengths": lengths,
        "input_ids": torch.tensor([token for row in rows for token in row["input_ids"]]).unsqueeze(0),
        "position_ids": torch.cat(positions).unsqueeze(0),
    }


def token_budget(config: PretrainedConfig, device: torch.device) -> int:
    """How many tokens of a training batch are computed at once: what a quarter of the free memory holds.

    A layer keeps about 34 values of the hidden size for each token, for the backward pass (Korthikanti et
    al., "Reducing Activation Recomputation in Large Transformer Models", 2022, section 4.1).
    """
    if device.type != "cuda":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    return tokens_in(free // 4, config.hidden_size, config.num_hidden_layers)


def tokens_in(free_bytes: int, hidden_size: int, layers: int) -> int:
    """The tokens whose activations, two bytes a value, fit; within the bounds in which more is faster."""
    fitting = free_bytes // (34 * 2 * hidden_size * layers)
    return min(max(fitting, CPU_TOKENS), GPU_TOKENS)


def micro_batches(batch: Batch, token_budget: int) -> Iterator[Batch]:
    """Split a batch between texts; each part stays within the token budget or is a single text."""
    lengths: list[int] = batch["lengths"]
    first, tokens, before = 0, 0, 0
    for i, length in enumerate([*lengths, token_budget]):
        if tokens and tokens + length > token_budget:
            rows, columns = slice(first, i), slice(before, before + tokens)
            part = {name: batch[name][rows] for name in ("labels", "lengths")}
            part |= {name: batch[name][:, columns] for name in ("input_ids", "position_ids")}
            yield part | {"starts": batch["starts"][rows] - before}
            first, before, tokens = i, before + tokens, 0
        tokens += length
