"""Tiles: a photograph is resized to a canvas of several model inputs that overlap, and each is looked at by itself.

Tiles are cut at whole pixels of the canvas, so that they need no resizing of their own, and the values of their maps
lie exactly above each other where they overlap.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Pixels, Size
from adcli.data.framing_standalone import blend_tiles, find_overlap, lay_out
from adcli.errors import OptionError

Map = NDArray[np.float32]

OVERLAP = 0.125
"""Share of a tile's side that it has in common with the next."""

DENSE = 2
"""Pixels of a photograph, on each side, that a pixel of a model covers at most if the number of tiles is chosen."""

MOST = 64
"""Tiles in a row or a column."""


@dataclass(frozen=True)
class Tiling:
    """How a photograph is cut into tiles of a model's size.

    Attributes:
        columns: tiles beside each other.
        rows: tiles below each other.
        overlap: share of a tile's sides that it has in common with the next, at most a half.
    """

    columns: int = 1
    rows: int = 1
    overlap: float = OVERLAP

    def __len__(self) -> int:
        """Return the number of tiles."""
        return self.columns * self.rows

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}"

    def find_canvas(self, size: Size) -> Size:
        """Return height and width of what is cut into tiles of a (height, width)."""
        return lay_out(size, self.columns, self.rows, self.overlap)[1]

    def cut(self, canvas: Pixels, size: Size, number: int) -> Pixels:
        """Return one of the tiles (h, w, 3) of a canvas (H, W, 3), counted row by row from 0, as a view."""
        y, x = lay_out(size, self.columns, self.rows, self.overlap)[0][number]
        return canvas[y : y + size[0], x : x + size[1]]

    def blend(self, maps: Map) -> Map:
        """Return the map of a canvas (H, W) from those of its tiles (T, h, w), which shows no seam."""
        return blend_tiles(maps, self.columns, self.rows, self.overlap)


WHOLE = Tiling()
"""A photograph is looked at as it is."""


def parse_tiles(text: str) -> tuple[int, int] | None:
    """Return the columns and rows of ``"4x3"``, or None for ``auto``.

    Raises:
        OptionError: it is neither.
    """
    if text == "auto":
        return None
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text.strip().lower(), re.ASCII)
    columns, rows = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= min(columns, rows) <= max(columns, rows) <= MOST:
        words = f"must be auto, or COLUMNSxROWS of 1 to {MOST} each, for example 4x3, not '{text}'."
        raise OptionError(words, option="tiles")
    return columns, rows


def choose_tiles(part: Size, size: Size, overlap: float) -> tuple[int, int]:
    """Return the fewest columns and rows with which a model's pixel covers at most two by two of a photograph.

    Args:
        part: height and width of what is looked at, in pixels of the photograph.
        size: of a tile.
        overlap: of tiles.

    Raises:
        OptionError: these are more than there may be.
    """
    rows, columns = (
        1 + max(math.ceil((whole / DENSE - side) / (side - find_overlap(side, overlap))), 0)
        for whole, side in zip(part, size, strict=True)
    )
    if max(rows, columns) > MOST:
        words = f"auto: {part[1]} x {part[0]} pixels would need {columns}x{rows} tiles of {size[1]} x {size[0]}, more "
        raise OptionError(f"{words}than {MOST} a side; give COLUMNSxROWS, or a larger --image-size.", option="tiles")
    return columns, rows
