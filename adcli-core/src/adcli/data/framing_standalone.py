"""What a run does to images before its exported graph gets them; a copy of this lies in exports and needs no adcli.

The graph gets all that ``read(path)``, or ``cut(pixels)``, gives of each zone, or of the one that has no name. With
tiles, that is several: the score of the zone is the largest of theirs, and ``blend`` makes its map of theirs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Levels = NDArray[np.uint8]


SCALES = (8, 4, 2)
"""How many pixels of a JPEG, each way, its decoder can make one of."""


def read(path: Path | str, folder: Path = Path(__file__).parent) -> dict[str, list[Levels]]:
    """Return all that the graph is to get of an image file, as ``cut`` does of its pixels.

    If the run was trained with ``--reading scaled``, a JPEG is decoded no finer than the model needs.
    """
    steps = _read_steps(folder)
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
        size = (image.width, image.height) if turned else (image.height, image.width)
        scale = 1
        if steps.get("reading") == "scaled" and image.format in ("JPEG", "MPO"):
            scale = min(_find_scale(size, steps, zone) for zone in steps["zones"] or [""])
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        upright = ImageOps.exif_transpose(image)
        deep = upright.mode.startswith("I;16")
        values = np.asarray(upright if deep else upright.convert("RGB"))
    pixels = np.stack([values] * 3, axis=2) if deep else values
    # Of another format, the size may be that before or after turning it.
    size = size if scale > 1 else (values.shape[0], values.shape[1])
    return _cut(pixels, steps, folder, size, scale)


def _find_scale(size: tuple[int, int], steps: dict[str, Any], zone: str) -> int:
    _, _, wide, high = find_area(size, _find_region(steps, zone), steps["crop"])
    return find_scale((high, wide), steps["fit"], _find_canvas(steps))


def prepare(pixels: Levels | NDArray[np.uint16], folder: Path = Path(__file__).parent, zone: str = "") -> Levels:
    """Return what is looked at of an image (H, W, 3): its part of any size, as ``preparation.json`` says.

    Values of 16 bits become levels from 0 to 255, which ``white`` and all above it is.
    Ignored pixels are painted, the region is cut out, then the centre of that; for a letterbox the outermost pixels are
    repeated until the part has the aspect of the model's input, or of its tiles together.
    """
    return _prepare(pixels, _read_steps(folder), folder, zone, (pixels.shape[0], pixels.shape[1]), 1)


def cut(pixels: Levels | NDArray[np.uint16], folder: Path = Path(__file__).parent) -> dict[str, list[Levels]]:
    """Return all that the graph is to get of an image, by zone: what is looked at, or tiles of that, row by row.

    For tiles, it is resized to a canvas of all of them, antialiased, and rounded at the end.
    """
    return _cut(pixels, _read_steps(folder), folder, (pixels.shape[0], pixels.shape[1]), 1)


def _read_steps(folder: Path) -> dict[str, Any]:
    steps: dict[str, Any] = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    return steps


def _find_region(steps: dict[str, Any], zone: str) -> tuple[int, int, int, int] | None:
    region: tuple[int, int, int, int] | None = steps["zones"][zone] if zone else steps["region"]
    return region


def _find_canvas(steps: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the model's input, or of its tiles together."""
    high, wide = steps["image_size"]
    return lay_out((high, wide), **steps["tiles"])[1] if steps["tiles"] else (high, wide)


def _prepare(
    pixels: Levels | NDArray[np.uint16],
    steps: dict[str, Any],
    folder: Path,
    zone: str,
    size: tuple[int, int],
    scale: int,
) -> Levels:
    """Prepare a zone of an image of a height and a width, of which each pixel is made of several, each way."""
    height, width = size
    x, y, wide, high = find_area(size, _find_region(steps, zone), steps["crop"])
    if x < 0 or y < 0 or x + wide > width or y + high > height:
        raise ValueError(f"an image of {width} x {height} pixels is too small for {steps}")
    left, top, columns, rows = find_decoded((x, y, wide, high), size, scale)
    part = find_levels(pixels[top : top + rows, left : left + columns], steps.get("white", 65535))
    if steps["ignore"]:
        ignored = scale_flags(np.asarray(Image.open(folder / steps["ignore"])), size)[y : y + high, x : x + wide]
        part = np.where(scale_flags(ignored, (rows, columns))[:, :, None], np.uint8(steps["grey"]), part)
    if steps["fit"] == "letterbox":
        part = np.pad(part, (*find_borders((rows, columns), _find_canvas(steps)), (0, 0)), mode="edge")
    return part


def _cut(
    pixels: Levels | NDArray[np.uint16], steps: dict[str, Any], folder: Path, size: tuple[int, int], scale: int
) -> dict[str, list[Levels]]:
    return {
        zone: _cut_one(_prepare(pixels, steps, folder, zone, size, scale), steps) for zone in steps["zones"] or [""]
    }


def _cut_one(part: Levels, steps: dict[str, Any]) -> list[Levels]:
    if not steps["tiles"]:
        return [part]
    high, wide = steps["image_size"]
    corners, canvas = lay_out((high, wide), **steps["tiles"])
    channels = [Image.fromarray(part[:, :, i].astype(np.float32)) for i in range(3)]
    planes = [np.asarray(plane.resize(canvas[::-1], Image.Resampling.BILINEAR)) for plane in channels]
    # What is within rounding of halfway between two levels counts as halfway.
    levels = np.rint(np.rint(np.stack(planes, axis=-1) * 16384) / 16384).clip(0, 255).astype(np.uint8)
    return [levels[y : y + high, x : x + wide] for y, x in corners]


