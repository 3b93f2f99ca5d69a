"""A map at the size of a photograph, of which no more is computed than is looked at."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Size, resize_map
from adcli.metrics.strips import Rows, strips

Map = NDArray[np.float32]


def enlarge(anomaly_map: Map, size: Size) -> Rows:
    """Return the rows of a map (h, w) at another size: those of :func:`adcli.data.decoding.resize_map`, to the bit.

    If that has no more rows than the map, they are all there; a photograph of hundreds of megapixels needs no map of
    as many values.
    """
    return resize_map(anomaly_map, size) if size[0] <= anomaly_map.shape[0] else Enlarged(anomaly_map, size)


class Enlarged:
    """A map (h, w) interpolated to a larger number of rows, which are computed when they are asked for."""

    def __init__(self, anomaly_map: Map, size: Size) -> None:
        self.shape = size
        known = ~np.isnan(anomaly_map)
        # What is not known is left out: a value is known where half of what it is made of is.
        self._known = None if known.all() else Enlarged(known.astype(np.float32), size)
        filled = anomaly_map if self._known is None else np.where(known, anomaly_map, np.float32(0))
        self._wide = resize_map(filled, (filled.shape[0], size[1]))
        self._sources, self._weights = _list_sources(filled.shape[0], size[0])

    def __getitem__(self, rows: slice, /) -> Map:
        """Return some successive rows, (rows, W)."""
        top, bottom, _ = rows.indices(self.shape[0])
        values = np.empty((max(bottom - top, 0), self.shape[1]), np.float32)
        for part in strips(values.shape):
            values[part] = self._sum(slice(top + part.start, top + part.stop))
        if self._known is None:
            return values
        share = self._known[rows]
        return np.where(share >= 0.5, values / np.maximum(share, 0.5), np.float32(np.nan))

    def _sum(self, rows: slice) -> NDArray[np.float64]:
        """Return weighted sums of the map's rows; in float64, as Pillow's are, until all is added."""
        sources, weights = self._sources[:, rows], self._weights[:, rows, None]
        total = np.empty((rows.stop - rows.start, self.shape[1]))
        starts = np.flatnonzero(np.diff(sources).any(axis=0)) + 1
        # Many rows in succession are made of the same two.
        for top, bottom in pairwise((0, *starts.tolist(), len(total))):
            first, second = self._wide[sources[:, top]].astype(np.float64)
            np.multiply(weights[0, top:bottom], first, out=total[top:bottom])
            total[top:bottom] += weights[1, top:bottom] * second
        return total


def _list_sources(total: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which of ``total`` lines each of more, ``count``, is made of, and their weights, both (2, count)."""
    centres = (np.arange(count) + 0.5) * (total / count)
    lines = np.maximum((centres - 0.5).astype(int), 0) + np.arange(2)[:, None]
    weights = np.maximum(1 - np.abs(lines - centres + 0.5), 0) * (lines < total)
    return np.minimum(lines, total - 1), weights / weights.sum(axis=0)
