"""Small batches on a GPU are recorded once and replayed; the GPU is a stand-in, as this must run without one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adcli.nn import Batches, Model, Scores
from adcli.nn.runtime import ModelRuntime

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


class Device:
    """Says that it is a GPU."""

    type = "cuda"


class Stream:
    """Carries out everything at once."""

    def wait_stream(self, other: "Stream") -> None:
        """Have nothing to wait for."""


class Event:
    """Has always happened."""

    def record(self, stream: Stream) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing."""


class Generator:
    """Counts how often its state is set."""

    restored = 0

    def clone_state(self) -> None:
        """Return nothing."""

    def graphsafe_set_state(self, state: None) -> None:
        """Count."""
        self.restored += 1


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations, and repeats them on the same memory, as a CUDA graph does."""

    count = 0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.steps.append((operation, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Repeat all operations."""
        Recording.count += 1
        for operation, args, kwargs, result in self.steps:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                old.copy_(new)


@contextlib.contextmanager
def record(recording: Recording, *arguments: Any, **more: Any) -> Iterator[None]:
    """Record what is done in the context."""
    with recording:
        yield


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device on which everything is done at once."""
    empty, move = torch.empty, Tensor.to
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **more: empty(*shape, **more))
    monkeypatch.setattr(
        Tensor, "to", lambda tensor, to, **more: tensor.clone() if isinstance(to, Device) else move(tensor, to, **more)
    )
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    stand_ins = {
        "Stream": lambda device: Stream(),
        "current_stream": Stream,
        "Event": Event,
        "CUDAGraph": Recording,
        "graph": record,
        "graph_pool_handle": tuple,
        "current_device": lambda: 0,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(Recording, "count", 0)
    return Device()


class Brightness(Model):
    """Scores images by their brightness, and counts how often it is called."""

    calls = 0
    with_map = True

    def fit(self, batches: Batches) -> None:
        """Learn nothing."""

    def forward(self, images: Tensor) -> Scores:
        """Score."""
        self.calls += 1
        maps = images.mean(dim=1, keepdim=True)
        return Scores(maps.amax(dim=(1, 2, 3)), maps if self.with_map else None)


def runtimes(gpu: Any) -> tuple[Brightness, ModelRuntime, ModelRuntime]:
    """Return a model, and its runtimes on the GPU and on the CPU."""
    model = Brightness(None, image_size=(4, 5))
    return model, ModelRuntime(model, gpu), ModelRuntime(Brightness(None, image_size=(4, 5)), torch.device("cpu"))


def test_repeated_small_batches_are_replayed_with_the_same_scores(gpu: Any) -> None:
    model, runtime, cpu = runtimes(gpu)
    for i in range(6):
        found, expected = runtime(IMAGES[i : i + 1]), cpu(IMAGES[i : i + 1])
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    # The third of its size warms up and records; it and those after it are replayed.
    assert (model.calls, Recording.count) == (4, 4)


def test_results_that_are_fetched_late_are_not_overwritten(gpu: Any) -> None:
    _, runtime, cpu = runtimes(gpu)
    assert runtime.start is not None
    waits = [runtime.start([image, image]) for image in IMAGES]
    assert Recording.count == 4
    for image, wait in zip(IMAGES, waits, strict=True):
        scores, maps = wait()
        np.testing.assert_array_equal(scores, cpu(image[None])[0].repeat(2))
        assert maps is not None
        np.testing.assert_array_equal(maps[1], cpu(image[None])[1][0])  # type: ignore[index]


def test_large_batches_are_never_recorded(gpu: Any) -> None:
    model, runtime, _ = runtimes(gpu)
    for _ in range(5):
        assert len(runtime(IMAGES)[0]) == 6
    assert (model.calls, Recording.count) == (5, 0)


def test_a_model_without_maps_has_none(gpu: Any) -> None:
    model, runtime, cpu = runtimes(gpu)
    model.with_map = False
    for _ in range(4):
        scores, maps = runtime(IMAGES[:1])
        np.testing.assert_array_equal(scores, cpu(IMAGES[:1])[0])
        assert maps is None


def test_what_cannot_be_recorded_is_told_once_and_computed_as_before(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def refuse(*arguments: Any, **more: Any) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted when stream is capturing")

    generator = Generator()
    monkeypatch.setattr(torch.cuda, "default_generators", [generator])
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    _, runtime, cpu = runtimes(gpu)
    with pytest.warns(UserWarning, match="batches of 1 cannot be a CUDA graph.*not permitted") as told:
        found = [runtime(IMAGES[:1])[0] for _ in range(5)]
    assert len(told) == 1
    assert generator.restored == 1
    np.testing.assert_array_equal(np.stack(found), np.stack([cpu(IMAGES[:1])[0]] * 5))
