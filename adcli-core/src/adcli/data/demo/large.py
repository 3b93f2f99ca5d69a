"""Draw the large demo photograph: a populated circuit board, on which a defect takes a few dozen pixels of 12 million.

Every board has the same layout. What differs from one to the next is what differs on a line: pose, light, the weave of
the laminate, how each component sits and how its solder shines, noise. All of it comes from one seed. Lengths are in
pixels of the full size, WIDTH x HEIGHT; a smaller photograph is the same board, drawn at a fraction of the scale.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

WIDTH, HEIGHT = 4000, 3000
BORDER = 90.0
"""Laminate without parts along the edges."""

SMALLEST, LARGEST = 10.0, 60.0
"""Sides of defects, in pixels of the full size."""

BODY = 44.0
"""Length of a small part."""

Plane = NDArray[Any]
Mask = NDArray[np.bool_]
Colour = tuple[float, float, float]

LAMINATE: Colour = (0.10, 0.30, 0.19)
COPPER: Colour = (0.17, 0.43, 0.27)
TIN: Colour = (0.72, 0.73, 0.72)
EPOXY: Colour = (0.085, 0.085, 0.095)
CERAMIC: Colour = (0.55, 0.44, 0.30)
PRINT: Colour = (0.84, 0.86, 0.83)
HOLE: Colour = (0.03, 0.03, 0.035)


class Piece(NamedTuple):
    """Something of one colour on the board: a rectangle with round corners, which a disc is as well.

    Attributes:
        x, y: its centre, in pixels of the full size from the board's corner.
        width, height: its sides.
        colour: of its surface.
        corner: radius of its corners.
        gloss: how much brighter its middle shines, at most.
        owner: number of the component that it moves with; pieces of the board itself have -1.
    """

    x: float
    y: float
    width: float
    height: float
    colour: Colour
    corner: float = 0.0
    gloss: float = 0.0
    owner: int = -1


@dataclass
class Canvas:
    """A photograph while it is drawn.

    Attributes:
        pixels: (H, W, 3), 0 to 1.
        mask: where it is defective.
        scale: pixels for each pixel of the full size.
        turn: of the board, in radians.
        shift: of the board, in pixels of the full size.
    """

    pixels: Plane
    mask: Mask
    scale: float
    turn: float
    shift: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the board is in the photograph, in pixels of the full size."""
        dx, dy = x - WIDTH / 2, y - HEIGHT / 2
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return (
            float(cosine * dx - sine * dy + WIDTH / 2 + self.shift[0]),
            float(sine * dx + cosine * dy + HEIGHT / 2 + self.shift[1]),
        )

    def window(
        self, x: float, y: float, reach: tuple[float, float], turn: float
    ) -> tuple[tuple[slice, slice], Plane, Plane]:
        """Return a part of the photograph, and the offsets of its pixels from a point along axes that are turned.

        Args:
            x: the point, in pixels of the full size.
            y: likewise.
            reach: how far the part goes along each axis, both ways.
            turn: of the axes, in radians.
        """
        height, width = self.mask.shape
        cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        wide = abs(cosine) * reach[0] + abs(sine) * reach[1]
        tall = abs(sine) * reach[0] + abs(cosine) * reach[1]
        left, right = (int(np.clip(np.floor(side * self.scale), 0, width)) for side in (x - wide, x + wide + 1))
        top, bottom = (int(np.clip(np.floor(side * self.scale), 0, height)) for side in (y - tall, y + tall + 1))
        rows = (np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)) / np.float32(self.scale)
        columns = (np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5)) / np.float32(self.scale)
        dx, dy = columns - np.float32(x), rows - np.float32(y)
        return (slice(top, bottom), slice(left, right)), cosine * dx + sine * dy, cosine * dy - sine * dx

    def cover(self, where: tuple[slice, slice], share: Plane, colour: Plane | Colour) -> None:
        """Lay a colour over a part of the photograph, by the share of each pixel that it covers."""
        part = self.pixels[where]
        part += share[:, :, None] * (np.asarray(colour, np.float32) - part)

    def inside(self, distance: Plane) -> Plane:
        """Return how much of a pixel lies inside an edge at a signed distance, with the lens's blur."""
        share: Plane = np.clip(distance * np.float32(min(self.scale, 1.0) * 0.55) + np.float32(0.5), 0, 1)
        return share


