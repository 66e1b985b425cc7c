"""Trains only the embedding rows that occur: a data set uses about 8,000 of the 250,002 that XLM-R has.

The others get no gradient, but an optimizer would keep two moments for each and update all at every step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from transformers import PreTrainedModel


class CompactEmbedding(nn.Module):
    """The rows `occurring` of an embedding, looked up by the token ids of the full embedding."""

    row_of: Tensor

    def __init__(self, full: nn.Embedding, occurring: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(full.weight.detach()[occurring].clone())
        row_of = torch.full((full.num_embeddings,), -1, device=full.weight.device)
        row_of[occurring] = torch.arange(len(occurring), device=full.weight.device)
        self.register_buffer("row_of", row_of, persistent=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """token_ids: any shape; returns (*shape, size). An id that does not occur is an IndexError."""
        return nn.functional.embedding(self.row_of[token_ids], self.weight)


def _on_disk(weights: Tensor) -> Tensor:
    """The same values in a file of this process: of XLM-R base 0.8 GB, which training never reads."""
    if weights.device.type != "cpu":
        return weights
    with NamedTemporaryFile() as file:
        weights.numpy().tofile(file)
        file.flush()
        on_disk = torch.from_file(file.name, shared=True, size=weights.numel(), dtype=weights.dtype)
    return on_disk.view_as(weights)


@contextmanager
def compact_vocabulary(model: PreTrainedModel, token_ids: ArrayLike) -> Iterator[None]:
    """Inside the block the model's embedding holds only the rows of these token ids, which are sorted.

    Afterwards the trained rows are back in the full matrix; all others are unchanged, bit for bit.
    """
    full = model.get_input_embeddings()
    occurring = torch.as_tensor(token_ids, device=full.weight.device)
    compact = CompactEmbedding(full, occurring)
    model.set_input_embeddings(compact)
    full.weight.data = _on_disk(full.weight.data)
    for weights in model.parameters():  # as views of the checkpoint's file they keep all of it in memory
        weights.data = weights.data.clone()
    try:
        yield
    finally:
        full.weight.data[occurring] = compact.weight.data.to(full.weight.device)
        model.set_input_embeddings(full)
