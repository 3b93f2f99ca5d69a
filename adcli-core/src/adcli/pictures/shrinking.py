"""Masks and maps at the size of a picture, in which nothing is lost, however small it is."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Size, resize_map
from adcli.pictures.colours import Map, Mask

NOTICED = 11
"""Smallest side of what an outline surrounds in a picture that was shrunk, in pixels; less would be a dot."""

FEW = 40
"""Small regions that are outlined so; more of them show by their number, and would cover the picture."""


def shrink_mask(mask: Mask, size: Size) -> Mask:
    """Return a mask (H, W) with height and width as given at most; all of a cell is True if any of it is."""
    rows, columns = (_edges(total, count) for total, count in zip(mask.shape, size, strict=True))
    lines = [mask[top:bottom].any(axis=0) for top, bottom in pairwise(rows)]
    return np.asarray(np.logical_or.reduceat(np.stack(lines), columns[:-1], axis=1))


def fit_map(anomaly_map: Map, size: Size) -> Map:
    """Return a map (H, W) at another size: interpolated where that is larger, and else the highest value of each cell.

    So what is hot stays as hot as it is. A cell is NaN if all of it is.
    """
    rows, columns = (_edges(total, count) for total, count in zip(anomaly_map.shape, size, strict=True))
    if len(rows) <= anomaly_map.shape[0]:
        lines = [np.fmax.reduce(anomaly_map[top:bottom]) for top, bottom in pairwise(rows)]
        anomaly_map = np.stack(lines)
    if len(columns) <= anomaly_map.shape[1]:
        anomaly_map = np.fmax.reduceat(anomaly_map, columns[:-1], axis=1)
    return resize_map(anomaly_map, size)


def spread_peaks(anomaly_map: Map) -> Map:
    """Return a map (h, w) with the highest value of each cell and its neighbours, so that no peak is a single cell."""
    padded = np.pad(anomaly_map, 1, constant_values=np.nan)
    lines = np.fmax(np.fmax(padded[:-2], padded[1:-1]), padded[2:])
    spread = np.fmax(np.fmax(lines[:, :-2], lines[:, 1:-1]), lines[:, 2:])
    return np.where(np.isnan(anomaly_map), anomaly_map, spread)


def _edges(total: int, count: int) -> NDArray[np.int64]:
    """Return where each of some cells, as many as there are pixels at most, begins and the last one ends."""
    cells = min(total, count)
    edges: NDArray[np.int64] = np.arange(cells + 1, dtype=np.int64) * total // cells
    return edges


def show_spots(mask: Mask) -> Mask:
    """Return a mask that was shrunk with each small region as a square of :data:`NOTICED` around it."""
    from scipy.ndimage import find_objects, label

    labels, _ = label(mask, structure=np.ones((3, 3), int))
    boxes = [box for box in find_objects(labels) if max(side.stop - side.start for side in box) < NOTICED]
    shown = mask.copy()
    for box in boxes if len(boxes) <= FEW else []:
        shown[tuple(_widen(side, total) for side, total in zip(box, mask.shape, strict=True))] = True
    return shown


def _widen(side: slice, total: int) -> slice:
    start = min(max((side.start + side.stop - NOTICED) // 2, 0), max(total - NOTICED, 0))
    return slice(start, start + NOTICED)
