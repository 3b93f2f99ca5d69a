"""In the pictures of large photographs, nothing is lost that is small, and nothing is where it is not."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from pages import photograph as opened
from PIL import Image
from scipy.ndimage import label

from adcli.data.framing import Framing
from adcli.data.photograph import Photograph
from adcli.data.samples import Sample
from adcli.pictures.cards import LONG_SIDE, PHOTO_BYTES, picture
from adcli.pictures.shrinking import FEW, NOTICED, fit_map, show_spots, shrink_mask
from adcli.report.gallery import Gallery
from adcli.report.overlays import PANEL, draw_overlay
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction

SIZE = (3000, 4000)
CALIBRATION = Calibration("none", 0.01, (), (), 0.5, 0.5, map_range=(0.0, 1.0))
PLACES = [(0, 0), (2990, 3990), (1234, 2468), (0, 3990), (2000, 7)]


def mark(place: tuple[int, int], side: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[place[0] : place[0] + side, place[1] : place[1] + side] = True
    return mask


def predict(place: tuple[int, int], side: int = 10, framing: Framing | None = None) -> Prediction:
    """Return the prediction of a grey photograph with a red spot, of which the map says that it is there."""
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    pixels[mark(place, side)] = (250, 20, 20)
    model_map = np.zeros((1500, 2000), np.float32)
    model_map[place[0] // 2 : (place[0] + side) // 2, place[1] // 2 : (place[1] + side) // 2] = 1
    return Prediction(Photograph("a.png", pixels, ""), 1.0, model_map, CALIBRATION, framing or Framing())


@pytest.mark.parametrize("seed", range(10))
def test_a_mask_and_a_map_that_are_shrunk_lose_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    full, size = (tuple(int(side) for side in random.integers(1, 80, 2)) for _ in range(2))
    anomaly_map = random.standard_normal(full).astype(np.float32)
    anomaly_map[random.random(full) < 0.3] = np.nan
    mask = anomaly_map > 1
    shrunk, fitted = shrink_mask(mask, size), fit_map(anomaly_map, size)
    assert shrunk.shape == tuple(map(min, full, size))
    assert fitted.shape == size
    assert shrunk.any() == mask.any()
    if full[0] >= size[0] and full[1] >= size[1]:
        cells = [np.searchsorted(np.arange(1, n + 1) * total // n, np.arange(total), side="right")
                 for total, n in zip(full, size, strict=True)]  # fmt: skip
        for row, column in np.ndindex(size):
            cell = anomaly_map[np.ix_(cells[0] == row, cells[1] == column)]
            expected = np.nan if np.isnan(cell).all() else np.nanmax(cell)
            np.testing.assert_equal(fitted[row, column], expected)
            assert shrunk[row, column] == (cell > 1).any()


def test_small_regions_are_squares_that_are_noticed_and_large_ones_are_as_they_are() -> None:
    mask = np.zeros((200, 300), bool)
    mask[0, 0] = mask[100, 150] = mask[199, 299] = True
    mask[50:52, 40:90] = True
    shown = show_spots(mask)
    labels, found = label(shown)
    assert found == 4
    sides = sorted(int((labels == i).sum()) for i in range(1, 5))
    assert sides == [100, *[NOTICED**2] * 3]
    assert shown[mask].all()


def test_many_small_regions_do_not_cover_the_picture() -> None:
    mask = np.zeros((200, 300), bool)
    mask[::12, ::12] = True
    assert mask.sum() > FEW
    np.testing.assert_array_equal(show_spots(mask), mask)


@pytest.mark.parametrize("place", PLACES)
def test_a_defect_of_ten_pixels_is_outlined_in_the_picture_of_a_report(place: tuple[int, int]) -> None:
    said = predict(place)
    card = picture(said.photograph.pixels, said.model_map, marked=said.marked, map_range=(0.0, 1.0), mask=mark(place))
    for path in (card.predicted, card.true):
        corner, *moves = (tuple(map(int, re.findall(r"-?\d+", part))) for part in re.findall(r"-?\d+ ?-?\d+", path))
        points = np.cumsum([corner, *moves], axis=0) / 2
        sides = np.ptp(points, axis=0)
        assert (sides > NOTICED - 1).all()
        assert (sides < NOTICED + 4).all()
        middle = (np.array(place[::-1]) + 5) * LONG_SIDE / SIZE[1]
        assert (points.min(axis=0) - 1 <= middle).all()
        assert (points.max(axis=0) + 1 >= middle).all()
    assert card.heat is not None
    heat = np.asarray(opened(card.heat).convert("RGBA"), int)
    row, column = (at * count // total for at, count, total in zip(place, heat.shape, SIZE, strict=False))
    hottest = heat[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 4)
    assert (hottest[:, 0] - hottest[:, 2]).max() > 60, "red"


@pytest.mark.parametrize("framing", [Framing(), Framing(region=(0, 0, 4000, 3000), crop=(3000, 4000))])
@pytest.mark.parametrize("place", PLACES)
def test_a_defect_of_ten_pixels_is_marked_and_shown_close_up_in_an_overlay(
    place: tuple[int, int], framing: Framing
) -> None:
    drawn = np.asarray(draw_overlay(predict(place, framing=framing))).astype(int)
    height, step = PANEL * 3 // 4, PANEL + 12
    assert drawn.shape[1] == 3 * step + 12
    _, heat, close = (drawn[52 : 52 + height, 12 + i * step : 12 + i * step + PANEL] for i in range(3))
    row, column = (at * side // total for at, side, total in zip(place, (height, PANEL), SIZE, strict=True))
    around = heat[max(row - 15, 0) : row + 15, max(column - 15, 0) : column + 15]
    white = (around == 255).all(axis=2)
    assert white.sum() > NOTICED * 4
    assert (heat == 255).all(axis=2).sum() == white.sum()
    red = (close[:, :, 0] > 200) & (close[:, :, 1] < 80)
    assert red.sum() == pytest.approx((2 * 10) ** 2, rel=0.3), "twice as large as in the photograph"
    assert (close == 255).all(axis=2).sum() > 50


def test_what_fills_a_good_part_of_the_photograph_is_not_shown_twice() -> None:
    assert draw_overlay(predict((500, 500), side=900)).width == 2 * PANEL + 36
    small = Prediction(
        Photograph("a.png", np.zeros((600, 800, 3), np.uint8), ""),
        1.0,
        np.eye(8, dtype=np.float32),
        CALIBRATION,
        Framing(),
    )
    assert draw_overlay(small).width == 2 * PANEL + 36


def test_pictures_of_a_good_image_need_no_map_of_its_size() -> None:
    said = predict((5, 5))
    said.is_defect = False
    content = io.BytesIO()
    draw_overlay(said).save(content, "PNG")
    assert Image.open(content).width == 2 * PANEL + 36
    assert "map" not in vars(said)


def close_up(prediction: Prediction, mask: np.ndarray | None = None) -> np.ndarray:
    """Return the close-up that a report shows of a prediction, RGB; of no size if it shows none."""
    gallery = Gallery()
    gallery.add(prediction, Sample(Path("a.png"), "defect"), mask)
    uri = gallery.shown()[0].picture.close
    return np.asarray(opened(uri).convert("RGB"), int) if uri else np.empty((0, 0, 3), int)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("found", [True, False])
def test_a_report_shows_close_up_what_was_found_and_else_what_was_missed(place: tuple[int, int], found: bool) -> None:
    said = predict(place)
    said.is_defect = found
    # The largest true defect lies elsewhere if this one was found, and is this one if it was missed.
    pixels = close_up(said, mark((1500, 1500), side=20) if found else mark(place) | mark((1500, 1500), side=6))
    assert pixels.shape == (150, 200, 3)
    red = (pixels[:, :, 0] > 150) & (pixels[:, :, 1] < 80)
    assert red.sum() == pytest.approx(100, rel=0.5), "pixel by pixel"


def test_there_is_no_close_up_of_a_good_image_or_of_what_is_large_or_of_a_small_photograph() -> None:
    good = predict((5, 5))
    good.is_defect = False
    assert close_up(good).size == 0
    assert close_up(predict((500, 500), side=900)).size == 0
    said = predict((5, 5))
    small = Prediction(
        Photograph("a.png", said.photograph.pixels[:500, :700].copy(), ""), 1.0, said.model_map, CALIBRATION, Framing()
    )
    assert close_up(small).size == 0


def test_a_picture_with_a_close_up_takes_no_more_of_a_page_than_one_without() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    noisy = picture(pixels, None, marked=None, map_range=(0.0, 1.0), part=(slice(0, 150), slice(0, 200)))
    assert noisy.close
    assert len(noisy.photo) + len(noisy.close) <= PHOTO_BYTES * 4 / 3 + 200
