"""A right runtime, and wrong ones that differ from it in one thing each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from adcli.data import Pixels, resize
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored

BLOCK = 8


def read(path: Path, resize: Callable[[Pixels, tuple[int, int]], Pixels] = resize) -> Runtime:
    """Return what scores images with the mean image in a file."""
    with np.load(path) as archive:
        mean = archive["mean"]
    height, width = mean.shape[:2]

    def score(images: ImageBatch) -> Scored:
        resized = np.stack([resize(image, (height, width)) for image in images]).astype(np.float32) / np.float32(255)
        distance = np.square(resized - mean).mean(axis=3)
        blocks = distance.reshape(len(images), height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean(axis=(2, 4))
        return blocks.max(axis=(1, 2)), blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)

    return score


def load(export: Export) -> Runtime:
    """Read the graph of an export."""
    return read(export.path / export.facts["file"])


def load_inexact(export: Export) -> Runtime:
    """Scores a little too high, and in the same way everywhere."""
    score = load(export)

    def inexact(images: ImageBatch) -> Scored:
        scores, maps = score(images)
        return scores * np.float32(1.1), maps

    return inexact


def load_nearest(export: Export) -> Runtime:
    """Resizes by picking pixels."""

    def pick(pixels: Pixels, size: tuple[int, int]) -> Pixels:
        rows, columns = (np.arange(new) * old // new for new, old in zip(size, pixels.shape, strict=False))
        return pixels[rows][:, columns]

    return read(export.path / export.facts["file"], pick)


def load_relative(export: Export) -> Runtime:
    """Scores relative to the batch."""
    score = load(export)

    def relative(images: ImageBatch) -> Scored:
        scores, maps = score(images)
        return scores + np.float32(0.1) * (scores - scores.mean()), maps

    return relative


def load_in_place(export: Export) -> Runtime:
    """Changes its input after it has scored it."""
    score = load(export)

    def in_place(images: ImageBatch) -> Scored:
        scored = score(images)
        if images.flags.writeable:
            images //= 2
        return scored

    return in_place


def load_with_torch(export: Export) -> Runtime:
    """Needs torch for nothing."""
    import torch

    torch.get_num_threads()
    return load(export)


def load_from_its_place(export: Export) -> Runtime:
    """Reads the archive where it was written."""
    return read(Path((export.path / "place.txt").read_text()))
