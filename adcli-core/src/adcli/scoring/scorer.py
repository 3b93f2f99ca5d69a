"""Scoring a stream of images: nothing is held beyond one batch. Nothing here imports torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Decoded, Size, resize_map
from adcli.data.framing import PLAIN, Framing
from adcli.data.source import ImageSource
from adcli.errors import TrainingError
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime


@dataclass(frozen=True)
class ScoredImage:
    """What a model says of one image.

    Attributes:
        path: the image file.
        score: its image score, never clamped; higher is more anomalous.
        map: its anomaly map at the model's input size, (H, W) float32, or None for a model that only classifies.
        original_size: height and width of the image in the file.
        framing: what was done to the image, and so where in it the map lies.
    """

    path: Path
    score: float
    map: NDArray[np.float32] | None
    original_size: Size
    framing: Framing = PLAIN

    def map_at(self, size: Size) -> NDArray[np.float32] | None:
        """Return the map of the whole image, interpolated to a size; NaN where the image was not looked at."""
        if self.map is None or self.framing.is_plain:
            return None if self.map is None else resize_map(self.map, size)
        return resize_map(self.framing.place(self.map, self.original_size), size)

    def values(self) -> NDArray[np.float32] | None:
        """Return the map's values of all that was looked at, in one row."""
        if self.map is None or self.framing.looks_at_all:
            return None if self.map is None else self.map.ravel()
        placed = self.framing.place(self.map, self.original_size)
        return placed[~np.isnan(placed)]


def score_images(
    runtime: Runtime, paths: Iterable[Path], source: ImageSource, *, batch_size: int
) -> Iterator[ScoredImage]:
    """Yield the scores of images in their order, a batch at a time, in float32.

    Raises:
        DataError: an image cannot be read, and the source is not to skip it.
        TrainingError: a score, or a value of a map, is no finite number.
    """
    gathered: list[tuple[Path, Decoded]] = []
    for item in source.stream(paths, ahead=2 * batch_size):
        gathered.append(item)
        if len(gathered) == batch_size:
            yield from _score_batch(runtime, gathered, source.framing)
            gathered = []
    if gathered:
        yield from _score_batch(runtime, gathered, source.framing)


def _score_batch(runtime: Runtime, batch: list[tuple[Path, Decoded]], framing: Framing) -> Iterator[ScoredImage]:
    scores, maps = runtime(np.stack([image.pixels for _, image in batch]))
    for i, (path, image) in enumerate(batch):
        if not np.isfinite(scores[i]):
            raise TrainingError(
                f"{path}: the score is {scores[i]}: what was learnt cannot be used; train again, "
                "with a lower learning rate if the model has one."
            )
        if maps is not None and not np.isfinite(maps[i]).all():
            raise TrainingError(f"{path}: its map has values that are no numbers; train again.")
        anomaly_map = None if maps is None else maps[i]
        yield ScoredImage(path, float(scores[i]), anomaly_map, image.original_size, framing)


@dataclass(frozen=True)
class Scorer:
    """A calibrated model, trained or exported, and how to feed it: what evaluation and prediction share.

    Attributes:
        runtime: scores images of the size that ``source`` gives.
        source: decodes images to the model's input size.
        calibration: threshold and p-values.
        map_range: map values at the two ends of the colour scale, the same for every picture of a run.
        batch_size: images computed at a time.
    """

    runtime: Runtime
    source: ImageSource
    calibration: Calibration
    map_range: tuple[float, float]
    batch_size: int

    def scores(self, paths: Iterable[Path]) -> Iterator[ScoredImage]:
        """Yield the scores of images in their order."""
        return score_images(self.runtime, paths, self.source, batch_size=self.batch_size)

    def judge(self, scores: Sequence[float]) -> tuple[list[float | None], list[bool | None]]:
        """Return the p-values and the verdicts of scores; None where the calibration gives none."""
        array = np.asarray(scores, dtype=np.float64)
        p_values: list[float | None] = [None] * len(array)
        verdicts: list[bool | None] = [None] * len(array)
        if self.calibration.n:
            p_values = self.calibration.p_values(array).tolist()
        if self.calibration.image_threshold is not None:
            verdicts = (array > self.calibration.image_threshold).tolist()
        return p_values, verdicts
