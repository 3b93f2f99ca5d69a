"""The chain of Gaussians is the joint Gaussian of the repeated maps."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from adcli_padim.gaussians import FACTORED, Moments, NestedGaussians, inverse_cholesky

EPSILON = 0.01


def drawn(shapes: Sequence[tuple[int, int, int]], count: int, seed: int) -> list[Tensor]:
    """Draw maps whose channels go together within and across maps."""
    random = torch.Generator().manual_seed(seed)
    common = torch.randn(count, 1, 1, 1, generator=random)
    return [torch.randn(count, *shape, generator=random).cumsum(dim=1) + common for shape in shapes]


def estimated(maps: Sequence[Tensor], batch: int) -> NestedGaussians:
    """Estimate Gaussians from a batch of the maps at a time."""
    moments, gaussians = Moments(), NestedGaussians(len(maps))
    for parts in zip(*(part.split(batch) for part in maps), strict=True):
        moments.add(parts)
    gaussians.estimate(moments, len(maps[0]), EPSILON)
    return gaussians


def repeated(maps: Sequence[Tensor]) -> np.ndarray:
    """Bring maps to the grid of the last, each first to that of the next, and join them, (N, D, h, w)."""
    whole = maps[0]
    for part in maps[1:]:
        down, across = (np.arange(f) * c // f for f, c in zip(part.shape[2:], whole.shape[2:], strict=True))
        whole = torch.cat([whole[:, :, down][:, :, :, across], part], dim=1)
    return whole.double().numpy()


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 4, 6)],
        [(7, 2, 3), (5, 4, 6)],
        [(20, 2, 3), (3, 4, 6), (1, 8, 12)],
        [(4, 2, 3), (3, 4, 3), (2, 4, 9)],
        [(4, 4, 3), (3, 8, 6), (2, 15, 11)],
        [(4, 3, 2), (3, 5, 4), (2, 15, 8)],
    ],
    ids=["one map", "two", "three", "halved along one axis", "uneven at the end", "uneven in between"],
)
@torch.inference_mode()
def test_squared_distances_are_scipys_of_the_repeated_maps(shapes: list[tuple[int, int, int]]) -> None:
    fitted, others = drawn(shapes, 40, seed=0), drawn(shapes, 3, seed=1)
    found = estimated(fitted, batch=40)(others)
    good, new = repeated(fitted), repeated(others)
    assert found.shape == (3, 1, *shapes[-1][1:])
    for y, x in np.ndindex(*found.shape[2:]):
        covariance = np.cov(good[:, :, y, x], rowvar=False) + EPSILON * np.eye(good.shape[1])
        centre = good[:, :, y, x].mean(axis=0, keepdims=True)
        expected = cdist(new[:, :, y, x], centre, "mahalanobis", VI=np.linalg.inv(np.atleast_2d(covariance)))[:, 0] ** 2
        np.testing.assert_allclose(found[:, 0, y, x].numpy(), expected, rtol=1e-3)


@torch.inference_mode()
def test_the_sums_do_not_depend_on_the_batches() -> None:
    shapes = [(4, 2, 2), (3, 4, 4)]
    maps, others = drawn(shapes, 24, seed=0), drawn(shapes, 3, seed=1)
    torch.testing.assert_close(estimated(maps, batch=24)(others), estimated(maps, batch=6)(others), rtol=1e-4, atol=0)


@torch.inference_mode()
def test_a_mean_far_from_zero_costs_no_digits() -> None:
    shapes = [(4, 2, 2), (3, 4, 4)]
    maps, others = drawn(shapes, 24, seed=0), drawn(shapes, 3, seed=1)
    near = estimated(maps, batch=6)(others)
    far = estimated([part + 1024 for part in maps], batch=6)([part + 1024 for part in others])
    torch.testing.assert_close(far, near, rtol=2e-3, atol=0)


@pytest.mark.parametrize("size", [1, FACTORED, FACTORED + 1, 100])
def test_inverse_cholesky_is_the_inverse_of_the_cholesky_factor(size: int) -> None:
    rows = torch.randn(3, 2 * size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    covariances = rows.mT @ rows + 0.01 * torch.eye(size, dtype=torch.float64)
    expected = torch.linalg.inv(torch.linalg.cholesky(covariances))
    torch.testing.assert_close(inverse_cholesky(covariances), expected, rtol=1e-8, atol=1e-10)
