"""Draw the demo part: a turned steel flange with a bore, a hub, six bolt holes and a keyway, on a dark mat.

The part is a height field. Its slopes give the shading; turning marks and their highlights run along circles. Pose,
light, marks and noise differ from image to image, and all come from one seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

SIZE = 256
RADIUS, BORE, HUB, HOLE, BOLT_CIRCLE, HOLES = 100.0, 24.0, 46.0, 9.0, 73.0, 6

Plane = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass
class Part:
    """A part before it is lit: where each pixel lies on it, and what is there.

    Attributes:
        x, y: position on the part, in pixels from its centre, along its own axes.
        radius, angle: the same in polar coordinates, pixels and radians.
        height: surface height in pixels, where there is material.
        solid: share of each pixel that is material, 0 to 1.
        tint: factor on the surface's colour, (SIZE, SIZE, 3).
        mask: where it is defective.
    """

    x: Plane
    y: Plane
    radius: Plane
    angle: Plane
    height: Plane
    solid: Plane
    tint: Plane
    mask: Mask

    def offsets(self, radius: float, angle: float) -> tuple[Plane, Plane]:
        """Return each pixel's offset from a point given in polar coordinates."""
        return self.x - np.float32(radius * np.cos(angle)), self.y - np.float32(radius * np.sin(angle))


def draw(seed: int, defect: str | None = None) -> tuple[NDArray[np.uint8], Mask]:
    """Draw an image (SIZE, SIZE, 3) and its defect mask; a seed draws the same part with and without the defect."""
    random = np.random.default_rng([seed, 1])
    light = random.uniform(-1.9, -0.7)
    part = _make_part(random)
    surroundings = _lay_mat(np.random.default_rng([seed, 2]), light)
    marks = _draw_marks(part, np.random.default_rng([seed, 4]))
    good = _light_part(part, light, surroundings, marks)
    if defect is None:
        return _expose(good, seed), part.mask
    DEFECTS[defect](part, np.random.default_rng([seed, 3]))
    mask = binary_dilation(part.mask, iterations=2)
    flawed = _light_part(part, light, surroundings, marks)
    return _expose(np.where(mask[:, :, None], flawed, good), seed), mask


def _make_part(random: np.random.Generator) -> Part:
    """Make a good part in a random pose."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    shift, turn, scale = random.uniform(-5, 5, 2), random.uniform(-0.25, 0.25), random.uniform(0.985, 1.015)
    x, y = (x - np.float32(SIZE / 2 + shift[0])), (y - np.float32(SIZE / 2 + shift[1]))
    cosine, sine = np.float32(np.cos(turn) / scale), np.float32(np.sin(turn) / scale)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    solid = _inside(RADIUS - radius) * _inside(radius - BORE)
    height = 5 * _ramp(HUB - radius, 4) + 4 * _ramp(RADIUS - radius, 5) - 3 * _ramp(BORE + 4 - radius, 4)
    # A groove turned into the face, and the keyway in the bore.
    height -= 2 * np.exp(-(((radius - 88) / np.float32(1.6)) ** 2))
    solid *= 1 - _inside(np.float32(5.5) - np.abs(y)) * _inside(BORE + 8 - x) * _inside(x)
    tint = np.ones((SIZE, SIZE, 3), np.float32)
    part = Part(x, y, radius, angle, height, solid, tint, np.zeros((SIZE, SIZE), bool))
    _drill(part)
    _stamp(part)
    return part


def _inside(distance: Plane) -> Plane:
    """Return how much of a pixel lies inside an edge at a signed distance, as a lens of medium sharpness shows it."""
    share: Plane = np.clip(distance * np.float32(0.6) + np.float32(0.5), 0, 1)
    return share


def _ramp(distance: Plane, width: float) -> Plane:
    """Rise smoothly from 0 to 1 over a width, as a rounded chamfer does."""
    t = np.clip(distance * np.float32(1 / width), 0, 1)
    return t * t * (3 - 2 * t)


def _drill(part: Part) -> None:
    """Drill and chamfer the bolt holes; each pixel depends on the hole nearest to it."""
    sector = np.float32(2 * np.pi / HOLES)
    angle = (part.angle + sector / 2) % sector - sector / 2
    distance = np.hypot(part.radius * np.cos(angle) - np.float32(BOLT_CIRCLE), part.radius * np.sin(angle))
    part.solid *= _inside(distance - HOLE)
    part.height -= 3 * _ramp(HOLE + 4 - distance, 4)


def _stamp(part: Part) -> None:
    """Stamp three strokes and a dot between two bolt holes, as a maker's mark."""
    near = np.hypot(part.x, part.y + 60) < 20
    x, y = part.x[near], part.y[near] + 60
    depth = np.float32(1.5) * np.exp(-((x - 12) ** 2 + y**2) / 3)
    for offset, length in ((-6, 4), (0, 6), (6, 4)):
        depth += np.float32(1.2) * np.exp(-(((x - offset) / np.float32(1.1)) ** 2)) * _ramp(length - np.abs(y), 2)
    part.height[near] -= depth


