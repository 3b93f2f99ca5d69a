"""The coreset of points that lie in several processes, each with a part of them; in a single process, the plain one.

Points are numbered as if the processes' points stood in one tensor, in the order of the processes.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from adcli.nn import distributed, to_float64
from adcli_patchcore.coreset import (
    BLOCK,
    find_floor,
    greedy_k_centre,
    lower_distances,
    picks_among,
    split_where_faster,
)


def k_centre(points: Tensor, count: int, *, first: int = 0) -> Iterator[int]:
    """Yield the greedy picks among the points of all processes."""
    select = greedy_k_centre if distributed.world_size() == 1 else sharded_k_centre
    return select(points, count, first=first)


def sharded_k_centre(points: Tensor, count: int, *, first: int = 0, block: int = BLOCK) -> Iterator[int]:
    """Yield the picks of :func:`adcli_patchcore.coreset.greedy_k_centre` among all processes' points.

    Each process offers its farthest points, and the farthest of these are the block of candidates that a single process
    would have. The first process picks among them, and each lowers the distances of its own points.

    Args:
        points: this process's, (N_i, D), float32.
        count: how many to pick, at most the number of all points.
        first: the number of the point to start from.
        block: candidates per block.
    """
    offset, total = _position(points)
    mean = distributed.reduce_sum(points.sum(dim=0, dtype=torch.float64)) / total
    points = points - mean.float()
    norms, halves = points.square().sum(dim=1), split_where_faster(points)
    distances = torch.full_like(norms, torch.inf)
    picked = torch.tensor([first], device=points.device)
    chosen = members(points, picked)
    yield first
    done = 1
    while done < count:
        lower_distances(distances, points, norms, chosen, chosen.square().sum(dim=1), halves)
        # Their distance, about zero but for rounding, must never win again.
        mine = picked[(picked >= offset) & (picked < offset + len(points))] - offset
        distances[mine] = -torch.inf
        nearest, numbers, candidates = _farthest(distances, points, offset, min(block, total))
        found = _pick_in_first(candidates, nearest, find_floor(nearest, total), count - done)
        picked, chosen = numbers[found], candidates[found]
        yield from picked.tolist()
        done += len(picked)


def members(points: Tensor, chosen: Tensor) -> Tensor:
    """Return points by their numbers, from whichever process has them, (len(chosen), D)."""
    offset, _ = _position(points)
    mine = (chosen >= offset) & (chosen < offset + len(points))
    rows = points.new_zeros(len(chosen), points.shape[1])
    rows[mine] = points[chosen[mine] - offset]
    return distributed.reduce_sum(rows)


def standard_deviation(rows: Iterable[Tensor]) -> Tensor:
    """Return the standard deviation of all processes' points, (D,), from one pass over rows (N_i, D) at a time."""
    count, origin, total, squares = 0, torch.empty(0), torch.empty(0), torch.empty(0)
    device = origin.device
    for part in rows:
        if count == 0:
            # Sums of squares about a point near the mean lose no digits; all processes need the same one.
            device, origin = part.device, distributed.broadcast(to_float64(part).mean(dim=0))
            total, squares = torch.zeros_like(origin), torch.zeros_like(origin)
        centred = to_float64(part) - origin
        total += centred.sum(dim=0)
        squares += centred.square().sum(dim=0)
        count += len(part)
    number = distributed.reduce_sum(torch.tensor([count], device=total.device))
    total, squares = distributed.reduce_sum(total), distributed.reduce_sum(squares)
    return ((squares - total.square() / number) / (number - 1)).sqrt().float().to(device)


def _position(points: Tensor) -> tuple[int, int]:
    """Return the number of this process's first point, and how many points all have."""
    counts = distributed.gather(torch.tensor([len(points)], device=points.device))
    return int(counts[: distributed.rank()].sum()), int(counts.sum())


def _farthest(distances: Tensor, points: Tensor, offset: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances, numbers and coordinates of the farthest points of all processes, the farthest first."""
    nearest, index = torch.topk(distances, min(block, len(points)))
    offered = [distributed.gather(part) for part in (nearest, index + offset, points[index])]
    nearest, order = torch.topk(offered[0], block)
    return nearest, offered[1][order], offered[2][order]


def _pick_in_first(candidates: Tensor, nearest: Tensor, floor: Tensor, count: int) -> Tensor:
    """Return the picks among a block's candidates; the first process decides, as roundings may differ."""
    found = torch.empty(0, dtype=torch.int64, device=candidates.device)
    if distributed.rank() == 0:
        found = picks_among(candidates, candidates.square().sum(dim=1), nearest, floor, count)
    return distributed.gather(found)
