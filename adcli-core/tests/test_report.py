"""Pictures and regions say what the map says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from adcli.data.framing import Framing
from adcli.data.photograph import Photograph
from adcli.data.samples import Sample
from adcli.report.gallery import Gallery
from adcli.report.overlays import PANEL, draw_overlay
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import find_regions, mark


def test_regions_are_connected_parts_above_the_threshold_highest_first() -> None:
    anomaly_map = np.zeros((20, 30), np.float32)
    anomaly_map[2:5, 3:9] = 1.0
    anomaly_map[10:12, 20:22] = 2.0
    anomaly_map[12, 22] = 3.0  # touches the last one at its corner
    anomaly_map[18, 0] = 0.5  # not above
    found = find_regions(anomaly_map, mark(anomaly_map, 0.5))
    assert [(r.x, r.y, r.width, r.height, r.area, r.peak) for r in found] == [
        (20, 10, 3, 3, 5, 3.0),
        (3, 2, 6, 3, 18, 1.0),
    ]


def heat(image: object) -> np.ndarray:
    """Return the right panel of an overlay."""
    pixels = np.asarray(image).astype(int)
    width = (pixels.shape[1] - 36) // 2
    return pixels[52:-12, 24 + width : 24 + 2 * width]


def predict(anomaly_map: np.ndarray | None, pixel_threshold: float | None = None, score: float = 2.0) -> Prediction:
    photograph = Photograph("a.png", np.full((64, 48, 3), 128, np.uint8), "")
    calibration = Calibration("none", 0.01, (), (), 1.0, pixel_threshold, map_range=(0.0, 2.0))
    return Prediction(photograph, score, anomaly_map, calibration, Framing())


def picture(anomaly_map: np.ndarray | None, pixel_threshold: float | None = None, score: float = 0.5) -> Image.Image:
    return draw_overlay(predict(anomaly_map, pixel_threshold, score))


def is_outlined(image: Image.Image) -> bool:
    """Tell whether the heat map has white lines."""
    return bool((heat(image) == 255).all(axis=2).any())


@pytest.mark.parametrize("offset", [-40.0, 0.0, 7.0])
@pytest.mark.parametrize("threshold", [None, 0.5, 5.0, 1e9])
@pytest.mark.parametrize("kind", ["blob", "two", "flat", "noise", "one pixel", "partly seen"])
def test_a_defect_has_a_region_and_a_good_image_has_none_in_tables_overlays_and_reports(
    kind: str, threshold: float | None, offset: float
) -> None:
    anomaly_map = np.zeros((64, 48), np.float32)
    if kind == "noise":
        anomaly_map += np.random.default_rng(0).random((64, 48), np.float32)
    if kind != "flat":
        anomaly_map[30, 20] = 4
    if kind in ("blob", "two", "partly seen"):
        anomaly_map[26:36, 18:26] = 3
    if kind == "two":
        anomaly_map[2:8, 2:8] = 2.9
    if kind == "partly seen":
        anomaly_map[:16] = np.nan
    level = None if threshold is None else threshold + offset
    for score, has_regions in ((2.0, True), (0.5, False)):
        said = predict(anomaly_map + np.float32(offset), level, score)
        gallery = Gallery()
        gallery.add(said, Sample(Path("a.png"), "good"))
        drawn = gallery.shown()[0].picture.predicted
        assert bool(said.regions) == bool(drawn) == has_regions, kind
        if kind != "flat":
            assert is_outlined(draw_overlay(said)) == has_regions
    if threshold is not None and (anomaly_map > threshold).any():
        above = anomaly_map > threshold
        assert sum(region.area for region in predict(anomaly_map, threshold).regions) == above.sum()


def test_without_anything_above_the_threshold_the_region_lies_around_the_peak() -> None:
    anomaly_map = np.zeros((64, 48), np.float32)
    anomaly_map[10:14, 10:16] = 2.1
    anomaly_map[40:44, 30:33] = 3.0
    anomaly_map[41, 31] = 4.0
    (region,) = predict(anomaly_map, 9.0).regions
    assert (region.x, region.y, region.width, region.height, region.area, region.peak) == (30, 40, 3, 4, 12, 4.0)


def test_a_model_without_maps_has_no_regions() -> None:
    assert predict(None, 1.0).regions == ()


def test_regions_stay_when_the_map_is_let_go() -> None:
    anomaly_map = np.zeros((64, 48), np.float32)
    anomaly_map[3, 4] = 4
    said = predict(anomaly_map, 1.0)
    said.forget_map()
    assert said.map is None
    assert [(region.x, region.y) for region in said.regions] == [(4, 3)]


def test_the_hottest_place_is_red_and_the_coldest_blue() -> None:
    anomaly_map = np.zeros((64, 48), np.float32)
    anomaly_map[8:24, 8:24] = 2.0
    panel = heat(picture(anomaly_map))
    scale = panel.shape[0] / 64
    hot, cold = panel[round(16 * scale), round(16 * scale)], panel[round(50 * scale), round(40 * scale)]
    assert hot[0] > hot[2] + 40
    assert cold[2] >= cold[0]


def test_colours_mean_the_same_in_every_picture_of_a_run() -> None:
    level = np.full((64, 48), 1.5, np.float32)
    peaked = level.copy()
    peaked[0, 0] = 50.0
    np.testing.assert_array_equal(heat(picture(level))[-40:], heat(picture(peaked))[-40:])


def test_the_predicted_region_is_outlined() -> None:
    anomaly_map = gaussian_filter(np.pad(np.full((20, 20), 2.0, np.float32), ((10, 34), (10, 18))), 2)
    outlined, plain = (heat(picture(anomaly_map, pixel_threshold=1.0, score=score)) for score in (2.0, 0.5))
    assert ((outlined == 255).all(axis=2)).sum() > 100
    assert not ((plain == 255).all(axis=2)).any()


def test_panels_keep_the_shape_of_the_image() -> None:
    panel = heat(picture(np.zeros((64, 48), np.float32)))
    assert panel.shape[0] == PANEL
    assert abs(panel.shape[1] - PANEL * 48 / 64) <= 1


def test_a_model_without_maps_gets_one_panel() -> None:
    with_map, without = picture(np.zeros((64, 48), np.float32)), picture(None)
    assert without.width < with_map.width


def test_what_was_not_looked_at_is_dark_and_without_colour() -> None:
    anomaly_map = np.full((64, 48), 2.0, np.float32)
    anomaly_map[:, :16] = np.nan
    panel = heat(picture(anomaly_map, pixel_threshold=1.0))
    unseen, seen = panel[:, : panel.shape[1] // 3 - 12], panel[:, panel.shape[1] // 3 + 12 :]
    assert (np.ptp(unseen, axis=2) == 0).all()
    assert unseen.max() < 60
    assert np.ptp(seen, axis=2).min() > 40
