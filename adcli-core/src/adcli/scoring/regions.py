"""Where a defect is: one rule for tables, pictures and reports, applied to the map at the photograph's own size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def mark(anomaly_map: NDArray[np.float32], pixel_threshold: float | None) -> Marked:
    """Return which pixels of a defect's map (H, W) are marked: those above the threshold.

    If there are none, the one region around the highest value is marked: the connected pixels that are at least halfway
    from the map's median to that value. So a defect has a region whenever it has a map. NaN is never marked.
    """
    seen = ~np.isnan(anomaly_map)
    above = seen & (anomaly_map > (np.inf if pixel_threshold is None else pixel_threshold))
    if above.any() or not seen.any():
        return above
    peak = int(np.nanargmax(anomaly_map))
    half = (float(np.median(anomaly_map[seen])) + float(anomaly_map.flat[peak])) / 2
    labels = _label(anomaly_map >= min(half, float(anomaly_map.flat[peak])))
    return np.asarray(labels == labels.flat[peak])


def find_regions(anomaly_map: NDArray[np.float32], marked: Marked) -> list[Region]:
    """Return the 8-connected regions of what is marked in a map (H, W), the highest peak first."""
    from scipy.ndimage import find_objects

    labels = _label(marked)
    found = []
    for index, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels[rows, columns] == index
        peak = float(anomaly_map[rows, columns][inside].max())
        width, height = columns.stop - columns.start, rows.stop - rows.start
        found.append(Region(columns.start, rows.start, width, height, int(inside.sum()), peak))
    return sorted(found, key=lambda region: region.peak, reverse=True)


def _label(marked: Marked) -> NDArray[np.int32]:
    from scipy.ndimage import label

    return np.asarray(label(marked, structure=np.ones((3, 3), int))[0])
