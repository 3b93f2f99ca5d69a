"""Patches are held in bounded memory, and a coreset of them covers all nearly as well as one of all."""

import pytest
import torch
from torch import Tensor

from adcli_patchcore.coreset import greedy_k_centre
from adcli_patchcore.held import HeldPatches

COUNT = 6000


@pytest.fixture(scope="module")
def points() -> Tensor:
    """Clusters, large and small, that come one after the other, as the sides of a part may be photographed."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([2800, 10, 1500, 5, 1000, 20, 600, 65])
    centres = torch.randn(len(sizes), 16, generator=generator) * 10
    return centres.repeat_interleave(sizes, dim=0) + torch.randn(COUNT, 16, generator=generator)


def held(points: Tensor, bound: int, batch: int = 100, wanted: int = COUNT) -> HeldPatches:
    patches = HeldPatches(len(points), bound, lambda rows: rows, wanted)
    for part in torch.split(points, batch):
        patches.add(part)
        assert len(patches.rows()) <= bound
    return patches


def coverage(points: Tensor, members: Tensor) -> float:
    """Return the largest distance of a point to its nearest member."""
    return float(torch.cdist(points.double(), members.double()).amin(dim=1).max())


def test_all_are_held_in_order_where_they_fit(points: Tensor) -> None:
    torch.testing.assert_close(held(points, COUNT).rows(), points, rtol=0, atol=0)


@pytest.mark.parametrize("bound", [600, 1501, 5999])
def test_what_is_held_are_points_and_all_have_been_seen(points: Tensor, bound: int) -> None:
    patches = held(points, bound)
    assert patches.seen == COUNT
    assert bound // 3 <= len(patches.rows()) <= bound
    assert torch.cdist(patches.rows().double(), points.double()).amin(dim=1).max() < 1e-5


def test_chunks_do_not_depend_on_how_many_come_at_a_time(points: Tensor) -> None:
    torch.testing.assert_close(held(points, 1000, 7).rows(), held(points, 1000, 512).rows(), rtol=0, atol=0)


def test_of_few_that_are_wanted_no_more_is_held_than_makes_a_difference(points: Tensor) -> None:
    patches = held(points, 3000, wanted=20)
    assert patches.kept == 160
    # With the last chunk, which is not thinned.
    assert len(patches.rows()) <= 160 + 1500


@pytest.mark.parametrize("wanted", [200, COUNT])
@pytest.mark.parametrize("bound", [1200, 3000])
def test_a_coreset_of_the_held_covers_all_nearly_as_well_as_one_of_all(points: Tensor, bound: int, wanted: int) -> None:
    rows = held(points, bound, wanted=wanted).rows()
    merged = coverage(points, rows[list(greedy_k_centre(rows, 200))])
    direct = coverage(points, points[list(greedy_k_centre(points, 200))])
    assert merged <= 1.1 * direct
    # Random points, which is the easy way to hold few, leave whole clusters out.
    some = points[torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))[:200]]
    assert coverage(points, some) > 1.5 * direct


def test_every_point_lies_within_its_chunks_largest_distance_of_what_is_held(points: Tensor) -> None:
    bound = 1200
    chunk = points[: bound // 2]
    first = chunk[list(greedy_k_centre(chunk, bound // 2 * len(chunk) // COUNT))]
    rows = held(points, bound).rows()
    torch.testing.assert_close(rows[: len(first)], first, rtol=0, atol=0)
    assert coverage(points, rows) <= 1.5 * coverage(chunk, first)


def test_the_smallest_bound_works(points: Tensor) -> None:
    assert len(held(points[:50], 3).rows()) > 0