@dataclass(frozen=True)
class Surroundings:
    """The mat below the part with the part's shadow on it, (SIZE, SIZE, 3)."""

    mat: Plane
    shadow_shift: tuple[float, float]


def _lay_mat(random: np.random.Generator, light: float) -> Surroundings:
    grain = gaussian_filter(_draw_noise(random, SIZE, SIZE), 0.8, truncate=3)
    # Six control points a side, interpolated linearly.
    weights = np.maximum(
        1 - np.abs(np.linspace(0, 5, SIZE, dtype=np.float32)[:, None] - np.arange(6, dtype=np.float32)), 0
    )
    cloth = weights @ _draw_noise(random, 6, 6) @ weights.T
    level = np.float32(0.17) + np.float32(0.02) * grain + np.float32(0.005) * cloth
    mat = level[:, :, None] * np.array([0.78, 0.95, 1.15], np.float32)
    return Surroundings(mat, (-7 * float(np.sin(light)), -7 * float(np.cos(light))))


def _light_part(part: Part, light: float, surroundings: Surroundings, marks: Plane) -> Plane:
    """Light the part from a direction, and lay it on the mat."""
    slope_y, slope_x = np.gradient(gaussian_filter(part.height, 0.7, truncate=3))
    toward = np.float32(np.cos(light)), np.float32(np.sin(light))
    facing = (np.float32(1.1) - slope_x * toward[0] - slope_y * toward[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    surface = np.float32(0.52) * facing * marks + _draw_highlight(part, light)
    steel = surface[:, :, None] * np.array([0.97, 1.0, 1.03], np.float32) * part.tint
    shadow = gaussian_filter(part.solid, 4, truncate=2)
    down, right = surroundings.shadow_shift
    shadow = np.roll(shadow, (round(down), round(right)), axis=(0, 1))
    # Through a hole the mat is seen in deep shade.
    shade = 1 - np.float32(0.65) * np.maximum(shadow, np.float32(0.9) * (part.radius < RADIUS - 2))
    mat = surroundings.mat * shade[:, :, None]
    solid = part.solid[:, :, None]
    photograph: Plane = mat + solid * (steel - mat)
    return photograph


def _draw_marks(part: Part, random: np.random.Generator) -> Plane:
    """Return a factor near 1: the rings and arcs that a lathe leaves, different on each part."""
    rings = gaussian_filter(_draw_noise(random, 160), 0.6)
    arcs = gaussian_filter(_draw_noise(random, 160, 96), (0.7, 5), mode=("nearest", "wrap"))
    marks = np.float32(0.05) * rings[:, None] + np.float32(0.20) * arcs
    where = np.stack([part.radius, (part.angle + np.float32(np.pi)) * np.float32(96 / (2 * np.pi))])
    factor: Plane = 1 + map_coordinates(marks, where, order=1, mode="grid-wrap", prefilter=False)
    return factor


def _draw_highlight(part: Part, light: float) -> Plane:
    """Return the two bright sectors that turned metal shows across the light, separately on face and hub."""
    direction = np.float32(light)
    hub = part.radius < HUB
    across = np.cos(part.angle - direction + np.float32(0.35) * hub) ** 2
    highlight: Plane = np.float32(0.20) * across**4 + np.float32(0.05) * hub
    return highlight


def _expose(image: Plane, seed: int) -> NDArray[np.uint8]:
    """Add what the camera adds: gain, falloff of light towards the edges, white balance, noise."""
    random = np.random.default_rng([seed, 5])
    line = np.linspace(-1, 1, SIZE, dtype=np.float32)
    x, y = line[None, :], line[:, None]
    tilt = random.normal(0, 0.035, 2).astype(np.float32)
    gain = np.float32(random.uniform(0.90, 1.08)) * (1 + tilt[0] * x + tilt[1] * y - np.float32(0.06) * (x * x + y * y))
    balance = (1 + random.normal(0, 0.012, 3)).astype(np.float32)
    exposed = np.clip(image * gain[:, :, None] * balance, 0, 1)
    exposed += _draw_noise(random, SIZE, SIZE, 3) * (np.float32(0.006) + np.float32(0.012) * np.sqrt(exposed))
    levels: NDArray[np.uint8] = np.rint(255 * exposed.clip(0, 1)).astype(np.uint8)
    return levels


def _draw_noise(random: np.random.Generator, *shape: int) -> Plane:
    return random.standard_normal(shape, dtype=np.float32)


def _missing_hole(part: Part, random: np.random.Generator) -> None:
    """Leave one bolt hole undrilled."""
    dx, dy = part.offsets(BOLT_CIRCLE, 2 * np.pi * random.integers(HOLES) / HOLES)
    near = np.hypot(dx, dy) < HOLE + 4.5
    part.solid[near] = 1
    part.height[near] = 4
    part.mask |= near


def _chipped_edge(part: Part, random: np.random.Generator) -> None:
    """Break a ragged piece out of the rim."""
    angle, depth = random.uniform(0, 2 * np.pi), random.uniform(6, 11)
    dx, dy = part.offsets(RADIUS + 2, angle)
    ragged = gaussian_filter(_draw_noise(random, SIZE, SIZE), 2.0) * 9
    chip = depth + ragged - np.hypot(dx, dy)
    before = part.solid.copy()
    part.solid *= 1 - _inside(chip)
    part.height -= 2.5 * _ramp(chip + 3, 3)
    part.mask |= (before > 0.3) & (chip > -2.5)


def _stain(part: Part, random: np.random.Generator) -> None:
    """Leave a drop of dried coolant on the face: brownish, darker at its edge."""
    dx, dy = part.offsets(random.uniform(54, 90), random.uniform(0, 2 * np.pi))
    wobble = gaussian_filter(_draw_noise(random, SIZE, SIZE), 3.5) * 16
    inside = random.uniform(9, 14) + wobble - np.hypot(dx, dy)
    cover = _ramp(inside + 1, 2.5) * (0.55 + 0.45 * np.exp(-((inside - 1.5) ** 2) / 3))
    part.tint *= 1 - cover[:, :, None] * np.array([0.28, 0.42, 0.58], np.float32)
    part.mask |= (inside > -1) & (part.solid > 0.3)


def _scratch(part: Part, random: np.random.Generator) -> None:
    """Draw a fine bent scratch across the turning marks."""
    angle, radius = random.uniform(0, 2 * np.pi), random.uniform(60, 86)
    dx, dy = part.offsets(radius, angle)
    tilt = angle + random.uniform(-0.7, 0.7)
    along = dx * np.float32(np.cos(tilt)) + dy * np.float32(np.sin(tilt))
    across = dy * np.float32(np.cos(tilt)) - dx * np.float32(np.sin(tilt))
    across = across - random.uniform(-0.012, 0.012) * along**2
    length, width = random.uniform(9, 16), random.uniform(0.8, 1.2)
    line = np.exp(-((across / width) ** 2)) * _ramp(length - np.abs(along), 3)
    part.height -= 1.6 * line
    part.tint *= 1 + 0.55 * line[:, :, None]
    part.mask |= (line > 0.15) & (part.solid > 0.3)


def _dent(part: Part, random: np.random.Generator) -> None:
    """Press a shallow dent into the face."""
    dx, dy = part.offsets(random.uniform(55, 90), random.uniform(0, 2 * np.pi))
    size = random.uniform(5.0, 6.5)
    dent = np.exp(-(dx * dx + dy * dy) / (2 * size * size))
    part.height -= np.float32(random.uniform(7.0, 10.0)) * dent
    part.mask |= (dent > 0.2) & (part.solid > 0.3)


DEFECTS: dict[str, Callable[[Part, np.random.Generator], None]] = {
    "missing_hole": _missing_hole,
    "chipped_edge": _chipped_edge,
    "stain": _stain,
    "scratch": _scratch,
    "dent": _dent,
}
"""Kinds of defect, from obvious to subtle."""
