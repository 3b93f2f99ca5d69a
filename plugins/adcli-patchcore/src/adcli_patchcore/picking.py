"""Greedy picks on a GPU, by a kernel of its own: each pick depends on the one before, and as operations of torch each
would be several launches, or the whole matrix a copy to the CPU.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _pick(matrix, nearest, found, done, floor, count, size, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Write the picks and their number; one program, which holds the candidates' distances in registers."""
    columns = tl.arange(0, WIDTH)
    inside = columns < size
    least = tl.load(floor)
    remaining = tl.load(nearest + columns, mask=inside, other=-float("inf"))
    picked = 0
    distance, farthest = tl.max(remaining, axis=0, return_indices=True)
    while (picked < count) & (distance >= least):
        tl.store(found + picked, farthest)
        row = tl.load(matrix + farthest * size + columns, mask=inside, other=-float("inf"))
        remaining = tl.minimum(remaining, row)
        # A point never comes twice, even among duplicates at distance zero.
        remaining = tl.where(columns == farthest, -float("inf"), remaining)
        picked += 1
        distance, farthest = tl.max(remaining, axis=0, return_indices=True)
    tl.store(done, picked)


def pick_on_gpu(matrix: Tensor, nearest: Tensor, floor: Tensor, count: int) -> Tensor:
    """Return the greedy picks among candidates; see :func:`adcli_patchcore.coreset.picks_among`.

    Args:
        matrix: the candidates' squared distances, (N, N), contiguous.
        nearest: their squared distances to all picks before, (N,).
        floor: picks end at a smaller distance, ().
        count: how many to pick at most.
    """
    size = len(nearest)
    found = torch.empty(size + 1, dtype=torch.int64, device=nearest.device)
    width = triton.next_power_of_2(size)
    _pick[(1,)](matrix, nearest, found, found[size:], floor, min(count, size), size, WIDTH=width, num_warps=8)
    return found[: int(found[size])]
