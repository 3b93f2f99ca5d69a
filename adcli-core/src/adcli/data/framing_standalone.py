"""What a run does to images before its exported graph gets them; a copy of this lies in exports and needs no adcli.

The graph gets all that ``cut(pixels)`` gives of each zone, or of the one that has no name. With tiles, that is several:
the score of the zone is the largest of theirs, and ``blend`` makes its map of theirs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[np.uint8]


def prepare(pixels: Levels | NDArray[np.uint16], folder: Path = Path(__file__).parent, zone: str = "") -> Levels:
    """Return what is looked at of an image (H, W, 3): its part of any size, as ``preparation.json`` says.

    Values of 16 bits become levels from 0 to 255, which ``white`` and all above it is.
    Ignored pixels are painted, the region is cut out, then the centre of that; for a letterbox the outermost pixels are
    repeated until the part has the aspect of the model's input, or of its tiles together.
    """
    steps = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    levels = find_levels(pixels, steps.get("white", 65535))
    height, width = levels.shape[:2]
    if steps["ignore"]:
        ignored = scale_flags(np.asarray(Image.open(folder / steps["ignore"])), (height, width))
        levels = np.where(ignored[:, :, None], np.uint8(steps["grey"]), levels)
    region = steps["zones"][zone] if zone else steps["region"]
    x, y, wide, high = find_area((height, width), region, steps["crop"])
    if x < 0 or y < 0 or x + wide > width or y + high > height:
        raise ValueError(f"an image of {width} x {height} pixels is too small for {steps}")
    part = levels[y : y + high, x : x + wide]
    if steps["fit"] == "letterbox":
        size = tuple(steps["image_size"])
        canvas = lay_out(size, **steps["tiles"])[1] if steps["tiles"] else size
        part = np.pad(part, (*find_borders((high, wide), canvas), (0, 0)), mode="edge")
    return part


def cut(pixels: Levels | NDArray[np.uint16], folder: Path = Path(__file__).parent) -> dict[str, list[Levels]]:
    """Return all that the graph is to get of an image, by zone: what is looked at, or tiles of that, row by row.

    For tiles, it is resized to a canvas of all of them, antialiased, and rounded at the end.
    """
    steps = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    return {zone: _cut_one(prepare(pixels, folder, zone), steps) for zone in steps["zones"] or [""]}


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


def scale_flags(flags: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return flags (h, w) at another height and width, by the nearest pixel."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, flags.shape, strict=True))
    scaled: NDArray[np.bool_] = flags[rows][:, columns]
    return scaled
