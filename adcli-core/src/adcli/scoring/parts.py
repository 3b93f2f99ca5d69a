"""Scoring photographs part by part: tiles, of which a photograph has one score and one map, and zones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Pixels, Size
from adcli.data.framing import Framing
from adcli.data.tiling import Tiling
from adcli.scoring.runtime import ImageBatch, Runtime, Scored, score_batches

BATCH = 16
"""Tiles computed at a time, unless it is said how many."""


@dataclass(frozen=True)
class TiledRuntime:
    """Scores canvases: each tile of one by itself.

    The score of a photograph is the largest of its tiles'. Its map is made of theirs, blended where they overlap.

    Attributes:
        runtime: scores tiles.
        tiling: how canvases are cut.
        size: height and width of a tile.
        batch_size: tiles computed at a time. All tiles of a batch are of one photograph: which ones are computed
            together does not depend on other photographs.
    """

    runtime: Runtime
    tiling: Tiling
    size: Size
    batch_size: int = BATCH

    def __call__(self, images: ImageBatch) -> Scored:
        """Score canvases (N, H, W, 3): scores (N,), maps (N, H, W) or None."""
        parts = score_batches(self.runtime, self._batch(images), self._cut)
        scored = [self._join([said for _, said in islice(parts, self._batches)]) for _ in images]
        maps = [anomaly_map for _, anomaly_map in scored if anomaly_map is not None]
        return np.array([score for score, _ in scored], np.float32), np.stack(maps) if maps else None

    @property
    def _batches(self) -> int:
        """How many batches the tiles of a photograph are."""
        return -(-len(self.tiling) // self.batch_size)

    def _batch(self, images: ImageBatch) -> Iterator[list[tuple[Pixels, int]]]:
        for canvas in images:
            tiles = [(canvas, number) for number in range(len(self.tiling))]
            for start in range(0, len(tiles), self.batch_size):
                yield tiles[start : start + self.batch_size]

    def _cut(self, tile: tuple[Pixels, int]) -> Pixels:
        canvas, number = tile
        return self.tiling.cut(canvas, self.size, number)

    def _join(self, parts: list[Scored]) -> tuple[np.float32, NDArray[np.float32] | None]:
        """Return the score and the map (H, W) of a photograph from those of its batches of tiles."""
        scores = np.concatenate([part for part, _ in parts])
        maps = [part for _, part in parts if part is not None]
        # A score that is not finite shows.
        return scores.max(), self.tiling.blend(np.concatenate(maps)) if maps else None


@dataclass(frozen=True)
class ZonedRuntime:
    """Scores sheets of several zones, each by itself.

    Attributes:
        runtime: scores what is looked at of a zone.
        zones: how many lie below each other on a sheet.
    """

    runtime: Runtime
    zones: int

    def __call__(self, images: ImageBatch) -> Scored:
        """Score sheets (N, Z h, w, 3): scores (N, Z), maps (N, Z h, w) or None."""
        count, height, width, channels = images.shape
        scores, maps = self.runtime(images.reshape(count * self.zones, height // self.zones, width, channels))
        return scores.reshape(count, self.zones), None if maps is None else maps.reshape(count, height, width)


def of_parts(runtime: Runtime, framing: Framing, size: Size) -> Runtime:
    """Return what scores photographs as a framing makes them, from what scores inputs of a (height, width)."""
    if len(framing.tiling) > 1:
        runtime = TiledRuntime(runtime, framing.tiling, size)
    return ZonedRuntime(runtime, len(framing.zones)) if framing.zones else runtime


def of_one_zone(runtime: Runtime) -> Runtime:
    """Return what scores what is looked at of one zone."""
    return runtime.runtime if isinstance(runtime, ZonedRuntime) else runtime


def of_one_part(runtime: Runtime) -> Runtime:
    """Return what scores a model's inputs."""
    inner = of_one_zone(runtime)
    return inner.runtime if isinstance(inner, TiledRuntime) else inner


def in_batches_of_parts(runtime: Runtime, batch_size: int) -> tuple[Runtime, int]:
    """Return what scores so many inputs at a time, and how many photographs it is to be given at a time."""
    if isinstance(runtime, ZonedRuntime):
        inner, count = in_batches_of_parts(runtime.runtime, batch_size)
        return replace(runtime, runtime=inner), max(count // runtime.zones, 1)
    if isinstance(runtime, TiledRuntime):
        return replace(runtime, batch_size=batch_size), max(batch_size // len(runtime.tiling), 1)
    return runtime, batch_size
