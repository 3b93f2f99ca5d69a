"""Defects drawn into photographs of good parts, each of a kind, a size and a contrast, and real ones measured.

The size of a defect is the longer side of the upright box around it, in pixels. The contrast of a drawn one is the root
of the mean squared change of its pixels, in levels from 0 to 255. Of a real one, nobody knows what was there before:
its contrast is that across its outline. Of drawn ones, except stains, which fade, both are the same.
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
"""The surface around a piece is as wide as one of as many parts of its size, and two pixels at least."""

OUTLINE = 3
"""Pixels on each side of an outline that its contrast is measured between."""

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


def _find_ring(pixels: Pixels, box: tuple[slice, ...], inside: Flags) -> tuple[Flags, Pixels]:
    """Return which pixels are around a shape, and the part of the photograph that holds them."""
    from scipy.ndimage import binary_dilation

    width = max(max(inside.shape) // AROUND, 2)
    area, placed = _widen(box, width, inside, pixels.shape)
    return binary_dilation(placed, iterations=width) & ~placed, pixels[area]


def _widen(
    box: tuple[slice, ...], margin: int, inside: Flags, total: tuple[int, ...]
) -> tuple[tuple[slice, ...], Flags]:
    """Return a box with a margin, as far as the photograph reaches, and which of its pixels a shape (h, w) holds."""
    area = tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, most))
        for side, most in zip(box, total, strict=False)
    )
    before = [side.start - wide.start for side, wide in zip(box, area, strict=True)]
    after = [wide.stop - side.stop for side, wide in zip(box, area, strict=True)]
    return area, np.pad(inside, list(zip(before, after, strict=True)))


def measure_defect(pixels: Pixels, mask: Flags) -> Measured:
    """Return size and contrast of the largest region of a mask.

    The contrast is the root of the mean squared difference of the means on both sides of its outline, less what these
    are outside of it, where the surface alone differs.

    Args:
        pixels: the photograph, (H, W, 3).
        mask: which of its pixels are defective, (H, W); some are.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, find_objects, label

    labels, _ = label(mask, structure=np.ones((3, 3), int))
    largest = int(np.bincount(labels[labels > 0]).argmax())
    box = find_objects(labels)[largest - 1]
    area, inside = _widen(box, 4 * OUTLINE, labels[box] == largest, mask.shape)
    part, others = pixels[area].astype(np.float32), mask[area] & ~inside

    def grown(flags: Flags, width: int) -> Flags:
        return np.asarray(binary_dilation(flags, np.ones((3, 3)), iterations=width))

    near = grown(inside, OUTLINE)
    bands = inside & ~binary_erosion(inside, np.ones((3, 3)), OUTLINE), near & ~inside, grown(near, OUTLINE) & ~near
    inner, outer, beyond = (band & ~others for band in bands)
    across = _compare(part, inner, outer, grown(inside, 1) & ~inside)
    outside = _compare(part, outer, beyond, grown(near, 1) & ~near)
    height, width = labels[box].shape
    return Measured(max(height, width), float(np.sqrt(max(across - outside, 0.0))))


def _compare(part: Weights, first: Flags, second: Flags, line: Flags) -> float:
    """Return the mean squared difference of the local means of two bands (h, w) along a line between them; or 0."""
    from scipy.ndimage import uniform_filter

    means = []
    for band in (first, second):
        weight = uniform_filter(band.astype(np.float32), 2 * OUTLINE + 1, mode="constant")
        line = line & (weight > 1e-4)
        sums = uniform_filter(part * band[:, :, None], (2 * OUTLINE + 1, 2 * OUTLINE + 1, 1), mode="constant")
        means.append(sums / np.maximum(weight, 1e-4)[:, :, None])
    return float(((means[0] - means[1])[line] ** 2).mean()) if line.any() else 0.0
