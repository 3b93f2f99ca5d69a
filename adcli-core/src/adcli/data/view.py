"""Which pixels of a photograph are decoded, and how its own pixels lie among them."""

from collections.abc import Callable
from typing import NamedTuple

Size = tuple[int, int]
"""Height and width in pixels."""

Box = tuple[int, int, int, int]
"""x and y of the upper left corner, width and height, in pixels."""

SCALES = (8, 4, 2)
"""Pixels of a JPEG, each way, that its decoder can make one of."""


class View(NamedTuple):
    """What of a photograph is decoded.

    Attributes:
        size: height and width of the photograph.
        part: what is decoded of it, in its own pixels.
        scale: how many of its pixels, each way, a decoded one is made of.
    """

    size: Size
    part: Box
    scale: int = 1

    @property
    def is_whole(self) -> bool:
        """Tell whether it is all of the photograph, pixel by pixel."""
        return self.part == (0, 0, self.size[1], self.size[0]) and self.scale == 1

    @property
    def decoded(self) -> Box:
        """The part in decoded pixels, by the nearest of them."""
        if self.scale == 1:
            return self.part
        x, y, width, height = self.part
        left, wide = _scale(x, width, self.scale, self.size[1])
        top, high = _scale(y, height, self.scale, self.size[0])
        return left, top, wide, high


Look = Callable[[Size], View]
"""Tells what of a photograph of a height and a width is to be decoded."""


def look_at_all(size: Size) -> View:
    """Return the view of all of a photograph."""
    return View(size, (0, 0, size[1], size[0]))


def find_scale(part: Size, least: Size) -> int:
    """Return the largest scale at which a part, (height, width), has at least some pixels each way; 1 if none has."""
    return next(
        (scale for scale in SCALES if all(side >= scale * few for side, few in zip(part, least, strict=True))), 1
    )


def _scale(start: int, length: int, scale: int, total: int) -> tuple[int, int]:
    """Return the first of the decoded pixels that a stretch of a photograph covers, and how many, at least one."""
    decoded = -(-total // scale)
    first = min((2 * start + scale) // (2 * scale), decoded - 1)
    # What reaches the border has all that is there: the decoder rounds up.
    last = decoded if start + length == total else (2 * (start + length) + scale) // (2 * scale)
    return first, max(min(last, decoded) - first, 1)
