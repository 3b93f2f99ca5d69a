"""Photographs as endless, seeded, augmented crops; no labels are needed."""

import random
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
HELD_OUT = 20
"""Every so many-th photograph, in the order of names, is never trained on."""


def find_photographs(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the photographs under a folder to train on, and those held out."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < HELD_OUT:
        raise SystemExit(f"--photographs {folder}: {len(paths)} images are too few, give at least {HELD_OUT}")
    return [path for i, path in enumerate(paths) if i % HELD_OUT], paths[::HELD_OUT]


@cache
def _decode(path: Path) -> Image.Image:
    # Kept decoded: 0.35 MB for each photograph of 288 x 400, and decoding would cost a tenth of a training step.
    with Image.open(path) as image:
        return image.convert("RGB")


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def centre_crop(path: Path, size: int) -> Tensor:
    """Return the largest centred square of a photograph, (3, size, size) uint8."""
    return _tensor(ImageOps.fit(_decode(path), (size, size), Image.Resampling.BICUBIC))


def augmented_crop(path: Path, size: int, draw: random.Random) -> Tensor:
    """Return a random crop of a photograph, turned, recoloured, sometimes grey or blurred: (3, size, size) uint8."""
    photograph = _decode(path)
    image = photograph.resize((size, size), Image.Resampling.BICUBIC, box=_crop_box(photograph.size, draw))
    if draw.random() < 0.5:
        image = ImageOps.mirror(image)
    # Parts lie under a camera in any direction, photographs are upright.
    if draw.random() < 0.4:
        image = image.transpose(draw.choice([Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180]))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if draw.random() < 0.6:
            image = enhance(image).enhance(draw.uniform(0.5, 1.5))
    if draw.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if draw.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 2.0)))
    return _tensor(image)


def _crop_box(size: tuple[int, int], draw: random.Random) -> tuple[float, float, float, float]:
    """Draw a rectangle of 5 to 100 % of the area and an aspect ratio of 3:4 to 4:3."""
    width, height = size
    area, aspect = width * height * draw.uniform(0.05, 1.0), draw.uniform(0.75, 4 / 3)
    w, h = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
    left, top = draw.uniform(0, width - w), draw.uniform(0, height - h)
    return left, top, left + w, top + h


class Crops(Dataset[Tensor]):
    """Crop number i depends on the seed and i alone, so that a resumed training sees what an unbroken one would.

    Each pass over the photographs has an order of its own. ``sizes`` holds, for every crop, its side.
    """

    def __init__(self, paths: list[Path], sizes: list[int], seed: int) -> None:
        self.paths, self.sizes, self.seed = paths, sizes, seed

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Tensor:
        turn, place = divmod(index, len(self.paths))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.paths))
        return augmented_crop(self.paths[order[place]], self.sizes[index], random.Random(f"{self.seed} {index}"))
