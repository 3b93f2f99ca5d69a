"""Sums and rows over the processes of one training; in a single process nothing here does a thing.

Each process holds the whole model and a part of the images: :meth:`adcli.nn.batches.Batches.sharded`. What a fit finds
in its part it joins with :func:`reduce_sum` or :func:`gather`, after which all processes hold the same.
"""

import torch
from torch import Tensor
from torch import distributed as dist

from adcli._process.torchrun import (
    explain_broken_connections,
    is_joined,
    joined,
    local_rank,
    on_first,
    rank,
    world_size,
)

__all__ = ["broadcast", "gather", "joined", "local_rank", "on_first", "rank", "reduce_sum", "world_size"]


def reduce_sum(tensor: Tensor) -> Tensor:
    """Add up a tensor over all processes, in place; every process gets the same, to the bit."""
    if not is_joined():
        return tensor
    total = tensor.contiguous()
    with explain_broken_connections():
        dist.all_reduce(total)
    return tensor if total is tensor else tensor.copy_(total)


def gather(tensor: Tensor) -> Tensor:
    """Return the rows of all processes' tensors (N_i, ...) in the order of the processes, (N_0 + N_1 + ..., ...)."""
    if not is_joined():
        return tensor
    counts = torch.zeros(world_size(), dtype=torch.int64, device=tensor.device)
    counts[rank()] = len(tensor)
    lengths: list[int] = reduce_sum(counts).tolist()
    padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in lengths]
    with explain_broken_connections():
        dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def broadcast(tensor: Tensor) -> Tensor:
    """Give every process the first one's tensor, in place; all must have its shape and type."""
    if not is_joined():
        return tensor
    sent = tensor.contiguous()
    with explain_broken_connections():
        dist.broadcast(sent, 0)
    return tensor if sent is tensor else tensor.copy_(sent)