def blend(maps: NDArray[np.float32], folder: Path = Path(__file__).parent) -> NDArray[np.float32]:
    """Return the map (H, W) of all tiles from theirs (T, h, w)."""
    steps = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    return blend_tiles(maps, **steps["tiles"])


def lay_out(
    size: tuple[int, int], columns: int, rows: int, overlap: float
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return the upper left corner (y, x) of each tile of a (height, width), and height and width of their canvas."""
    down, across = (side - find_overlap(side, overlap) for side in size)
    corners = [(row * down, column * across) for row in range(rows) for column in range(columns)]
    return corners, (size[0] + (rows - 1) * down, size[1] + (columns - 1) * across)


def find_overlap(side: int, share: float) -> int:
    """Return how many pixels of a tile's side are in the next tile too."""
    return min(int(side * share + 0.5), side // 2)


def blend_tiles(maps: NDArray[np.float32], columns: int, rows: int, overlap: float) -> NDArray[np.float32]:
    """Return the map of a canvas (H, W) from those of its tiles (T, h, w).

    Where two tiles overlap, each counts the more the deeper a pixel lies in it, so that no seam shows.
    """
    high, wide = maps.shape[1:]
    corners, canvas = lay_out((high, wide), columns, rows, overlap)
    blended = np.zeros(canvas, np.float32)
    down, across = list_weights(rows, high, overlap), list_weights(columns, wide, overlap)
    for number, (y, x) in enumerate(corners):
        weighted = maps[number] * down[number // columns][:, None] * across[number % columns]
        blended[y : y + high, x : x + wide] += weighted
    return blended


def list_weights(count: int, side: int, share: float) -> list[NDArray[np.float32]]:
    """Return how much each line of a tile counts, for each of several in a row: with those of the next it is one."""
    overlap = find_overlap(side, share)
    # A tile's very border saw least of what is around it: a cosine lets it count less than a straight line would.
    rising = (1 - np.cos((np.arange(overlap) + 0.5) / max(overlap, 1) * np.pi)) / 2
    weights = np.ones((count, side), np.float32)
    if overlap:
        weights[1:, :overlap] = rising
        weights[:-1, side - overlap :] = rising[::-1]
    return list(weights)


def find_levels(values: Levels | NDArray[np.uint16], white: int) -> Levels:
    """Return values of 16 bits as levels from 0 to 255; those of 8 bits are levels already."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    levels: Levels = np.rint(values.astype(np.float32) * (255 / white)).clip(0, 255).astype(np.uint8)
    return levels


def find_area(
    size: tuple[int, int], region: tuple[int, int, int, int] | None, crop: tuple[int, int] | None
) -> tuple[int, int, int, int]:
    """Return x, y, width and height of what is looked at in an image of a height and a width."""
    x, y, wide, high = region or (0, 0, size[1], size[0])
    if crop:
        x, y = x + (wide - crop[1]) // 2, y + (high - crop[0]) // 2
        high, wide = crop
    return x, y, wide, high


def find_borders(part: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many pixels a part lacks above and below, left and right, to have the aspect of a model's input."""
    (high, wide), (rows, columns) = part, size
    down = max((2 * wide * rows + columns) // (2 * columns) - high, 0)
    across = max((2 * high * columns + rows) // (2 * rows) - wide, 0)
    return (down // 2, down - down // 2), (across // 2, across - across // 2)


def find_scale(part: tuple[int, int], fit: str, size: tuple[int, int]) -> int:
    """Return how many pixels of a JPEG, each way, its decoder makes one of.

    At least two are left, each way, for each pixel of the model's input, borders included.

    Args:
        part: height and width of what is looked at.
        fit: ``squash`` or ``letterbox``.
        size: height and width of the model's input.
    """
    high, wide = part
    if fit == "letterbox":
        (above, below), (before, behind) = find_borders(part, size)
        high, wide = above + high + below, before + wide + behind
    return next((scale for scale in SCALES if high >= 2 * scale * size[0] and wide >= 2 * scale * size[1]), 1)


def find_decoded(part: tuple[int, int, int, int], size: tuple[int, int], scale: int) -> tuple[int, int, int, int]:
    """Return a part (x, y, width, height) of an image in pixels of which each is made of several.

    Args:
        part: in pixels of the image.
        size: height and width of the image.
        scale: how many of its pixels, each way, one is made of; what is left at a border is one as well.
    """
    (left, wide), (top, high) = (
        _find_stretch(start, length, total, scale)
        for start, length, total in zip(part[:2], part[2:], size[::-1], strict=True)
    )
    return left, top, wide, high


def _find_stretch(start: int, length: int, total: int, scale: int) -> tuple[int, int]:
    count = -(-total // scale)
    first = min((2 * start + scale) // (2 * scale), count - 1)
    end = count if start + length == total else min((2 * (start + length) + scale) // (2 * scale), count)
    return first, max(end - first, 1)


def scale_flags(flags: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return flags (h, w) at another height and width, by the nearest pixel."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, flags.shape, strict=True))
    scaled: NDArray[np.bool_] = flags[rows][:, columns]
    return scaled
