"""The pictures of a page are small, lose no defect, and outline what they say they outline."""

import re

import numpy as np
import pytest
from pages import photograph
from PIL import Image
from scipy.ndimage import gaussian_filter

from adcli.pictures.cards import HEAT_BYTES, LONG_SIDE, PHOTO_BYTES, Picture, outline, picture


def polygons(path: str) -> list[np.ndarray]:
    """Return the corners (P, 2) of each closed line of a path, in pixels."""
    lines = []
    for line in path.split("M")[1:]:
        start, *moves = re.findall(r"-?\d+ ?-?\d+", line)
        steps = [[int(number) for number in re.findall(r"-?\d+", part)] for part in (start, *moves)]
        lines.append(np.cumsum(steps, axis=0) / 2)
    return lines


def enclosed(path: str) -> float:
    """Return the area within a path, holes taken off, by the shoelace formula."""
    total = 0.0
    for corners in polygons(path):
        x, y = corners.T
        total += (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    return abs(total)


@pytest.mark.parametrize("corner", [(20, 30), (0, 0), (40, 44)])
def test_an_outline_encloses_what_lies_above_the_level(corner: tuple[int, int]) -> None:
    top, left = corner
    values = np.zeros((64, 64), np.float32)
    values[top : top + 24, left : left + 20] = 1
    expected = (values > 0.5).sum() * 25
    assert enclosed(outline(values, 0.5, (320, 320))) == pytest.approx(expected, rel=0.03)


def test_an_outline_of_a_ring_leaves_its_hole_out() -> None:
    y, x = np.mgrid[:100, :100]
    distance = np.hypot(y - 50, x - 50)
    ring = ((distance > 15) & (distance < 35)).astype(np.float32)
    path = outline(ring, 0.5, (100, 100))
    assert len(polygons(path)) == 2
    assert enclosed(path) == pytest.approx(ring.sum(), rel=0.03)


def test_an_outline_follows_the_shape_of_the_drawing() -> None:
    values = np.zeros((10, 10), np.float32)
    values[4:6, 4:6] = 1
    (corners,) = polygons(outline(values, 0.5, (400, 100)))
    width, height = np.ptp(corners, axis=0)
    assert width == pytest.approx(4 * height)
    assert (corners.min(axis=0) + corners.max(axis=0)) / 2 == pytest.approx((200, 50), abs=1)


def test_nothing_above_the_level_gives_no_outline() -> None:
    assert outline(np.ones((8, 8), np.float32), 1.0, (80, 80)) == ""


def made(pixels: np.ndarray, anomaly_map: np.ndarray | None = None, mask: np.ndarray | None = None) -> Picture:
    marked = None if anomaly_map is None else anomaly_map > 0.5
    return picture(pixels, anomaly_map, marked=marked, map_range=(0.0, 1.0), mask=mask)


def test_a_defect_of_one_pixel_in_a_large_photograph_is_outlined() -> None:
    mask = np.zeros((3000, 4001), bool)
    mask[1234, 3210] = True
    (corners,) = polygons(made(np.zeros((300, 400, 3), np.uint8), mask=mask).true)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    assert middle == pytest.approx((3210 / 4001 * LONG_SIDE, 1234 / 3000 * LONG_SIDE * 0.75), abs=2)


def test_pictures_of_noise_keep_to_their_bounds() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (900, 1200, 3), np.uint8)
    small = made(noise, random.random((256, 256), np.float32))
    for uri, limit in ((small.photo, PHOTO_BYTES), (small.heat, HEAT_BYTES)):
        assert uri is not None
        assert len(uri) <= limit * 4 / 3 + 100


def test_a_photograph_keeps_its_shape_and_its_look() -> None:
    scene = np.stack([gaussian_filter(np.random.default_rng(1).random((600, 900)), 9)] * 3, axis=2)
    pixels = np.rint(255 * (scene - scene.min()) / np.ptp(scene)).astype(np.uint8)
    small = made(pixels)
    assert (small.width, small.height) == (LONG_SIDE, LONG_SIDE * 2 // 3)
    expected = np.asarray(Image.fromarray(pixels).resize((small.width, small.height)), float)
    assert np.abs(np.asarray(photograph(small.photo).convert("RGB"), float) - expected).mean() < 4


def test_a_heat_map_is_hot_where_the_map_is() -> None:
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[8:24, 40:56] = 1
    heat = made(np.zeros((64, 64, 3), np.uint8), anomaly_map).heat
    assert heat is not None
    rgba = np.asarray(photograph(heat).convert("RGBA"), int)
    hot, cold = rgba[rgba.shape[0] // 4, rgba.shape[1] * 3 // 4], rgba[-4, 4]
    assert hot[0] > hot[2] + 60
    assert hot[3] > cold[3] + 60


def test_small_photographs_are_not_enlarged() -> None:
    assert made(np.zeros((20, 30, 3), np.uint8)).width == 30


def test_what_was_not_looked_at_is_dark_and_lies_outside_of_outlines() -> None:
    anomaly_map = np.ones((64, 64), np.float32)
    anomaly_map[:, :32] = np.nan
    small = made(np.zeros((64, 64, 3), np.uint8), anomaly_map)
    assert enclosed(small.predicted) == pytest.approx(64 * 32, rel=0.05)
    assert min(corners[:, 0].min() for corners in polygons(small.predicted)) >= 31
    assert small.heat is not None
    rgba = np.asarray(photograph(small.heat).convert("RGBA"), int)
    unseen, seen = rgba[rgba.shape[0] // 2, 4], rgba[rgba.shape[0] // 2, -4]
    assert unseen[:3].max() < 30
    assert seen[:3].max() > 80
    assert unseen[3] > 100
