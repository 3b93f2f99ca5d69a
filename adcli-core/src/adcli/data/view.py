"""Which pixels of a photograph are decoded, and how its own pixels lie among them."""

from collections.abc import Callable
from typing import NamedTuple

from adcli.data.framing_standalone import find_decoded

Size = tuple[int, int]
"""Height and width in pixels."""

Box = tuple[int, int, int, int]
"""x and y of the upper left corner, width and height, in pixels."""


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
        return find_decoded(self.part, self.size, self.scale)

    def locate(self, part: Box) -> Box:
        """Return where a part of the photograph lies among the decoded pixels, by the nearest of them."""
        x, y, width, height = find_decoded(part, self.size, self.scale)
        return x - self.decoded[0], y - self.decoded[1], width, height


Look = Callable[[Size], View]
"""Tells what of a photograph of a height and a width is to be decoded."""


def look_at_all(size: Size) -> View:
    """Return the view of all of a photograph."""
    return View(size, (0, 0, size[1], size[0]))
