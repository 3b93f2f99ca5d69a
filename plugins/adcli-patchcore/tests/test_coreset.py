"""The coreset is that of the plain greedy loop."""

import pytest
import torch
from torch import Tensor

from adcli_patchcore.coreset import greedy_k_centre


def plain_greedy(points: Tensor, count: int, first: int) -> list[int]:
    """Pick the farthest point from all picks, one at a time, in float64."""
    points = points.double()
    picks = [first]
    nearest = (points - points[first]).square().sum(dim=1)
    while len(picks) < count:
        picks.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[picks[-1]]).square().sum(dim=1))
    return picks


def coverage(points: Tensor, picks: list[int]) -> float:
    """Return the largest distance of a point to its nearest pick."""
    return float(torch.cdist(points.double(), points[picks].double()).amin(dim=1).max())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("block", [2, 16, 500])
def test_picks_are_those_of_the_plain_loop(seed: int, block: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, 12, generator=generator) * 4
    points = centres[torch.randint(7, (400,), generator=generator)] + torch.randn(400, 12, generator=generator)
    first = int(torch.randint(400, (1,), generator=generator))
    assert list(greedy_k_centre(points, 90, first=first, block=block)) == plain_greedy(points, 90, first)


def test_points_far_from_the_origin_are_told_apart() -> None:
    points = torch.randn(300, 8, generator=torch.Generator().manual_seed(1)) + 1000
    picks = list(greedy_k_centre(points, 60, block=32))
    assert coverage(points, picks) <= 1.001 * coverage(points, plain_greedy(points, 60, 0))


def test_all_points_can_be_picked_and_none_twice() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    assert sorted(greedy_k_centre(points, 50, block=8)) == list(range(50))


def test_duplicates_are_picked_last_and_never_twice() -> None:
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(3)).repeat(10, 1)
    picks = list(greedy_k_centre(points, 50, block=8))
    assert len({pick % 5 for pick in picks[:5]}) == 5
    assert sorted(picks) == list(range(50))


def test_one_pick_is_the_first() -> None:
    assert list(greedy_k_centre(torch.randn(9, 2), 1, first=4)) == [4]