def draw_large(seed: int, defect: str | None = None, width: int = WIDTH) -> tuple[NDArray[np.uint8], Mask]:
    """Draw a photograph (H, W, 3) and its defect's mask; a seed draws the same board with and without the defect.

    Args:
        seed: of everything.
        defect: one of :data:`LARGE_DEFECTS`, or None.
        width: of the photograph; its height follows.
    """
    random = np.random.default_rng([seed, 11])
    canvas = _lay_board(random, width)
    components = _seat(np.random.default_rng([seed, 12]))
    missing = _choose_missing(seed) if defect == "missing" else None
    for piece in _list_pieces():
        if piece.owner < 0 or piece.owner != missing or piece.colour == TIN:
            _draw_piece(canvas, piece, components)
    if missing is not None:
        _mark_missing(canvas, missing, components)
    elif defect is not None and (draw := LARGE_DEFECTS[defect]):
        draw(canvas, np.random.default_rng([seed, 13]))
    return _expose(canvas.pixels, np.random.default_rng([seed, 14])), canvas.mask


def _lay_board(random: np.random.Generator, width: int) -> Canvas:
    """Lay the bare board: laminate with its weave under the green resist, in a pose of its own."""
    scale, height = width / WIDTH, round(HEIGHT * width / WIDTH)
    turn, shift = float(random.normal(0, 0.0025)), (float(random.normal(0, 6)), float(random.normal(0, 6)))
    phases, pitch = random.uniform(0, 2 * np.pi, 2), random.uniform(0.985, 1.015, 2)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(scale)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(scale)
    warp = np.sin(x * np.float32(2 * np.pi / 17.0 * pitch[0]) + np.float32(phases[0]))
    weft = np.sin(y * np.float32(2 * np.pi / 15.0 * pitch[1]) + np.float32(phases[1]))
    coarse = _draw_noise(random, height // 64 + 2, width // 64 + 2)
    cloud = _enlarge(gaussian_filter(coarse, 2.0), (height, width))
    level = 1 + np.float32(0.035) * (weft[:, None] * warp[None, :]) + np.float32(0.05) * cloud
    pixels = level[:, :, None] * np.asarray(LAMINATE, np.float32)
    return Canvas(pixels, np.zeros((height, width), bool), scale, turn, shift)


def _enlarge(coarse: Plane, size: tuple[int, int]) -> Plane:
    """Interpolate a plane linearly to a size."""
    weights = []
    for length, count in zip(size, coarse.shape, strict=True):
        position = np.linspace(0, count - 1, length, dtype=np.float32)[:, None]
        weights.append(np.maximum(1 - np.abs(position - np.arange(count, dtype=np.float32)), 0))
    wide: Plane = weights[0] @ coarse @ weights[1].T
    return wide


class Seat(NamedTuple):
    """How a component sits on one board: shifted and turned a little, darker or brighter, its solder more or less."""

    dx: float
    dy: float
    turn: float
    level: float
    solder: float


def _seat(random: np.random.Generator) -> list[Seat]:
    count = 1 + max(piece.owner for piece in _list_pieces())
    spread = np.array([1.3, 1.3, 0.010, 0.05, 0.12])
    return [Seat(*map(float, row)) for row in np.clip(random.normal(0, 1, (count, 5)), -2.2, 2.2) * spread]


def _draw_piece(canvas: Canvas, piece: Piece, components: Sequence[Seat]) -> None:
    seat = components[piece.owner] if piece.owner >= 0 else Seat(0, 0, 0, 0, 0)
    x, y = canvas.place(piece.x + seat.dx, piece.y + seat.dy)
    reach = (piece.width / 2 + 3, piece.height / 2 + 3)
    where, across, along = canvas.window(x, y, reach, canvas.turn + seat.turn)
    if not across.size:
        return
    corner = np.float32(piece.corner)
    out_x = np.abs(across) - np.float32(piece.width / 2) + corner
    out_y = np.abs(along) - np.float32(piece.height / 2) + corner
    distance = corner - np.hypot(np.maximum(out_x, 0), np.maximum(out_y, 0)) - np.minimum(np.maximum(out_x, out_y), 0)
    level = 1 + seat.level + (seat.solder if piece.colour == TIN else 0)
    side = max(min(piece.width, piece.height), 1.0)
    shine = np.float32(piece.gloss) * np.exp(-(((along + np.float32(0.15 * side)) / np.float32(0.35 * side)) ** 2))
    colour = np.asarray(piece.colour, np.float32) * (np.float32(level) + shine)[:, :, None]
    canvas.cover(where, canvas.inside(distance), colour)


@cache
def _list_pieces() -> tuple[Piece, ...]:
    """Return everything on a board, the lowest first: traces, vias, print, and the components with their pads."""
    random = np.random.default_rng(7)
    components = list(_list_components(random))
    return (*_list_traces(), *_list_vias(random), *_list_holes(), *components)


def _list_traces() -> Iterator[Piece]:
    """Yield traces: bundles along the board between the rows of components, and some across."""
    for row in range(6):
        y = BORDER + 205 + row * 470
        for line in range(7):
            yield Piece(WIDTH / 2, y + line * 17, WIDTH - 2 * BORDER - 150 - line * 60, 6, COPPER, 3)
    for column in range(9):
        x = BORDER + 250 + column * 415
        for line in range(4):
            yield Piece(x + line * 16, HEIGHT / 2, 6, HEIGHT - 2 * BORDER - 200 - line * 90, COPPER, 3)


def _list_vias(random: np.random.Generator) -> Iterator[Piece]:
    for x, y in random.uniform((BORDER, BORDER), (WIDTH - BORDER, HEIGHT - BORDER), (160, 2)):
        yield Piece(float(x), float(y), 22, 22, COPPER, 11)
        yield Piece(float(x), float(y), 9, 9, HOLE, 4.5)


def _list_holes() -> Iterator[Piece]:
    for x in (BORDER, WIDTH - BORDER):
        for y in (BORDER, HEIGHT - BORDER):
            yield Piece(x, y, 120, 120, TIN, 60, 0.15)
            yield Piece(x, y, 74, 74, HOLE, 37)


CHIP_EVERY = 4
"""In each row, every so many places hold a chip, and the others small parts."""


def _list_components(random: np.random.Generator) -> Iterator[Piece]:
    owner = 0
    for row in range(6):
        for place in range(12):
            x, y = BORDER + 150 + place * 312, BORDER + 60 + row * 470
            if (place + row) % CHIP_EVERY == 1:
                yield from _list_chip(x + 40, y + 60, owner)
                owner += 1
                continue
            for number in range(6):
                across, down = x + (number % 3) * 84, y + (number // 3) * 62 + 10
                yield from _list_small(across, down, owner, is_capacitor=bool(random.random() < 0.4))
                owner += 1
            yield from _list_print(x + 84, y + 130, random)


def _list_chip(x: float, y: float, owner: int) -> Iterator[Piece]:
    """Yield a chip with eight legs on each long side, its mark, and its name."""
    for side in (-1, 1):
        for leg in range(8):
            yield Piece(x - 98 + leg * 28, y + side * 78, 13, 34, TIN, 3, 0.25, owner)
    yield Piece(x, y, 236, 132, EPOXY, 8, 0.25, owner)
    yield Piece(x - 98, y + 44, 15, 15, (0.16, 0.16, 0.17), 7.5, 0, owner)
    for line, length in ((-16, 120), (10, 84)):
        for stroke in range(int(length // 14)):
            yield Piece(x - 50 + stroke * 14, y + line, 6, 14, (0.30, 0.30, 0.31), 1, 0, owner)


def _list_small(x: float, y: float, owner: int, *, is_capacitor: bool) -> Iterator[Piece]:
    """Yield a resistor or a capacitor on its two pads, which stay if it is missing."""
    for side in (-1, 1):
        yield Piece(x + side * 23, y, 20, 30, TIN, 4, 0.2, owner)
    if is_capacitor:
        yield Piece(x, y, BODY, 26, CERAMIC, 3, 0.2, owner)
    else:
        yield Piece(x, y, BODY, 24, EPOXY, 3, 0.15, owner)
    for side in (-1, 1):
        yield Piece(x + side * 20, y, 8, 25, (0.62, 0.63, 0.62), 2, 0.3, owner)
    if not is_capacitor:
        for stroke in (-7, 0, 7):
            yield Piece(x + stroke, y, 3, 10, PRINT, 0, 0, owner)


def _list_print(x: float, y: float, random: np.random.Generator) -> Iterator[Piece]:
    """Yield a few strokes of white print below a group of parts."""
    for stroke in range(int(random.integers(4, 9))):
        tall = bool(random.random() < 0.6)
        yield Piece(x - 60 + stroke * 15, y, 3 if tall else 10, 18 if tall else 3, PRINT, 1)


def _choose_missing(seed: int) -> int:
    """Return which of the small parts is missing."""
    small = sorted({piece.owner for piece in _list_pieces() if piece.width == BODY})
    return small[int(np.random.default_rng([seed, 15]).integers(len(small)))]


def _mark_missing(canvas: Canvas, owner: int, components: Sequence[Seat]) -> None:
    body = next(piece for piece in _list_pieces() if piece.owner == owner and piece.width == BODY)
    seat = components[owner]
    x, y = canvas.place(body.x + seat.dx, body.y + seat.dy)
    where, across, along = canvas.window(x, y, (BODY, BODY), canvas.turn + seat.turn)
    # What was drawn there ends in a blurred edge.
    edge = 2 + 1 / canvas.scale
    canvas.mask[where] |= (np.abs(across) < BODY / 2 + edge) & (np.abs(along) < body.height / 2 + edge)


def _draw_scratch(canvas: Canvas, random: np.random.Generator) -> None:
    """Scratch the resist, or whatever is there, with a fine bent line that lets the copper shine."""
    length, width, bend = random.uniform(28, LARGEST), random.uniform(1.4, 2.4), random.uniform(-0.006, 0.006)
    where, across, along = _somewhere(canvas, random, length)
    distance = width - np.abs(along - np.float32(bend) * across**2)
    line = canvas.inside(distance) * canvas.inside(np.float32(length / 2) - np.abs(across))
    canvas.cover(where, np.float32(0.75) * line, (0.55, 0.56, 0.48))
    canvas.mask[where] |= line > 0


def _draw_ball(canvas: Canvas, random: np.random.Generator) -> None:
    """Drop a ball of solder."""
    radius = random.uniform(SMALLEST, 26) / 2
    where, across, along = _somewhere(canvas, random, 2 * radius)
    share = canvas.inside(np.float32(radius) - np.hypot(across, along))
    shine = np.exp(-((across + radius / 3) ** 2 + (along + radius / 3) ** 2) / np.float32((0.45 * radius) ** 2))
    canvas.cover(where, share, (np.float32(0.45) + np.float32(0.5) * shine)[:, :, None] * np.ones(3, np.float32))
    canvas.mask[where] |= share > 0


def _draw_stain(canvas: Canvas, random: np.random.Generator) -> None:
    """Leave a drop of flux, brownish and darker at its edge."""
    radius = random.uniform(24, LARGEST) / 2
    where, across, along = _somewhere(canvas, random, 2.4 * radius)
    phases = random.uniform(0, 2 * np.pi, 3)
    angle = np.arctan2(along, across)
    ragged = sum(np.sin((lobes + 2) * angle + np.float32(phase)) / (lobes + 2) for lobes, phase in enumerate(phases))
    inside = np.float32(radius) * (np.float32(0.85) + np.float32(0.15) * ragged) - np.hypot(across, along)
    edge = np.exp(-(((inside - np.float32(2)) / np.float32(2.5)) ** 2))
    share = canvas.inside(inside) * (np.float32(0.45) + np.float32(0.35) * edge)
    canvas.cover(where, share, (0.20, 0.13, 0.05))
    canvas.mask[where] |= share > 0


def _draw_cut(canvas: Canvas, random: np.random.Generator) -> None:
    """Interrupt a trace, away from where others cross it."""
    traces = [piece for piece in _list_traces() if piece.width > piece.height]
    trace = traces[int(random.integers(len(traces)))]
    gap, column = random.uniform(14, 40), int(random.integers(1, 8))
    x, y = canvas.place(BORDER + 250 + (column + random.uniform(0.3, 0.85)) * 415, trace.y)
    where, across, along = canvas.window(x, y, (gap, gap), canvas.turn)
    share = canvas.inside(np.float32(gap / 2) - np.abs(across)) * canvas.inside(np.float32(6) - np.abs(along))
    canvas.cover(where, share, LAMINATE)
    canvas.mask[where] |= share > 0


def _somewhere(canvas: Canvas, random: np.random.Generator, reach: float) -> tuple[tuple[slice, slice], Plane, Plane]:
    """Return a part of the photograph as :meth:`Canvas.window` has it, around a point anywhere on the board."""
    x, y = random.uniform((BORDER, BORDER), (WIDTH - BORDER, HEIGHT - BORDER))
    return canvas.window(*canvas.place(float(x), float(y)), (reach, reach), random.uniform(0, 2 * np.pi))


def _expose(pixels: Plane, random: np.random.Generator) -> NDArray[np.uint8]:
    """Add what the camera adds: gain, falloff of light towards the edges, white balance, noise; 0 to 255."""
    height, width, _ = pixels.shape
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    tilt = random.normal(0, 0.03, 2).astype(np.float32)
    gain = np.float32(random.uniform(0.93, 1.06)) * (1 + tilt[0] * x + tilt[1] * y - np.float32(0.05) * (x * x + y * y))
    balance = (1 + random.normal(0, 0.010, 3)).astype(np.float32)
    # A channel at a time: planes of twelve million take their memory.
    levels = np.empty(pixels.shape, np.uint8)
    for channel in range(3):
        plane = np.clip(pixels[:, :, channel] * gain * balance[channel], 0, 1)
        plane += _draw_noise(random, height, width) * (np.float32(0.003) + np.float32(0.008) * np.sqrt(plane))
        levels[:, :, channel] = np.rint(255 * plane.clip(0, 1))
    return levels


def _draw_noise(random: np.random.Generator, *shape: int) -> Plane:
    return random.standard_normal(shape, dtype=np.float32)


LARGE_DEFECTS: dict[str, Callable[[Canvas, np.random.Generator], None] | None] = {
    "missing": None,
    "scratch": _draw_scratch,
    "solder_ball": _draw_ball,
    "stain": _draw_stain,
    "cut_trace": _draw_cut,
}
"""Kinds of defect, and what draws them on a board; a part that is missing was never drawn."""
