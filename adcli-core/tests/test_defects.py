"""Defects that are drawn: of the size and contrast that were asked for, within their shape, and where a model looks."""

import numpy as np
import pytest

from adcli.data.defects import KINDS, measure_defect, paint_defect, shape_defect
from adcli.data.framing import PLAIN, Framing, parse_framing
from adcli.data.places import find_area, find_seen


def texture(seed: int = 0, size: tuple[int, int] = (140, 180), level: int = 128) -> np.ndarray:
    values = np.random.default_rng(seed).normal(level, 6, size)
    return np.repeat(np.rint(values).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_the_longer_side_of_the_box(kind: str) -> None:
    for size in range(3, 61):
        for seed in range(5):
            weights = shape_defect(kind, size, np.random.default_rng(seed))
            inside = weights > 0
            assert max(weights.shape) == size
            # The box holds nothing but the shape.
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()
            assert (weights[inside] ** 2).mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_pixels_within_the_shape_change(kind: str) -> None:
    pixels = texture()
    before = pixels.copy()
    for seed in range(8):
        weights = shape_defect(kind, 5 + 7 * seed, np.random.default_rng(seed))
        # In a corner, in the other one, and between.
        for corner in ((0, 0), (140 - weights.shape[0], 180 - weights.shape[1]), (11, 23)):
            drawn = paint_defect(pixels, kind, weights, corner, 40, np.random.default_rng(seed))
            outside = np.ones(pixels.shape[:2], bool)
            outside[corner[0] : corner[0] + weights.shape[0], corner[1] : corner[1] + weights.shape[1]] = weights == 0
            assert (drawn[outside] == pixels[outside]).all()
            assert (drawn[~outside] != pixels[~outside]).any()
    assert (pixels == before).all()


@pytest.mark.parametrize("kind", ["scratch", "spot", "piece", "stain"])
@pytest.mark.parametrize("level", [5, 128, 250])
def test_the_measured_size_and_contrast_are_those_that_were_drawn(kind: str, level: int) -> None:
    pixels = texture(level=level)
    for size in (8, 40):
        for contrast in (20, 60, 110):
            weights = shape_defect(kind, size, np.random.default_rng(contrast))
            drawn = paint_defect(pixels, kind, weights, (40, 50), contrast, np.random.default_rng(contrast))
            mask = np.zeros(pixels.shape[:2], bool)
            mask[40 : 40 + weights.shape[0], 50 : 50 + weights.shape[1]] = weights > 0
            measured = measure_defect(drawn, mask)
            assert measured.size == size
            # Near black or white, only one direction has room. A stain fades to its outline.
            least = 0.4 if kind == "stain" else 0.85
            assert least * contrast < measured.contrast < 1.15 * contrast


def test_the_contrast_of_a_surface_is_not_that_of_a_defect() -> None:
    waves = 120 + 40 * np.sin(np.arange(180) / 6)
    stripes = np.repeat(np.rint(waves)[None, :], 140, axis=0).astype(np.uint8)
    pixels, mask = np.repeat(stripes[:, :, None], 3, axis=2), np.zeros((140, 180), bool)
    mask[40:90, 50:120] = True
    assert measure_defect(pixels, mask).contrast < 15
    pixels[mask] = pixels[mask] + 40
    assert measure_defect(pixels, mask).contrast == pytest.approx(40, rel=0.15)


def test_the_largest_region_of_a_mask_is_measured_against_what_no_region_holds() -> None:
    pixels, mask = np.full((60, 60, 3), 100, np.uint8), np.zeros((60, 60), bool)
    mask[10:20, 10:34] = mask[21:25, 10:20] = True
    pixels[10:20, 10:34], pixels[21:25, 10:20] = 150, 255
    assert measure_defect(pixels, mask) == (24, pytest.approx(50, rel=1e-4))


def test_a_mask_of_the_whole_photograph_has_no_contrast() -> None:
    assert measure_defect(texture(), np.ones((140, 180), bool)) == (180, 0.0)


def test_blur_takes_contrast_from_a_texture() -> None:
    pixels, weights = texture(), np.ones((30, 30), np.float32)
    spread = [
        paint_defect(pixels, "blur", weights, (20, 20), contrast, np.random.default_rng(0))[20:50, 20:50].std()
        for contrast in (5, 12, 30, 75)
    ]
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 1.5 < 3 < spread[0]


FRAMINGS = {
    "region": parse_framing("30,20,100,90", None, "squash", None),
    "zones": parse_framing("a=10,10,60,60 b=90,60,70,70", None, "squash", None),
    "crop": parse_framing(None, "80x90", "letterbox", None),
    "ignored": Framing(ignored=np.eye(140, 180, dtype=bool) | (np.arange(180) > 120)[None, :]),
}


@pytest.mark.parametrize("way", FRAMINGS)
def test_nothing_is_drawn_where_nothing_is_looked_at(way: str) -> None:
    framing, pixels = FRAMINGS[way], texture()
    seen = find_seen(framing, framing.find_sheet((64, 64)), (140, 180))
    assert seen is not None
    assert 0 < seen.sum() < seen.size
    area = find_area(pixels, seen)
    placed = 0
    for kind in KINDS:
        for number in range(40):
            random = np.random.default_rng(number)
            weights = shape_defect(kind, 3 + number, random)
            corner = area.place(weights > 0, random)
            if corner is not None:
                placed += 1
                drawn = paint_defect(pixels, kind, weights, corner, 60, random)
                assert (drawn[~seen] == pixels[~seen]).all()
    assert placed > 150


def test_everything_is_looked_at_without_a_framing() -> None:
    assert find_seen(PLAIN, (64, 64), (140, 180)) is None


def test_what_has_no_room_has_no_place() -> None:
    area = find_area(texture(size=(20, 20)), None)
    assert area.place(np.ones((21, 3), bool), np.random.default_rng(0)) is None


def lit(background: int) -> np.ndarray:
    """Return a part with a texture on a background of one colour; the part has a hole of that colour."""
    pixels = np.full((300, 400, 3), background, np.uint8)
    pixels[60:240, 100:300] = texture(size=(180, 200))
    pixels[100:120, 150:170] = background
    return pixels


@pytest.mark.parametrize("background", [0, 250])
def test_the_middle_lies_on_the_part_and_not_in_the_background(background: int) -> None:
    area = find_area(lit(background), None)
    assert area.background == pytest.approx(0.7, abs=0.01)
    for number in range(200):
        corner = area.place(np.ones((5, 5), bool), np.random.default_rng(number))
        assert corner is not None
        assert 60 <= corner[0] + 2 < 240
        assert 100 <= corner[1] + 2 < 300


def test_the_background_is_drawn_into_if_that_is_asked_for() -> None:
    assert find_area(lit(0), None, anywhere=True).background == 0


@pytest.mark.parametrize("pixels", [texture(), np.full((50, 50, 3), 77, np.uint8)], ids=["texture", "one colour"])
def test_a_surface_that_fills_the_photograph_is_no_background(pixels: np.ndarray) -> None:
    area = find_area(pixels, None)
    assert area.background == 0
    assert len(area.points) == pixels.shape[0] * pixels.shape[1]


def test_a_large_photograph_is_looked_at_in_steps() -> None:
    area = find_area(np.tile(texture(), (8, 8, 1)), None)
    assert area.step == 3
    corners = [area.place(np.ones((60, 60), bool), np.random.default_rng(number)) for number in range(50)]
    assert all(corner is not None and corner[0] <= 1120 - 60 and corner[1] <= 1440 - 60 for corner in corners)
