"""Where a defect is: one rule for tables, pictures and reports, applied to the map at the photograph's own size."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adcli.metrics.strips import Rows, bands, strips

Marked = NDArray[np.bool_]
"""Which pixels of a photograph (H, W) are said to be defective."""


@dataclass(frozen=True)
class Region:
    """A connected part of what is marked; x, y, width and height in pixels of the image, and the map's peak in it."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


def mark(anomaly_map: Rows, pixel_threshold: float | None) -> Marked:
    """Return which pixels of a defect's map (H, W) are marked: those above the threshold.

    If there are none, the one region around the highest value is marked: the connected pixels that are at least halfway
    from the map's median to that value. So a defect has a region whenever it has a map. NaN is never marked.
    """
    marked = np.zeros(anomaly_map.shape, bool)
    if pixel_threshold is not None:
        for rows in strips(marked.shape):
            marked[rows] = anomaly_map[rows] > pixel_threshold
    return marked if marked.any() else _mark_peak(anomaly_map[:])


def _mark_peak(anomaly_map: NDArray[np.float32]) -> Marked:
    marked, seen = np.zeros(anomaly_map.shape, bool), ~np.isnan(anomaly_map)
    if not seen.any():
        return marked
    row, column = np.unravel_index(int(np.nanargmax(anomaly_map)), anomaly_map.shape)
    peak = float(anomaly_map[row, column])
    half = (float(np.median(anomaly_map if seen.all() else anomaly_map[seen])) + peak) / 2
    for band in bands(anomaly_map >= min(half, peak)):
        if band.rows.start <= row < band.rows.stop:
            label = band.labels[row - band.rows.start, column - band.columns.start]
            marked[band.rows, band.columns] = band.labels == label
    return marked


def find_regions(anomaly_map: Rows, marked: Marked) -> list[Region]:
    """Return the 8-connected regions of what is marked in a map (H, W), the highest peak first."""
    return sorted(_list_regions(anomaly_map, marked), key=lambda region: region.peak, reverse=True)


def _list_regions(anomaly_map: Rows, marked: Marked) -> Iterator[Region]:
    from scipy.ndimage import find_objects

    for band in bands(marked):
        values = anomaly_map[band.rows][:, band.columns]
        for index, (rows, columns) in enumerate(find_objects(band.labels), start=1):
            inside = band.labels[rows, columns] == index
            yield Region(
                band.columns.start + columns.start,
                band.rows.start + rows.start,
                columns.stop - columns.start,
                rows.stop - rows.start,
                int(inside.sum()),
                float(values[rows, columns][inside].max()),
            )
