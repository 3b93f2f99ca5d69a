"""Where a map says that something is wrong: connected regions above a threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """A connected part of a map above the pixel threshold; x, y, width and height in pixels of the image."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


def find_regions(anomaly_map: NDArray[np.float32], pixel_threshold: float) -> list[Region]:
    """Return the 8-connected regions of a map (H, W) that lie above a threshold, the highest peak first."""
    from scipy.ndimage import find_objects, label

    labels, _ = label(anomaly_map > pixel_threshold, structure=np.ones((3, 3), int))
    found = []
    for index, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels[rows, columns] == index
        peak = float(anomaly_map[rows, columns][inside].max())
        width, height = columns.stop - columns.start, rows.stop - rows.start
        found.append(Region(columns.start, rows.start, width, height, int(inside.sum()), peak))
    return sorted(found, key=lambda region: region.peak, reverse=True)
