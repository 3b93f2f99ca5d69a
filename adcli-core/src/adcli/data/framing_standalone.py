"""What a run does to images before its exported graph gets them; a copy of this lies in exports and needs no adcli."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SCALES = (8, 4, 2)
"""How many pixels of a JPEG, each way, its decoder can make one of."""


def read(path: Path | str, folder: Path = Path(__file__).parent) -> NDArray[np.uint8]:
    """Return what the graph is to get of an image file, as :func:`prepare` does of its pixels.

    If the run was trained with ``--reading scaled``, a JPEG is decoded no finer than the model needs.
    """
    steps = _read_steps(folder)
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
        # Of a TIFF, the size may be that before or after turning it.
        size = (image.width, image.height) if turned and image.format != "TIFF" else (image.height, image.width)
        scale = 1
        if steps.get("reading") == "scaled" and image.format in ("JPEG", "MPO"):
            _, _, wide, high = find_area(size, steps["region"], steps["crop"])
            scale = find_scale((high, wide), steps["fit"], steps["image_size"])
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        upright = ImageOps.exif_transpose(image)
        deep = upright.mode.startswith("I;16")
        values = np.asarray(upright if deep else upright.convert("RGB"))
    pixels = np.stack([values] * 3, axis=2) if deep else values
    return _prepare(pixels, steps, folder, size if scale > 1 else values.shape[:2], scale)


def prepare(pixels: NDArray[np.uint8] | NDArray[np.uint16], folder: Path = Path(__file__).parent) -> NDArray[np.uint8]:
    """Return what the graph is to get of an image (H, W, 3): its part of any size, as ``preparation.json`` says.

    Values of 16 bits become levels from 0 to 255, which ``white`` and all above it is.
    Ignored pixels are painted, the region is cut out, then the centre of that; for a letterbox the outermost pixels are
    repeated until the part has the aspect of the model's input.
    """
    return _prepare(pixels, _read_steps(folder), folder, (pixels.shape[0], pixels.shape[1]), 1)


def _read_steps(folder: Path) -> dict[str, Any]:
    steps: dict[str, Any] = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    return steps


def _prepare(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    steps: dict[str, Any],
    folder: Path,
    size: tuple[int, int],
    scale: int,
) -> NDArray[np.uint8]:
    """Prepare an image of a height and a width, of which each pixel is made of several, each way."""
    height, width = size
    x, y, wide, high = find_area(size, steps["region"], steps["crop"])
    if x < 0 or y < 0 or x + wide > width or y + high > height:
        raise ValueError(f"an image of {width} x {height} pixels is too small for {steps}")
    left, top, columns, rows = find_decoded((x, y, wide, high), size, scale)
    part = find_levels(pixels[top : top + rows, left : left + columns], steps.get("white", 65535))
    if steps["ignore"]:
        ignored = scale_flags(np.asarray(Image.open(folder / steps["ignore"])), size)[y : y + high, x : x + wide]
        part = np.where(scale_flags(ignored, (rows, columns))[:, :, None], np.uint8(steps["grey"]), part)
    if steps["fit"] == "letterbox":
        part = np.pad(part, (*find_borders((rows, columns), steps["image_size"]), (0, 0)), mode="edge")
    return part


def find_levels(values: NDArray[np.uint8] | NDArray[np.uint16], white: int) -> NDArray[np.uint8]:
    """Return values of 16 bits as levels from 0 to 255; those of 8 bits are levels already."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    levels: NDArray[np.uint8] = np.rint(values.astype(np.float32) * (255 / white)).clip(0, 255).astype(np.uint8)
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
