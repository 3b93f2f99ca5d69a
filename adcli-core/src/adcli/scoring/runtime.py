"""What scores images: a callable from uint8 pixels to scores and maps, of a model or of an exported graph."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from adcli.data.ahead import Remaining
from adcli.errors import AdcliError, LackOfMemoryError, PluginError, is_out_of_memory, locate

T = TypeVar("T")

ImageBatch = NDArray[np.uint8]
"""RGB images of one size, shape (N, H, W, 3)."""

Scored = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Scores (N,) and anomaly maps (N, H, W) of a batch; None for a model that only classifies."""


Start = Callable[[Sequence[NDArray[np.uint8]]], Callable[[], Scored]]
"""Starts to score images (H, W, 3) of one size, and returns a function that waits for the result."""


class Runtime(Protocol):
    """Scores images, with a model or with an exported graph."""

    def __call__(self, images: ImageBatch) -> Scored:
        """Score images (N, H, W, 3), RGB, of any size: scores (N,), maps (N, h, w) at the model's size or None."""
        ...


def guarded(load: Callable[[], Runtime], who: str, target: str) -> Runtime:
    """Load a runtime whose failures, when it loads and when it scores, are one line that begins with ``who``.

    Args:
        load: loads it.
        who: whose it is.
        target: the spec's target that loads it, whose package the line names a place in.
    """
    package = target.partition(":")[0].partition(".")[0]
    runtime = _attempt(load, f"{who} cannot load the graph", package)
    return lambda images: _attempt(lambda: runtime(images), f"{who} cannot score with the graph", package)


def _attempt(action: Callable[[], Any], failure: str, package: str) -> Any:
    try:
        return action()
    except AdcliError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise LackOfMemoryError from None
        reason = locate(error, package)
        raise PluginError(f"{failure} ({reason}).") from error


def score_batches(
    runtime: Runtime,
    batches: Iterable[list[T]],
    pixels: Callable[[T], NDArray[np.uint8] | None],
    *,
    overlap: bool = True,
) -> Iterator[tuple[list[T], Scored]]:
    """Yield batches and what a runtime says of those parts that have pixels.

    If the runtime can start and not wait (``runtime.start``), it computes with one batch while the next is prepared.
    Whoever asks for batches of one wants each answer before the next image is there, and so no overlap. What goes wrong
    with a batch is raised after the batches before it.
    """
    start: Start | None = getattr(runtime, "start", None) if overlap else None
    begun = Remaining((batch, _begin(runtime, start, [pixels(part) for part in batch])) for batch in batches)
    before: tuple[list[T], Callable[[], Scored]] | None = None
    for batch, wait in begun:
        if start is None:
            yield batch, wait()
            continue
        if before is not None:
            yield before[0], before[1]()
        before = batch, wait
    if before is not None:
        yield before[0], before[1]()
    begun.raise_error()


def _begin(runtime: Runtime, start: Start | None, pixels: Sequence[NDArray[np.uint8] | None]) -> Callable[[], Scored]:
    """Have pixels scored, at once or when the result is asked for."""
    readable = [image for image in pixels if image is not None]
    if not readable:
        return lambda: (np.empty(0, np.float32), None)
    return start(readable) if start is not None else lambda: runtime(np.stack(readable))


def in_batches_of(count: int, score: Runtime) -> Runtime:
    """Return a runtime for any number of images from one that takes ``count`` at a time; the last is repeated."""

    def score_any(images: ImageBatch) -> Scored:
        parts = [score_some(images[start : start + count]) for start in range(0, len(images), count)]
        maps = [part for _, part in parts if part is not None]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate(maps) if maps else None

    def score_some(images: ImageBatch) -> Scored:
        scores, maps = score(np.concatenate([images, np.repeat(images[-1:], count - len(images), axis=0)]))
        return scores[: len(images)], None if maps is None else maps[: len(images)]

    return score_any


def cores() -> int:
    """Return how many processor cores this process may use: what runtimes compute with unless told otherwise."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
