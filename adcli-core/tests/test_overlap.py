"""What overlaps on a GPU comes in order and unchanged; the GPU is a stand-in, as this must run without one."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from adcli.data.source import ImageSource
from adcli.nn.batches import to_tensor, upload
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import ImageBatch, Scored, score_batches
from adcli.scoring.scorer import Scorer

IMAGES = list(np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8))
BATCHES = [IMAGES[:3], IMAGES[3:6], IMAGES[6:]]


class Device:
    """Says that it is a GPU."""

    type = "cuda"


class Stream:
    """Carries out everything at once."""

    def wait_stream(self, other: "Stream") -> None:
        """Have nothing to wait for."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device on which copies are done at once."""
    empty, move = torch.empty, Tensor.to
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **more: empty(*shape, **more))
    monkeypatch.setattr(
        Tensor, "to", lambda tensor, to, **more: tensor if isinstance(to, Device) else move(tensor, to, **more)
    )
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    return Device()


def test_batches_that_are_copied_ahead_are_those_of_the_cpu(gpu: Any) -> None:
    found = list(upload(iter(BATCHES), gpu))
    assert [len(batch) for batch in found] == [3, 3, 1]
    assert torch.equal(torch.cat(found), to_tensor(np.stack(IMAGES)))


def test_one_batch_is_copied_ahead_and_no_more(gpu: Any) -> None:
    taken = []

    def batches() -> Iterator[list[NDArray[np.uint8]]]:
        for batch in BATCHES:
            taken.append(len(batch))
            yield batch

    stream = upload(batches(), gpu)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(taken) == 2


def test_an_error_of_a_batch_that_is_copied_ahead_is_raised(gpu: Any) -> None:
    def batches() -> Iterator[list[NDArray[np.uint8]]]:
        yield BATCHES[0]
        raise KeyError("damaged")

    stream = upload(batches(), gpu)
    assert len(next(stream)) == 3
    with pytest.raises(KeyError, match="damaged"):
        next(stream)


class Starting:
    """A runtime that notes when it starts with a batch and when its result is asked for."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, images: ImageBatch) -> Scored:
        """Score at once."""
        return images.mean(axis=(1, 2, 3), dtype=np.float32), None

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Callable[[], Scored]:
        """Start to score."""
        number = sum(event.startswith("start") for event in self.events)
        self.events.append(f"start {number}")

        def wait() -> Scored:
            self.events.append(f"wait {number}")
            return self(np.stack(images))

        return wait


def test_the_next_batch_is_started_before_the_last_one_is_waited_for() -> None:
    runtime = Starting()
    found = list(score_batches(runtime, BATCHES, lambda image: image))
    assert runtime.events == ["start 0", "start 1", "wait 0", "start 2", "wait 1", "wait 2"]
    assert [len(batch) for batch, _ in found] == [3, 3, 1]
    scores = np.concatenate([scores for _, (scores, _) in found])
    np.testing.assert_array_equal(scores, runtime(np.stack(IMAGES))[0])


def test_a_runtime_that_cannot_start_scores_batch_by_batch() -> None:
    found = list(score_batches(Starting().__call__, BATCHES, lambda image: image))
    np.testing.assert_array_equal(np.concatenate([scores for _, (scores, _) in found]), Starting()(np.stack(IMAGES))[0])


def test_a_list_that_grows_is_answered_line_by_line_on_a_gpu_too() -> None:
    taken: list[int] = []

    def growing() -> Iterator[NDArray[np.uint8]]:
        for i in range(3):
            taken.append(i)
            yield np.full((8, 8, 3), i, np.uint8)

    scorer = Scorer(Starting(), ImageSource((8, 8), workers=0), Calibration.none(), batch_size=1)
    assert [(prediction.score, len(taken)) for prediction in scorer(growing())] == [(0, 1), (1, 2), (2, 3)]
