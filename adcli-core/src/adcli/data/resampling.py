"""Antialiased bilinear resampling of levels, in the time that reading them takes.

Each output line is a weighted sum of the input lines below a triangle as wide as two output lines, at least two input
lines. Lines come first, so that only what is left of the image goes through the second pass. A few output lines at a
time are one product of matrices, small enough to stay in a core's cache, and below the size from which OpenBLAS would
start threads: decoders are threads already.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PRODUCT = 1 << 18
"""Multiplications in a product, at most; OpenBLAS shares larger ones out among threads."""

CACHED = 1 << 20
"""Levels that are converted at once: four megabytes of floats, which stay in a cache."""

BLOCKS = (32, 16, 8, 4, 2)
"""Output lines in a product: few, so that few of its weights are zero, unless the lines are short."""

_AT_ONCE = threading.BoundedSemaphore(2)
"""Of many decoders, two resample: each product lets the interpreter's lock go, and many would wait for it again."""

Plane = NDArray[np.float32]

Borders = tuple[tuple[int, int], tuple[int, int]]
"""Lines added above and below, and to the left and the right."""

NO_BORDERS: Borders = ((0, 0), (0, 0))


class Band(NamedTuple):
    """Some output lines, and what they are made of.

    Attributes:
        first: of the output lines.
        low: the first input line.
        weights: of the input lines from there on, (output lines, input lines).
    """

    first: int
    low: int
    weights: Plane

    @property
    def end(self) -> int:
        """One beyond the last input line."""
        return self.low + int(self.weights.shape[1])


def resample(levels: NDArray[np.uint8], size: tuple[int, int], borders: Borders = NO_BORDERS) -> Plane:
    """Return an image (H, W, C) at another size, (C, h, w), not rounded.

    Args:
        levels: the image.
        size: height and width.
        borders: how often the outermost lines, and columns, are repeated before and behind the image first.
    """
    height, width, channels = levels.shape
    with _AT_ONCE:
        lines = _sum_lines(levels.reshape(height, width * channels), size[0], borders[0])
        return _sum_columns(lines.reshape(size[0], width, channels), size[1], borders[1])


def _sum_lines(levels: NDArray[np.uint8], count: int, borders: tuple[int, int]) -> Plane:
    """Return weighted sums (count, L) of lines (N, L)."""
    total, length = levels.shape
    sums = np.empty((count, length), np.float32)
    bands = list_bands(total, count, borders, _choose_block(total / count, length))
    strips = list(_gather(bands, CACHED // length))
    values = np.empty((max(strip[-1].end - strip[0].low for strip in strips), length), np.float32)
    for strip in strips:
        top, end = strip[0].low, strip[-1].end
        # Each level becomes a float about once, and is in the cache when its bands are computed.
        np.copyto(values[: end - top], levels[top:end])
        for band in strip:
            part, into = values[band.low - top : band.end - top], sums[band.first : band.first + len(band.weights)]
            step = max(PRODUCT // band.weights.size, 1)
            for start in range(0, length, step):
                np.matmul(band.weights, part[:, start : start + step], out=into[:, start : start + step])
    return sums


def _gather(bands: Sequence[Band], most: int) -> Iterator[Sequence[Band]]:
    """Yield successive bands that are made of a number of lines at most, or one."""
    begin = 0
    for i, band in enumerate(bands):
        if band.end - bands[begin].low > most and i > begin:
            yield bands[begin:i]
            begin = i
    yield bands[begin:]


def _sum_columns(lines: Plane, count: int, borders: tuple[int, int]) -> Plane:
    """Return weighted sums (C, h, count) of columns (h, W, C)."""
    height, total, channels = lines.shape
    sums = np.empty((channels, height, count), np.float32)
    for band in list_bands(total, count, borders, _choose_block(total / count, height)):
        step = max(PRODUCT // band.weights.size, 1)
        for top in range(0, height, step):
            part = np.ascontiguousarray(lines[top : top + step, band.low : band.end].transpose(2, 1, 0))
            some = np.matmul(band.weights, part)
            sums[:, top : top + step, band.first : band.first + len(band.weights)] = some.transpose(0, 2, 1)
    return sums


def _choose_block(scale: float, length: int) -> int:
    """Return how many output lines to compute at once: as many as one product takes, and at least the fewest."""
    fitting = (block for block in BLOCKS if block * (block + 1) * max(scale, 1.0) * length <= PRODUCT)
    return next(fitting, BLOCKS[-1])


@lru_cache(maxsize=64)
def list_bands(total: int, count: int, borders: tuple[int, int], block: int) -> tuple[Band, ...]:
    """Return what lines are made of.

    Args:
        total: number of input lines.
        count: number of output lines.
        borders: how often the first and the last input line are repeated.
        block: output lines in a band.
    """
    padded = borders[0] + total + borders[1]
    scale = padded / count
    support = max(scale, 1.0)
    centres = (np.arange(count) + 0.5) * scale
    bands = []
    for first in range(0, count, block):
        some = centres[first : first + block]
        low = max(int(some[0] - support + 0.5), 0)
        high = min(int(some[-1] + support + 0.5), padded)
        weights = np.maximum(1 - np.abs(np.arange(low, high) + 0.5 - some[:, None]) / support, 0)
        weights /= weights.sum(axis=1, keepdims=True)
        bands.append(_fold(first, low - borders[0], weights, total))
    return tuple(bands)


def _fold(first: int, low: int, weights: NDArray[np.float64], total: int) -> Band:
    """Return a band whose lines before and behind the image are its first and its last one."""
    lines = np.clip(np.arange(low, low + weights.shape[1]), 0, total - 1)
    low = int(lines[0])
    folded = np.zeros((int(lines[-1]) - low + 1, weights.shape[0]))
    np.add.at(folded, lines - low, weights.T)
    return Band(first, low, np.ascontiguousarray(folded.T, np.float32))
