"""Defects drawn into photographs of good parts, each of a kind, a size and a contrast, and the same measured in masks.

The size of a defect is the longer side of the upright box around it, in pixels. Its contrast is the root of the mean
squared difference between its pixels and those around it, in levels from 0 to 255, less what those around differ among
themselves.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adcli.data.decoding import Pixels

KINDS = ("scratch", "spot", "stain", "piece", "blur")
"""What can be drawn: a thin line, a filled disc, a soft cloud, a flat polygon in the place of the surface, a blurred
disc."""

LEVELS_PER_SIGMA = 10
"""Blur has no levels: a contrast of as many blurs by a Gaussian whose standard deviation is one pixel."""

SCRATCH = 20
"""How many times longer than wide a scratch is; one pixel wide at least."""

AROUND = 4
"""What counts as around a defect is as wide as one of as many parts of its size, and two pixels at least."""

_CORNERS = 48

Weights = NDArray[np.float32]
Flags = NDArray[np.bool_]
Points = NDArray[np.float64]


class Measured(NamedTuple):
    """Size and contrast of a defect, as this module defines them."""

    size: int
    contrast: float


def shape_defect(kind: str, size: int, random: np.random.Generator) -> Weights:
    """Return the shape of a defect: its weights (h, w), 0 outside of it, their mean square 1 within.

    The same state of ``random`` gives the same shape at every size.

    Args:
        kind: one of :data:`KINDS`.
        size: the longer one of ``h`` and ``w``.
        random: chooses direction, bend and outline.
    """
    if kind == "scratch":
        return _draw_line(_bend(random), size).astype(np.float32)
    inside = _fill({"spot": _round, "stain": _wave, "piece": _cut, "blur": _round}[kind](random), size)
    return _soften(inside) if kind == "stain" else inside.astype(np.float32)


def _bend(random: np.random.Generator) -> Points:
    """Return a slightly bent line."""
    along = np.linspace(0, 1, _CORNERS)
    across = random.uniform(-0.5, 0.5) * along * (1 - along)
    turn = random.uniform(0, np.pi)
    return np.stack(
        [along * np.cos(turn) - across * np.sin(turn), along * np.sin(turn) + across * np.cos(turn)], axis=1
    )


def _round(random: np.random.Generator) -> Points:
    return _around(np.ones(_CORNERS), random, flat=random.uniform(0.7, 1))


def _wave(random: np.random.Generator) -> Points:
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    waves = (random.uniform(0, 0.25) * np.cos(n * angles + random.uniform(0, 2 * np.pi)) for n in (2, 3, 4))
    return _around(1 + sum(waves, np.zeros(_CORNERS)), random, flat=random.uniform(0.6, 1))


def _cut(random: np.random.Generator) -> Points:
    return _around(random.uniform(0.7, 1, int(random.integers(4, 8))), random)


def _around(radii: Points, random: np.random.Generator, flat: float = 1.0) -> Points:
    """Return corners at distances from a centre, flattened in a random direction."""
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    turn = random.uniform(0, np.pi)
    x, y = radii * np.cos(angles), radii * np.sin(angles) * flat
    return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)


def _fit(points: Points, size: int) -> tuple[list[tuple[int, int]], Image.Image]:
    """Return points as pixels of the smallest picture that holds them, whose longer side is ``size``."""
    points = points - points.min(axis=0)
    pixels = np.rint(points * ((size - 1) / points.max())).astype(int)
    width, height = (pixels.max(axis=0) + 1).tolist()
    return [(x, y) for x, y in pixels.tolist()], Image.new("L", (width, height))


def _fill(corners: Points, size: int) -> Flags:
    pixels, image = _fit(corners, size)
    ImageDraw.Draw(image).polygon(pixels, fill=1, outline=1)
    return np.asarray(image) > 0


def _draw_line(points: Points, size: int) -> Flags:
    from scipy.ndimage import binary_dilation

    pixels, image = _fit(points, size)
    ImageDraw.Draw(image).line(pixels, fill=1)
    width = round(size / SCRATCH)
    line = np.asarray(image) > 0
    return binary_dilation(line, np.ones((width, width))) if width > 1 else line


def _soften(inside: Flags) -> Weights:
    from scipy.ndimage import distance_transform_edt

    depth = np.sqrt(distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1])
    return np.asarray(depth / np.sqrt((depth[inside] ** 2).mean()), np.float32)


def paint_defect(
    pixels: Pixels, kind: str, weights: Weights, corner: tuple[int, int], contrast: float, random: np.random.Generator
) -> Pixels:
    """Return a photograph with a defect in it; pixels outside of its shape are as they were.

    Args:
        pixels: the photograph, (H, W, 3).
        kind: one of :data:`KINDS`.
        weights: its shape, (h, w).
        corner: row and column of the shape's first pixel, so that all of it lies in the photograph.
        contrast: in levels.
        random: chooses whether it is brighter or darker, unless only one of them has room.
    """
    box = tuple(slice(start, start + side) for start, side in zip(corner, weights.shape, strict=True))
    inside, brighter = weights > 0, random.uniform() < 0.5
    if kind == "blur":
        changed = _blur(pixels, box, contrast / LEVELS_PER_SIGMA)
    else:
        before = pixels[box].astype(np.float32)
        ground = _level_around(pixels, box, inside) if kind == "piece" else before
        step = contrast * weights[:, :, None]
        changed = _choose((ground + step).clip(0, 255), (ground - step).clip(0, 255), ground, inside, brighter)
    drawn = np.array(pixels)
    drawn[box][inside] = np.rint(changed)[inside].astype(np.uint8)
    return drawn


def _choose(bright: Weights, dark: Weights, ground: Weights, inside: Flags, brighter: bool) -> Weights:
    """Return the wanted one of two changes, or the other if clipping leaves less of the wanted one."""
    wanted, other = (bright, dark) if brighter else (dark, bright)
    left, right = (float(np.abs(one - ground)[inside].mean()) for one in (wanted, other))
    return wanted if left >= right else other


def _blur(pixels: Pixels, box: tuple[slice, ...], sigma: float) -> Weights:
    """Return what a box of a photograph looks like if the photograph is blurred."""
    from scipy.ndimage import gaussian_filter

    margin = int(np.ceil(4 * sigma))
    starts = [max(side.start - margin, 0) for side in box]
    part = pixels[starts[0] : box[0].stop + margin, starts[1] : box[1].stop + margin].astype(np.float32)
    blurred = gaussian_filter(part, (sigma, sigma, 0), mode="nearest")
    rows, columns = (slice(s.start - first, s.stop - first) for s, first in zip(box, starts, strict=True))
    return np.asarray(blurred[rows, columns])


def _level_around(pixels: Pixels, box: tuple[slice, ...], inside: Flags) -> Weights:
    """Return the mean colour around a shape, in all of its box, (h, w, 3)."""
    ring, part = _find_ring(pixels, box, inside)
    level = part[ring].mean(axis=0) if ring.any() else pixels[box][inside].mean(axis=0)
    return np.broadcast_to(level.astype(np.float32), (*inside.shape, 3))


def _find_ring(
    pixels: Pixels, box: tuple[slice, ...], inside: Flags, marked: Flags | None = None
) -> tuple[Flags, Pixels]:
    """Return which pixels are around a shape and in no defect, and the part of the photograph that holds them."""
    from scipy.ndimage import binary_dilation

    width = max(max(inside.shape) // AROUND, 2)
    starts = [max(side.start - width, 0) for side in box]
    stops = [min(side.stop + width, total) for side, total in zip(box, pixels.shape, strict=False)]
    area = slice(starts[0], stops[0]), slice(starts[1], stops[1])
    placed = np.zeros((stops[0] - starts[0], stops[1] - starts[1]), bool)
    rows, columns = (slice(s.start - first, s.stop - first) for s, first in zip(box, starts, strict=True))
    placed[rows, columns] = inside
    ring = binary_dilation(placed, iterations=width) & ~placed
    return (ring if marked is None else ring & ~marked[area]), pixels[area]


def measure_defect(pixels: Pixels, mask: Flags) -> Measured:
    """Return size and contrast of the largest region of a mask.

    Args:
        pixels: the photograph, (H, W, 3).
        mask: which of its pixels are defective, (H, W); some are.
    """
    from scipy.ndimage import find_objects, label

    labels, _ = label(mask, structure=np.ones((3, 3), int))
    largest = int(np.bincount(labels[labels > 0]).argmax())
    box = find_objects(labels)[largest - 1]
    inside = labels[box] == largest
    ring, part = _find_ring(pixels, box, inside, mask)
    around = part[ring].astype(np.float64)
    if not len(around):
        return Measured(max(inside.shape), 0.0)
    level = around.mean(axis=0)
    squares = ((pixels[box][inside] - level) ** 2).mean() - ((around - level) ** 2).mean()
    return Measured(max(inside.shape), float(np.sqrt(max(squares, 0.0))))
