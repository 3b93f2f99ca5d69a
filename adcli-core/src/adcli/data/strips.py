"""Taking pixels out of Pillow's memory: some lines at a time, upright, and only those of a part.

A copy of the whole image in one piece needs room beside it, and whatever is converted then leaves the cache.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from adcli.data.view import Box, Size

PIXELS = 1 << 18
"""Pixels that are taken at a time: they stay in a cache."""

ONE_PIECE = 1 << 25
"""Pixels of an image that is taken at once if nothing is to be done with it, which spares a copy."""


Value = TypeVar("Value", bound=np.generic)


class Strip(NamedTuple):
    """Some lines of a part of an image.

    Attributes:
        image: the lines, as wide as the part.
        corners: left, upper, right and lower in the whole image.
    """

    image: Image.Image
    corners: tuple[int, int, int, int]


def cut_strips(image: Image.Image, part: Box, most: int = PIXELS) -> Iterator[Strip]:
    """Yield a part of an image that is decoded, some lines at a time; an image of few pixels is passed on.

    Args:
        image: decoded.
        part: as it lies in the file.
        most: pixels of a strip, unless one line has more.
    """
    x, y, width, height = part
    lines = max(most // width, 1)
    for top in range(y, y + height, lines):
        corners = (x, top, x + width, min(top + lines, y + height))
        yield Strip(image if corners == (0, 0, *image.size) else image.crop(corners), corners)


def pour(image: Image.Image, part: Box, orientation: int, convert: Callable[[Strip], NDArray[Value]]) -> NDArray[Value]:
    """Return what is made of the strips of a part, upright.

    Args:
        image: decoded.
        part: as it lies in the file.
        orientation: as :func:`find_orientation` has it.
        convert: returns an array (H, W, ...) for a strip.
    """
    _, y, width, height = part
    is_plain = part == (0, 0, *image.size) and orientation == 1 and image.mode in ("RGB", "L")
    poured = None
    for strip in cut_strips(image, part, ONE_PIECE if is_plain else PIXELS):
        lines = convert(strip)
        if len(lines) == height and orientation == 1:
            return lines
        if poured is None:
            poured = np.empty((*turn((height, width), orientation), *lines.shape[2:]), lines.dtype)
        as_stored(poured, orientation)[strip.corners[1] - y : strip.corners[3] - y] = lines
    assert poured is not None
    return poured


def find_orientation(image: Image.Image) -> int:
    """Return how an image lies in its file, from 1 (upright) to 8, as EXIF numbers it."""
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) and 2 <= orientation <= 8 else 1


def turn(size: Size, orientation: int) -> Size:
    """Return height and width of the upright image whose height and width in its file are given, or the reverse."""
    return (size[1], size[0]) if orientation >= 5 else size


def as_stored(upright: NDArray[Value], orientation: int) -> NDArray[Value]:
    """Return a view of an upright image (H, W, ...) in which it lies as in its file."""
    if orientation >= 5:
        upright = upright.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        upright = upright[::-1]
    return upright[:, ::-1] if orientation in (2, 3, 7, 8) else upright


def find_stored(part: Box, size: Size, orientation: int) -> Box:
    """Return where a part of an upright image lies in its file.

    Args:
        part: in pixels of the upright image.
        size: height and width of the upright image.
        orientation: as :func:`find_orientation` has it.
    """
    x, y, width, height = part
    rows, columns = (y, height, size[0]), (x, width, size[1])
    if orientation >= 5:
        rows, columns = columns, rows
    top = rows[2] - rows[0] - rows[1] if orientation in (3, 4, 6, 7) else rows[0]
    left = columns[2] - columns[0] - columns[1] if orientation in (2, 3, 7, 8) else columns[0]
    return left, top, columns[1], rows[1]
