"""Large maps and masks, looked at a few rows at a time, and only where there is something to see."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adcli.metrics.curves import Flags

STRIP = 1 << 17
"""Pixels of a strip: few enough for what is computed of them to stay in a core's cache."""


class Rows(Protocol):
    """A map (H, W) whose rows can be had: an array, or what computes them when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        """Return some successive rows, (rows, W)."""
        ...


class Band(NamedTuple):
    """Rows and columns of a mask around regions that share rows, and the labels of these there, from 1 to ``found``."""

    rows: slice
    columns: slice
    labels: NDArray[np.int32]
    found: int


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield successive rows of an image (H, W), about :data:`STRIP` pixels at a time."""
    height, width = shape
    step = max(STRIP // max(width, 1), 1)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def bands(mask: Flags) -> Iterator[Band]:
    """Yield the 8-connected regions of a mask (H, W): all that share rows together, from the top down.

    Rows without any part of a region separate regions, so nothing has to be labelled in between.
    """
    from scipy.ndimage import label

    for rows in _runs(np.asarray(mask.any(axis=1))):
        used = np.flatnonzero(mask[rows].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        labels, found = label(mask[rows, columns], structure=np.ones((3, 3), int))
        yield Band(rows, columns, labels, int(found))


def _runs(flags: Flags) -> Iterator[slice]:
    """Yield where successive flags (N,) are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield slice(start, stop)
