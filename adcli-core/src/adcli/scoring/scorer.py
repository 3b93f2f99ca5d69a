"""From photographs to predictions, as a stream: nothing is held beyond one batch. Nothing here imports torch.

A stage between the two wraps the :class:`~adcli.scoring.runtime.Runtime` that a scorer is given, as tiles do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adcli._showing import introduce, say_threshold
from adcli.data.ahead import Remaining
from adcli.data.photograph import ImageLike, Photograph, Unreadable
from adcli.data.source import Decoded, ImageSource, Item, in_batches
from adcli.errors import TrainingError
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import UNKNOWN, Origin
from adcli.scoring.parts import in_batches_of_parts
from adcli.scoring.prediction import Prediction
from adcli.scoring.runtime import Runtime, score_batches

BATCH_BYTES = 192 << 20
"""What the photographs of a batch may take in memory; larger ones are computed fewer at a time."""

T = TypeVar("T")
Subject = TypeVar("Subject", Item, Photograph)
Said = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""The score of an input, or the scores of its zones, (Z,), and its map (h, w)."""


def score_inputs(
    runtime: Runtime, inputs: Iterable[tuple[Subject, Decoded]], batch_size: int
) -> Iterator[tuple[Subject, Decoded, float, NDArray[np.float32] | None]]:
    """Yield the score and the map (h, w) of each input in order, computed a batch at a time in float32.

    An error of the inputs, or of a batch, is raised after what came before it.

    Raises:
        TrainingError: a score, or a value of a map, is not finite.
    """
    for entry, said in _score(runtime, inputs, batch_size):
        assert not isinstance(entry, Unreadable)
        assert said is not None
        subject, image = entry
        score, model_map = said
        yield subject, image, float(score), model_map


def score_joined(
    runtime: Runtime, inputs: Iterable[tuple[Item, Decoded]], batch_size: int, calibration: Calibration
) -> Iterator[tuple[Item, float]]:
    """Yield the score of each photograph in order, joined from those of its zones if there are any.

    Raises:
        TrainingError: a score is not finite.
    """
    for entry, said in _score(runtime, inputs, batch_size):
        assert not isinstance(entry, Unreadable)
        assert said is not None
        yield entry[0], calibration.join(np.ravel(said[0]).tolist())


def _score(
    runtime: Runtime, inputs: Iterable[tuple[Subject, Decoded] | Unreadable], batch_size: int
) -> Iterator[tuple[tuple[Subject, Decoded] | Unreadable, Said | None]]:
    """Yield as :func:`score_inputs` does; what is unreadable has its place in a batch, and nothing is said of it."""
    remaining = Remaining(inputs)
    runtime, count = in_batches_of_parts(runtime, batch_size)
    batches = in_batches(remaining, count, BATCH_BYTES, _held)
    for batch, (scores, maps) in score_batches(runtime, batches, _pixels, overlap=batch_size > 1):
        rows = iter(range(len(scores)))
        # Each photograph takes its memory until its turn is over, and not until the next batch is complete.
        for entry in _taken(batch):
            if isinstance(entry, Unreadable):
                yield entry, None
                continue
            row = next(rows)
            said = scores[row], None if maps is None else maps[row]
            _check_finite(entry[0], *said)
            yield entry, said
    remaining.raise_error()


def _taken(batch: list[T]) -> Iterator[T]:
    """Yield what a batch holds, which it then does not any more."""
    batch.reverse()
    while batch:
        yield batch.pop()


def _check_finite(
    subject: Item | Photograph, score: NDArray[np.float32], model_map: NDArray[np.float32] | None
) -> None:
    if not np.isfinite(score).all():
        raise TrainingError(
            f"{_name(subject)}: the score is {score}, so what was learnt cannot be used; train again, "
            "with a lower learning rate if the model has one."
        )
    if model_map is not None and not np.isfinite(model_map).all():
        raise TrainingError(f"{_name(subject)}: its map has values that are not numbers; train again.")


def _held(entry: tuple[Item | Photograph, Decoded] | Unreadable) -> int:
    if isinstance(entry, Unreadable) or isinstance(entry[0], Item):
        return 0
    return entry[0].pixels.nbytes


def _pixels(entry: tuple[Item | Photograph, Decoded] | Unreadable) -> NDArray[np.uint8] | None:
    return None if isinstance(entry, Unreadable) else entry[1].pixels


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
        origin: whose model it is.
    """

    runtime: Runtime
    source: ImageSource
    calibration: Calibration
    batch_size: int
    origin: Origin = UNKNOWN

    def __repr__(self) -> str:
        height, width = self.source.size
        threshold = say_threshold(self.calibration.image_threshold)
        return introduce(self, self.origin.run, f"{width}x{height} pixels", threshold, f"batches of {self.batch_size}")

    def __call__(self, photographs: Iterable[ImageLike | Unreadable]) -> Iterator[Prediction]:
        """Yield what is said of photographs, or of what :func:`adcli.data.open_photograph` opens, in order.

        Each has its prediction: of one that cannot be read, ``problem`` says why. If taking a photograph raises an
        error, that comes after the predictions of all before it.

        Raises:
            TrainingError: a score, or a value of a map, is not finite.
        """
        for entry, said in _score(self.runtime, self.source.photographs(photographs), self.batch_size):
            subject = entry if isinstance(entry, Unreadable) else entry[0]
            scores, model_map = said or (np.array(np.nan, np.float32), None)
            prediction = self.judge(subject, scores, model_map)
            yield prediction
            prediction.release()

    def judge(
        self, subject: Photograph | Unreadable, scores: NDArray[np.float32], model_map: NDArray[np.float32] | None
    ) -> Prediction:
        """Return what is said of a photograph, from its score or those of its zones."""
        framing, of_zones = self.source.framing, scores.tolist() if scores.ndim else ()
        score = self.calibration.join(of_zones) if of_zones else float(scores)
        return Prediction(subject, score, model_map, self.calibration, framing, self.origin, of_zones)
