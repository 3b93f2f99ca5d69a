"""Pictures and regions say what the map says."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from adcli.data.framing import Framing
from adcli.data.photograph import Photograph
from adcli.report.overlays import PANEL, draw_overlay
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import find_regions


def test_regions_are_connected_parts_above_the_threshold_highest_first() -> None:
    anomaly_map = np.zeros((20, 30), np.float32)
    anomaly_map[2:5, 3:9] = 1.0
    anomaly_map[10:12, 20:22] = 2.0
    anomaly_map[12, 22] = 3.0  # touches the last one at its corner
    anomaly_map[18, 0] = 0.5  # not above
    found = find_regions(anomaly_map, 0.5)
    assert [(r.x, r.y, r.width, r.height, r.area, r.peak) for r in found] == [
        (20, 10, 3, 3, 5, 3.0),
        (3, 2, 6, 3, 18, 1.0),
    ]


def heat(image: object) -> np.ndarray:
    """Return the right panel of an overlay."""
    pixels = np.asarray(image).astype(int)
    width = (pixels.shape[1] - 36) // 2
    return pixels[52:-12, 24 + width : 24 + 2 * width]


def picture(anomaly_map: np.ndarray | None, pixel_threshold: float | None = None) -> Image.Image:
    photograph = Photograph("a.png", np.full((64, 48, 3), 128, np.uint8), "")
    calibration = Calibration("none", 0.01, (), (), 1.0, pixel_threshold, map_range=(0.0, 2.0))
    return draw_overlay(Prediction(photograph, 2.0, anomaly_map, calibration, Framing()))


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
    outlined, plain = heat(picture(anomaly_map, pixel_threshold=1.0)), heat(picture(anomaly_map))
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
