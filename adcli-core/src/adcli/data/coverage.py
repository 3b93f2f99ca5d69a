"""How much of a photograph a pixel of a model covers, and what sizes and tiles suit photographs."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from adcli.data.decoding import Size
from adcli.data.framing import Framing
from adcli.data.tiling import DENSE, choose_tiles
from adcli.errors import DataError, OptionError

STEP = 32
"""What sides of ``--image-size auto`` are multiples of, for networks that take any size: their coarsest stride."""


def find_typical(sizes: Iterable[tuple[int, int, int]], framing: Framing) -> Size | None:
    """Return the median height and width of what is looked at in photographs; None if there are none that suit.

    Args:
        sizes: height, width, and number of photographs.
        framing: its region and crop are what is looked at; of zones, the largest.
    """
    parts = []
    for height, width, number in sizes:
        try:
            framing.check((height, width), "")
        except DataError:
            continue
        parts += [max((_measure(zone, (height, width)) for zone in framing.of_zones), key=math.prod)] * number
    if not parts:
        return None
    height, width = np.median(parts, axis=0).astype(int).tolist()
    return height, width


def _measure(framing: Framing, original: Size) -> Size:
    rows, columns = framing.area(original)
    return rows.stop - rows.start, columns.stop - columns.start


def choose_size(part: Size, default: Size, framing: Framing, step: int) -> Size:
    """Return a model's size with the aspect of what a tile, or all, of photographs shows, in about as many pixels.

    Args:
        part: height and width of what is looked at of a photograph.
        default: height and width whose number of pixels is kept.
        framing: its tiles share out what is looked at.
        step: what both sides are multiples of.
    """
    tiling = framing.tiling
    # How many tiles long the sides are.
    down, across = (1 + (count - 1) * (1 - tiling.overlap) for count in (tiling.rows, tiling.columns))
    aspect, pixels = part[0] / down / (part[1] / across), default[0] * default[1]
    heights, widths = (_around(math.sqrt(pixels * ratio), step) for ratio in (aspect, 1 / aspect))
    # If one side cannot be short enough, the other is.
    candidates = [(height, width) for height in heights for width in (*widths, *_around(pixels / height, step))]
    candidates += [(height, width) for width in widths for height in _around(pixels / width, step)]

    def miss(size: Size) -> float:
        height, width = size
        return abs(math.log(height / width / aspect)) + 2 * abs(math.log(height * width / pixels))

    return min(candidates, key=miss)


def _around(side: float, step: int) -> Sequence[int]:
    """Return the multiples of a step next to a side."""
    low = max(int(side / step), 1) * step
    return low, low + step


def say_coverage(part: Size, size: Size, framing: Framing) -> str:
    """Say that a pixel of a model covers more than a few of photographs, and what to do; nothing if it does not.

    Args:
        part: height and width of what is looked at of a photograph.
        size: height and width of the model's input.
        framing: its tiles, if there are any.
    """
    down, across = (whole / side for whole, side in zip(part, framing.tiling.find_canvas(size), strict=True))
    if down * across <= DENSE * DENSE:
        return ""
    try:
        columns, rows = choose_tiles(part, size, framing.tiling.overlap)
        tiles = f"--tiles auto ({columns}x{rows}), "
    except OptionError:
        tiles = ""
    return (
        f"a pixel of the model covers {across:.1f} x {down:.1f} pixels of photographs, of which {part[1]} x {part[0]} "
        f"are looked at; to see smaller defects use {tiles}a larger --image-size or a smaller --region."
    )
