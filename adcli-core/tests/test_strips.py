"""What is found in bands of a mask is what is in the whole of it, and what is counted in strips is all there is."""

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import find_objects, gaussian_filter, label

from adcli.metrics import strips
from adcli.metrics.pixels import PixelMetrics
from adcli.scoring.enlarging import enlarge
from adcli.scoring.regions import Region, find_regions, mark


def plain_mark(anomaly_map: np.ndarray, threshold: float | None) -> np.ndarray:
    """Mark as ``mark`` does, in the whole map."""
    seen = ~np.isnan(anomaly_map)
    above = seen & (anomaly_map > (np.inf if threshold is None else threshold))
    if above.any() or not seen.any():
        return above
    peak = int(np.nanargmax(anomaly_map))
    half = (float(np.median(anomaly_map[seen])) + float(anomaly_map.flat[peak])) / 2
    labels = label(anomaly_map >= min(half, float(anomaly_map.flat[peak])), np.ones((3, 3)))[0]
    return np.asarray(labels == labels.flat[peak])


def plain_regions(anomaly_map: np.ndarray, marked: np.ndarray) -> list[Region]:
    """Find the regions in the whole map."""
    labels, _ = label(marked, np.ones((3, 3)))
    found = []
    for index, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels[rows, columns] == index
        peak, sides = (
            float(anomaly_map[rows, columns][inside].max()),
            (columns.stop - columns.start, rows.stop - rows.start),
        )
        found.append(Region(columns.start, rows.start, *sides, int(inside.sum()), peak))
    return sorted(found, key=lambda region: region.peak, reverse=True)


def draw_map(seed: int) -> np.ndarray:
    """Draw a map with values that recur, and parts that are not known."""
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 60, 2))
    anomaly_map = gaussian_filter(random.standard_normal((height, width)), seed % 4).astype(np.float32)
    anomaly_map = np.round(anomaly_map * 8) / np.float32(8)
    if seed % 3 == 0:
        anomaly_map[random.random(anomaly_map.shape) < 0.2] = np.nan
    if seed % 5 == 0:
        anomaly_map[height // 3 : height // 2] = np.nan
    return anomaly_map


@pytest.mark.parametrize("threshold", [None, -1.0, 0.0, 0.3, 1.0, 9.0])
@pytest.mark.parametrize("seed", range(20))
def test_marks_and_regions_are_those_of_the_whole_map(
    seed: int, threshold: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP", 100)
    for anomaly_map in (draw_map(seed), draw_map(seed + 20)):
        rows = enlarge(anomaly_map, (130, 90))
        whole = rows[:]
        expected = plain_mark(whole, threshold)
        for given in (rows, whole):
            marked = mark(given, threshold)
            np.testing.assert_array_equal(marked, expected)
            assert find_regions(given, marked) == plain_regions(whole, expected)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_bands_hold_every_region_once_and_in_order(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((int(random.integers(1, 70)), int(random.integers(1, 70)))) < density
    expected, count = label(mask, np.ones((3, 3)))
    found, before = np.zeros(mask.shape, int), 0
    for band in strips.bands(mask):
        part = found[band.rows, band.columns]
        part[band.labels > 0] = band.labels[band.labels > 0] + before
        before += band.found
    assert before == count
    np.testing.assert_array_equal(found > 0, mask)
    pairs = np.unique(np.stack([found[mask], expected[mask]]), axis=1)
    assert pairs.shape[1] == count, "a region in two bands, or two regions in one"


@pytest.mark.parametrize("exact", [0, 2**25])
@pytest.mark.parametrize("framed", [False, True])
def test_metrics_do_not_depend_on_how_many_rows_are_taken_at_once(
    exact: int, framed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for strip in (1, 5000, 2**17):
        monkeypatch.setattr(strips, "STRIP", strip)
        random, metrics = np.random.default_rng(0), PixelMetrics(exact)
        for i in range(6):
            model_map, mask = random.exponential(1, (40, 50)).astype(np.float32), np.zeros((700, 620), bool)
            for row, column in random.integers(0, 300, (i % 3 * 4, 2)):
                mask[row : row + 9, column : column + 6] = True
            seen = gaussian_filter(random.standard_normal(mask.shape), 8) < 0.05 if framed else None
            metrics.update(enlarge(model_map, mask.shape), mask, "odd" if i % 2 else "even", seen)
        found.append((metrics.result(), metrics.by_kind()))
    assert {"aupimo", "aupro", "auroc"} < set(found[0][0])
    assert ("unseen" in found[0][0]) == framed
    if exact:
        assert found[0] == found[1] == found[2]
    for result, kinds in found[1:]:
        for name in ("auroc", "average_precision", "f1_max", "aupro", "aupimo"):
            assert result[name] == pytest.approx(found[0][0][name], rel=1e-12)
        for kind in ("even", "odd"):
            assert kinds[kind] == pytest.approx(found[0][1][kind], rel=1e-12)


def test_values_that_are_no_numbers_are_found_in_any_row() -> None:
    anomaly_map = np.zeros((3000, 300), np.float32)
    anomaly_map[-1, -1] = np.inf
    with pytest.raises(ValueError, match="no finite numbers"):
        PixelMetrics().update(anomaly_map, np.zeros(anomaly_map.shape, bool))


def test_images_of_twelve_megapixels_take_little_memory_and_many_as_much_as_few() -> None:
    random, metrics, mask = np.random.default_rng(0), PixelMetrics(0), np.zeros((3000, 4000), bool)
    mask[1700:1712, 40:3900:200] = True
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(6):
            tracemalloc.reset_peak()
            metrics.update(enlarge(random.random((64, 64), np.float32), mask.shape), mask)
            metrics.update(enlarge(random.random((64, 64), np.float32), mask.shape), np.zeros_like(mask))
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    # The bins take 80 MiB, a mask 12 MB; a map would take 48 MB, and its keys as much.
    assert max(peaks) < 120e6
    assert peaks[-1] < peaks[1] * 1.02
