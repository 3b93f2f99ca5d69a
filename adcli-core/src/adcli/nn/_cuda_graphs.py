"""Small batches as CUDA graphs: one launch instead of hundreds, which take longer than the card computes."""

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from adcli.errors import one_line

LARGEST = 4
"""Images in a batch at most: with larger ones, the card computes for longer than the launches take."""

REPEATED = 3
"""How often a size must come until its graph is made, which takes longer than a few batches."""


class Graph(NamedTuple):
    """A recorded computation, which reads and writes the same memory each time."""

    pixels: Tensor
    result: Tensor
    recorded: torch.cuda.CUDAGraph


class GraphedComputation:
    """Computes on a GPU what the function computes there, small batches of repeated sizes by graphs.

    What the function reads, such as weights, must stay where it is.

    Args:
        compute: maps a batch on the device to its result there; called in inference mode.
        device: the GPU.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._compute, self._device = compute, device
        self._lock = threading.Lock()
        self._seen: Counter[torch.Size] = Counter()
        self._graphs: dict[torch.Size, Graph | None] = {}
        # All graphs take turns in one stream and one memory.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        # Pixels and results of larger batches are copied while the device computes with the batches between. Each way
        # has its own stream: the next pixels must not wait for the last result.
        self._upwards, self._downwards = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, pixels: Tensor) -> Callable[[], Tensor]:
        """Start to compute with pinned pixels (N, ...); return what waits for the result on the CPU."""
        if len(pixels) > LARGEST:
            return self._plain(pixels)
        with self._lock, torch.cuda.device(self._device):
            graph = self._find(pixels)
            if graph is None:
                return self._plain(pixels)
            with torch.cuda.stream(self._stream):
                graph.pixels.copy_(pixels, non_blocking=True)
                graph.recorded.replay()
                return _fetch(graph.result)

    def _plain(self, pixels: Tensor) -> Callable[[], Tensor]:
        with torch.cuda.device(self._device):
            computing = torch.cuda.current_stream()
            with torch.cuda.stream(self._upwards):
                there = pixels.to(self._device, non_blocking=True)
            computing.wait_stream(self._upwards)
            # Memory goes back to the stream that took it, and must not be used anew before the other is done with it.
            there.record_stream(computing)
            result = self._compute(there)
            self._downwards.wait_stream(computing)
            result.record_stream(self._downwards)
            with torch.cuda.stream(self._downwards):
                return _fetch(result)

    def _find(self, pixels: Tensor) -> Graph | None:
        """Return the graph for a size, made when it has come often enough; None if there is none."""
        self._seen[pixels.shape] += 1
        if self._seen[pixels.shape] == REPEATED:
            try:
                self._graphs[pixels.shape] = self._record(pixels)
            except RuntimeError as error:
                said = f"batches of {len(pixels)} cannot be a CUDA graph, so they take longer ({one_line(error)})"
                warnings.warn(said, stacklevel=2)
                # The generator would wait for the recording to end, and refuse to draw.
                generator = torch.cuda.default_generators[torch.cuda.current_device()]
                generator.graphsafe_set_state(generator.clone_state())
        return self._graphs.get(pixels.shape)

    def _record(self, pixels: Tensor) -> Graph:
        there = pixels.to(self._device)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Libraries take their memory at first use, which cannot be recorded.
            self._compute(there)
        recorded = torch.cuda.CUDAGraph()
        # Other threads may do as they like meanwhile.
        with torch.cuda.graph(recorded, self._pool, self._stream, capture_error_mode="thread_local"):
            result = self._compute(there)
        return Graph(there, result, recorded)


def _fetch(result: Tensor) -> Callable[[], Tensor]:
    """Start to copy a result to the CPU; return what waits for it."""
    copied = torch.empty(result.shape, pin_memory=True).copy_(result, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream())

    def wait() -> Tensor:
        done.synchronize()
        return copied

    return wait
