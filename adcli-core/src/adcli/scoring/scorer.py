"""From photographs to predictions, as a stream: nothing is held beyond one batch. Nothing here imports torch.

A stage between the two, such as tiles, wraps the :class:`~adcli.scoring.runtime.Runtime` that a scorer is given.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adcli.data.photograph import ImageLike, Photograph
from adcli.data.source import Decoded, ImageSource, Item, in_batches
from adcli.errors import TrainingError
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.runtime import Runtime, score_batches

BATCH_BYTES = 256 << 20
"""What the photographs of a batch may take in memory; larger ones are computed fewer at a time."""

Subject = TypeVar("Subject", Item, Photograph)


def score_inputs(
    runtime: Runtime, inputs: Iterable[tuple[Subject, Decoded]], batch_size: int
) -> Iterator[tuple[Subject, Decoded, float, NDArray[np.float32] | None]]:
    """Yield the score and the map (h, w) of each input in order, computed a batch at a time in float32.

    Raises:
        TrainingError: a score, or a value of a map, is not finite.
    """
    batches = in_batches(inputs, batch_size, BATCH_BYTES, lambda pair: _held(pair[0]))
    scored = score_batches(runtime, batches, lambda pair: pair[1].pixels, overlap=batch_size > 1)
    for batch, (scores, maps) in scored:
        for i, (subject, image) in enumerate(batch):
            if not np.isfinite(scores[i]):
                raise TrainingError(
                    f"{_name(subject)}: the score is {scores[i]}, so what was learnt cannot be used; train again, "
                    "with a lower learning rate if the model has one."
                )
            if maps is not None and not np.isfinite(maps[i]).all():
                raise TrainingError(f"{_name(subject)}: its map has values that are not numbers; train again.")
            yield subject, image, float(scores[i]), None if maps is None else maps[i]


def _held(subject: Item | Photograph) -> int:
    return subject.pixels.nbytes if isinstance(subject, Photograph) else 0


def _name(subject: Item | Photograph) -> str:
    return subject.name if isinstance(subject, Photograph) else str(subject.path)


@dataclass(frozen=True)
class Scorer:
    """A calibrated model, trained or exported, and how to feed it: what evaluation and prediction share.

    Attributes:
        runtime: scores images of the size that ``source`` gives.
        source: decodes, frames and resizes photographs.
        calibration: threshold, p-values and colours.
        batch_size: images computed at a time.
    """

    runtime: Runtime
    source: ImageSource
    calibration: Calibration
    batch_size: int

    def __call__(self, photographs: Iterable[ImageLike]) -> Iterator[Prediction]:
        """Yield what is said of photographs, or of what :func:`adcli.data.open_photograph` opens, in order.

        Raises:
            DataError: one cannot be read, and the source is not to skip it.
            TrainingError: a score, or a value of a map, is not finite.
        """
        inputs = self.source.photographs(photographs)
        for photograph, _, score, model_map in score_inputs(self.runtime, inputs, self.batch_size):
            prediction = Prediction(photograph, score, model_map, self.calibration, self.source.framing)
            yield prediction
            prediction.release()
