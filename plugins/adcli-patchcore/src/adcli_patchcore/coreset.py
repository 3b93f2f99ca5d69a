"""Greedy k-centre selection: a small set of points that leaves no point far from it."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from adcli.nn import can_compile_kernels, memory_share
from adcli_patchcore.halves import Halves, has_matrix_units

BLOCK = 2048
DISTANCES = 16384 * BLOCK // 8
"""Distances that are computed at a time on a CPU."""


def greedy_k_centre(points: Tensor, count: int, *, first: int = 0, block: int = BLOCK) -> Iterator[int]:
    """Yield the indices of ``count`` points, each the farthest from those before it (paper, Algorithm 1).

    The plain loop looks at all points for each pick. Here picks come in blocks, and are the same. The candidates of a
    block are the ``block`` farthest points. Distances only fall, so the farthest candidate is the farthest of all
    points, as long as it lies no nearer than the nearest candidate did when the block began. A block needs the
    candidates' distance matrix and, at its end, one matrix product that updates all points: work for the processor
    rather than for the memory.

    Args:
        points: (N, D), float32.
        count: how many to pick, from 0 to N.
        first: the point to start from.
        block: candidates per block.
    """
    if count < 1:
        return
    # About the mean, distances are the same and lose fewer digits to cancellation.
    points = points - points.mean(dim=0)
    norms = points.square().sum(dim=1)
    halves = split_where_faster(points)
    distances = torch.full_like(norms, torch.inf)
    picked = torch.tensor([first], device=points.device)
    yield first
    done = 1
    while done < count:
        lower_distances(distances, points, norms, points[picked], norms[picked], halves)
        # Marked as picked.
        distances[picked] = -torch.inf
        nearest, candidates = torch.topk(distances, min(block, len(points)))
        floor = find_floor(nearest, len(points))
        found = picks_among(points[candidates], norms[candidates], nearest, floor, count - done)
        picked = candidates[found]
        yield from picked.cpu().tolist()
        done += len(picked)


def find_floor(nearest: Tensor, total: int) -> Tensor:
    """Return what no point outside a block is farther than, (); ``nearest`` are its candidates' distances, falling."""
    return nearest[-1] if len(nearest) < total else nearest.new_full((), -torch.inf)


def picks_among(points: Tensor, norms: Tensor, nearest: Tensor, floor: Tensor, count: int) -> Tensor:
    """Return the greedy picks among a block's candidates, up to ``count``, while they lie no nearer than the floor.

    Args:
        points: the candidates, (N, D).
        norms: their squared norms, (N,).
        nearest: their squared distances to all picks before, (N,).
        floor: the least of these, if points outside the block may lie as far, ().
        count: how many to pick at most.
    """
    distances = _squared_distances(points, norms, points, norms)
    if can_compile_kernels(distances.device):
        from adcli_patchcore.kernels import pick_on_gpu

        return pick_on_gpu(distances, nearest, floor, count)
    matrix, remaining, least = distances.cpu().numpy(), nearest.cpu().numpy(), float(floor)
    found: list[int] = []
    while len(found) < min(count, len(points)):
        farthest = int(remaining.argmax())
        if remaining[farthest] < least:
            break
        found.append(farthest)
        np.minimum(remaining, matrix[farthest], out=remaining)
        # A point never comes twice, even among duplicates at distance zero.
        remaining[farthest] = -np.inf
    return torch.tensor(found, dtype=torch.int64, device=points.device)


def split_where_faster(points: Tensor) -> Halves | None:
    """Return points (N, D) as halves for :func:`lower_distances`, if a GPU has matrix units."""
    return Halves.of(points) if has_matrix_units(points.device) else None


def lower_distances(
    distances: Tensor,
    points: Tensor,
    norms: Tensor,
    chosen: Tensor,
    chosen_norms: Tensor,
    halves: Halves | None,
) -> None:
    """Lower the squared distances of all points to those chosen, in place, in bounded memory.

    With the points as halves, a GPU's matrix units compute.
    """
    if halves is not None:
        least, _ = halves.find_nearest(Halves.of(chosen))
        torch.minimum(distances, least.mul_(2).add_(norms).clamp_(min=0), out=distances)
        return
    # On a GPU, fewer and larger products: it would else spend its time on starting them.
    distances_at_a_time = memory_share(points.device, 1 / 160, 4 * DISTANCES) // 4
    rows = max(distances_at_a_time // max(len(chosen), 1), 256)
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        # The point's own norm is added to the least sum alone, which rounds to the same as the least of all.
        least = torch.addmm(chosen_norms, points[part], chosen.T, alpha=-2).amin(dim=1)
        torch.minimum(distances[part], least.add_(norms[part]).clamp_(min=0), out=distances[part])


def _squared_distances(rows: Tensor, row_norms: Tensor, columns: Tensor, column_norms: Tensor) -> Tensor:
    products = torch.addmm(column_norms, rows, columns.T, alpha=-2)
    return products.add_(row_norms[:, None]).clamp_(min=0)
