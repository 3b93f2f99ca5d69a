"""Where in a photograph something may be drawn: on the part, as far as a model looks at it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Pixels, Size
from adcli.data.framing import Framing

Flags = NDArray[np.bool_]

TOLERANCE = 8
"""Levels by which the background differs from the colour of the photograph's border at most."""

UNIFORM = 0.9
"""Share of the border's pixels that have its colour, if there is a background at all."""

LEAST = 0.05
"""Share of what is looked at that is the part, at least; else everything counts as the part."""

GRID = 512
"""Longest side of the picture in which the part is looked for."""

TRIES = 100


@dataclass(frozen=True)
class Area:
    """Where in a photograph something may be drawn.

    Attributes:
        size: height and width of the photograph.
        seen: which pixels are looked at, (H, W); None for all.
        step: pixels from one point to the next.
        points: rows and columns of the part's points, (N, 2), in steps.
        background: the share of what is looked at that is not the part.
    """

    size: Size
    seen: Flags | None
    step: int
    points: NDArray[np.intp]
    background: float

    def place(self, inside: Flags, random: np.random.Generator) -> tuple[int, int] | None:
        """Return row and column for the first pixel of a shape (h, w): its middle on the part, all of it looked at.

        None if a place was not found.
        """
        height, width = inside.shape
        for _ in range(TRIES if len(self.points) else 0):
            point = self.points[random.integers(len(self.points))] * self.step + random.integers(self.step, size=2)
            top, left = int(point[0]) - height // 2, int(point[1]) - width // 2
            if min(top, left) < 0 or top + height > self.size[0] or left + width > self.size[1]:
                continue
            if self.seen is None or self.seen[top : top + height, left : left + width][inside].all():
                return top, left
        return None


def find_seen(framing: Framing, sheet: Size, size: Size) -> Flags | None:
    """Return which pixels of a photograph of a size are looked at, (H, W); None for all.

    Args:
        framing: region, zones, crop and ignored areas.
        sheet: height and width of what a photograph is resized to.
        size: height and width of the photograph.
    """
    if framing.is_plain:
        return None
    return ~np.isnan(framing.place(np.zeros(sheet, np.float32), size))


def find_area(pixels: Pixels, seen: Flags | None, *, anywhere: bool = False) -> Area:
    """Return where something may be drawn in a photograph (H, W, 3) of which some pixels are looked at.

    The background is what has the colour of the photograph's border and reaches to it, if that is of one colour.

    Args:
        pixels: the photograph.
        seen: which of its pixels are looked at; None for all.
        anywhere: whether the background counts as the part.
    """
    size = (pixels.shape[0], pixels.shape[1])
    step = -(-max(size) // GRID)
    small = pixels[::step, ::step]
    looked_at = np.ones(small.shape[:2], bool) if seen is None else seen[::step, ::step]
    part = looked_at if anywhere else looked_at & ~_find_background(small)
    if part.sum() < LEAST * looked_at.sum():
        part = looked_at
    share = 1 - part.sum() / max(int(looked_at.sum()), 1)
    return Area(size, seen, step, np.argwhere(part), float(share))


def _find_background(pixels: Pixels) -> Flags:
    from scipy.ndimage import label

    border = np.ones(pixels.shape[:2], bool)
    width = max(min(border.shape) // 50, 1)
    border[width:-width, width:-width] = False
    level = np.median(pixels[border], axis=0)
    near = (np.abs(pixels - level) <= TOLERANCE).all(axis=2)
    if near[border].mean() < UNIFORM:
        return np.zeros_like(border)
    labels, _ = label(near)
    reaching = np.unique(labels[border & near])
    return np.isin(labels, reaching[reaching > 0])
