"""What a run does to images before its exported graph gets them; a copy of this lies in exports and needs no adcli."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def prepare(pixels: NDArray[np.uint8], folder: Path = Path(__file__).parent) -> NDArray[np.uint8]:
    """Return what the graph is to get of an image (H, W, 3): its part of any size, as ``preparation.json`` says.

    Ignored pixels are painted, the region is cut out, then the centre of that; for a letterbox the outermost pixels are
    repeated until the part has the aspect of the model's input.
    """
    steps = json.loads((folder / "preparation.json").read_text(encoding="utf-8"))
    height, width = pixels.shape[:2]
    if steps["ignore"]:
        ignored = np.asarray(Image.open(folder / steps["ignore"]))
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((height, width), ignored.shape, strict=True)
        )
        pixels = np.where(ignored[rows][:, columns, None], np.uint8(steps["grey"]), pixels)
    x, y, wide, high = steps["region"] or (0, 0, width, height)
    if steps["crop"]:
        x, y = x + (wide - steps["crop"][1]) // 2, y + (high - steps["crop"][0]) // 2
        high, wide = steps["crop"]
    if x < 0 or y < 0 or x + wide > width or y + high > height:
        raise ValueError(f"an image of {width} x {height} pixels is too small for {steps}")
    down = across = 0
    if steps["fit"] == "letterbox":
        rows, columns = steps["image_size"]
        down = max((2 * wide * rows + columns) // (2 * columns) - high, 0)
        across = max((2 * high * columns + rows) // (2 * rows) - wide, 0)
    borders = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return np.pad(pixels[y : y + high, x : x + wide], borders, mode="edge")
