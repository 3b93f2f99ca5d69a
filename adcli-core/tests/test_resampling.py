"""Resampling: the sums that its definition says, in float64, whatever the sides, and no product that is shared out."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adcli.data.decoding import FINE, resize
from adcli.data.resampling import NO_BORDERS, PRODUCT, Borders, list_bands, resample

SIDES = [(64, 64), (300, 300), (231, 407), (13, 900), (1, 1), (2, 700), (1200, 40)]
SIZES = [(256, 256), (31, 64), (1, 1), (90, 7)]


def draw(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def weigh(total: int, count: int) -> NDArray[np.float64]:
    """Return the weights (count, total) of a triangle that is as wide as two output lines, or two input lines."""
    scale = total / count
    distance = (np.arange(total) + 0.5) - ((np.arange(count) + 0.5) * scale)[:, None]
    weights = np.maximum(1 - np.abs(distance) / max(scale, 1.0), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def sum_in_float64(levels: NDArray[np.uint8], size: tuple[int, int], borders: Borders) -> NDArray[np.float64]:
    padded = np.pad(levels.astype(np.float64), (*borders, (0, 0)), mode="edge")
    down, across = weigh(padded.shape[0], size[0]), weigh(padded.shape[1], size[1])
    return np.einsum("ah,hwc,bw->cab", down, padded, across, optimize=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sides", SIDES)
def test_each_value_is_the_sum_that_the_definition_says(sides: tuple[int, int], size: tuple[int, int]) -> None:
    for channels in (1, 3):
        for borders in (NO_BORDERS, ((3, 40), (0, 0)), ((0, 0), (500, 2))):
            levels = draw(*sides, channels)
            expected = sum_in_float64(levels, size, borders)
            np.testing.assert_allclose(resample(levels, size, borders), expected, atol=3e-4)


@pytest.mark.parametrize("sides", [(900, 900), (640, 480), (777, 1201)])
def test_levels_are_those_of_float64_but_where_it_is_undecided(sides: tuple[int, int]) -> None:
    for size in ((256, 256), (450, 300)):
        levels = draw(*sides)
        exact = sum_in_float64(levels, size, NO_BORDERS).transpose(1, 2, 0)
        expected = np.rint(np.rint(exact * FINE) / FINE).clip(0, 255)
        different = resize(levels, size) != expected
        undecided = np.abs(exact - np.floor(exact) - 0.5) < 2e-4
        assert not (different & ~undecided).any()
        assert different.mean() < 1e-4


def test_pillow_has_the_same_filter() -> None:
    levels = draw(500, 333)
    for channel in range(3):
        plane = Image.fromarray(levels[:, :, channel]).convert("F").resize((64, 128), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resample(levels, (128, 64))[channel], np.asarray(plane), atol=1e-4)


def test_a_part_of_a_larger_image_is_resampled_as_a_copy_of_it() -> None:
    whole = draw(400, 500)
    part = whole[13:300, 50:401]
    np.testing.assert_array_equal(resample(part, (64, 64)), resample(part.copy(), (64, 64)))
    grey = np.broadcast_to(part[:, :, :1], part.shape)
    np.testing.assert_array_equal(resize(grey, (64, 64))[:, :, 2], resize(grey.copy(), (64, 64))[:, :, 0])


@pytest.mark.parametrize("total", [1, 30, 256, 3000, 20000])
@pytest.mark.parametrize("count", [1, 256, 512])
@pytest.mark.parametrize("borders", [(0, 0), (700, 0), (5, 9000)])
def test_bands_cover_all_lines_in_order_and_weigh_one(total: int, count: int, borders: tuple[int, int]) -> None:
    for block in (2, 32):
        bands = list_bands(total, count, borders, block)
        assert [band.first for band in bands] == list(range(0, count, block))
        assert sum(len(band.weights) for band in bands) == count
        assert bands[0].low == 0
        assert bands[-1].end == total
        for band, after in pairwise(bands):
            assert band.low <= after.low <= band.end <= after.end
        for band in bands:
            np.testing.assert_allclose(band.weights.sum(axis=1), 1, atol=1e-5)
            # Wider ones are cut along their lines.
            assert band.weights.size <= PRODUCT
