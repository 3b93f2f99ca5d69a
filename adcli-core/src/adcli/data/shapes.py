"""Shapes drawn into masks: a pixel is marked if its centre lies within.

Coordinates are (x, y) in pixels, continuous: the pixel in column i covers i to i + 1. What lies outside of the image is
cut off. Whatever cannot be drawn is a :class:`ValueError` that says why.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

_FARTHEST = 1e7
"""Pixels that a point may lie outside, at most."""


def read_points(value: Any, least: int) -> Points:
    """Return points, shape (N, 2), of a list of pairs, or of x and y in turn.

    Args:
        value: what a file says.
        least: how many there must be.
    """
    try:
        points = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("its points are no pairs of numbers") from None
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError("its points are no pairs of numbers")
    if len(points) < least:
        raise ValueError(f"it has {len(points)} points, and needs {least}")
    if not (np.abs(points) <= _FARTHEST).all():
        raise ValueError("it has a point that lies nowhere")
    return points


def add_polygon(mask: Mask, points: Points) -> None:
    """Mark a polygon, whose rings may cross: what is enclosed an even number of times is a hole.

    One so thin that it encloses no pixel's centre marks the pixels along its sides.
    """
    height, width = mask.shape
    # How often sides are crossed from the left on, modulo 256.
    crossed = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (y0, y1))
        rows = np.arange(first, last)
        crossing = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0)) if len(rows) else rows
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)
        crossed[rows, columns] += 1
    inside = np.add.accumulate(crossed[:, :width], axis=1, dtype=np.uint8) % 2 == 1
    if inside.any():
        mask |= inside
    else:
        add_line(mask, np.concatenate([points, points[:1]]))


def add_line(mask: Mask, points: Points) -> None:
    """Mark the pixels along a line through points."""
    image = Image.fromarray(mask)
    ends = np.floor(points).astype(int)
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in ends], fill=1)
    mask |= np.asarray(image)


def add_circle(mask: Mask, centre: Points, edge: Points) -> None:
    """Mark a circle by its centre and a point on its edge."""
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    radius = max(float(np.hypot(*(edge - centre))), 0.5)
    mask |= np.hypot(x + 0.5 - centre[0], y + 0.5 - centre[1]) <= radius


def add_patch(mask: Mask, patch: Mask, left: int, top: int) -> None:
    """Mark what a smaller mask marks, whose upper left pixel is given."""
    height, width = mask.shape
    rows, columns = (
        slice(max(-start, 0), max(min(patch.shape[axis], size - start), 0))
        for axis, (start, size) in enumerate([(top, height), (left, width)])
    )
    part = patch[rows, columns]
    if part.size:
        place = mask[max(top, 0) :, max(left, 0) :]
        place[: part.shape[0], : part.shape[1]] |= part


def decode_runs(counts: Any, size: tuple[int, int]) -> Mask:
    """Return the mask that run lengths stand for: of background and object in turn, column by column.

    Args:
        counts: the lengths, or the text into which COCO packs them.
        size: height and width.
    """
    lengths = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError("its run lengths are no whole numbers")
    if sum(lengths) != size[0] * size[1]:
        raise ValueError(f"its run lengths are of {sum(lengths)} pixels, not of {size[1]} x {size[0]}")
    values = np.arange(len(lengths)) % 2 == 1
    flags: Mask = np.repeat(values, lengths).reshape(size[1], size[0]).T
    return flags


def _unpack(text: str) -> Sequence[int]:
    """Return the run lengths in a text: five bits a character; from the fourth on, differences to the last but one."""
    lengths = list[int]()
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its run lengths are no text of COCO")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut off")
    return lengths
