"""Scores with the archive, in NumPy."""

import numpy as np

from adcli.data import resize
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored


def load(export: Export) -> Runtime:
    """Read the archive."""
    with np.load(export.path / export.facts["file"]) as archive:
        mean, power, error = archive["mean"].astype(np.float32), float(archive["power"]), float(archive["error"])
    height, width = mean.shape[:2]

    def score(images: ImageBatch) -> Scored:
        resized = np.stack([resize(image, (height, width)) for image in images]).astype(np.float32) / np.float32(255)
        distance = (np.abs(resized - mean) ** np.float32(power)).mean(axis=3)
        blocks = distance.reshape(len(images), height // 8, 8, width // 8, 8).mean(axis=(2, 4))
        maps = blocks.repeat(8, axis=1).repeat(8, axis=2)
        return (maps.max(axis=(1, 2)) + error).astype(np.float32), maps.astype(np.float32)

    return score
