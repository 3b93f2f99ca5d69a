"""How fast a run or an export scores: latency of one image, throughput of many. torch only where a run is timed."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adcli._showing import count, introduce
from adcli.data.decoding import Size
from adcli.data.folder import images_in
from adcli.data.framing import Framing
from adcli.data.source import Item
from adcli.pipeline._open import find, open_scorer
from adcli.pipeline._stages import time_stages
from adcli.progress import Progress
from adcli.runs.run import Run
from adcli.scoring.parts import of_one_part
from adcli.scoring.runtime import cores
from adcli.scoring.scorer import Scorer

BATCH = 16
DRAWN = 16
"""Images of the demo part that are drawn where the user gives none."""

LATENCIES = 30
"""Single images timed, after the first."""

THROUGHPUT_SECONDS = 2.0

STEP = 32
"""What sides of the next size are multiples of, a quarter longer."""


@dataclass(frozen=True)
class Latency:
    """Seconds that one image takes, warm."""

    median: float
    p95: float

    def __repr__(self) -> str:
        return introduce(self, "", f"median {1000 * self.median:.3g} ms", f"p95 {1000 * self.p95:.3g} ms")


@dataclass(frozen=True)
class Timings:
    """What ``adcli bench`` measures.

    Attributes:
        images: number of different images.
        cores: processor cores that this process may use.
        load: seconds to open and verify the folder and load the model or graph, imports included.
        first_image: seconds that the first image takes after that, decoding included.
        latency: of single images that are decoded already, batch 1.
        latency_decoding: of single images from their files, batch 1.
        throughput: images per second at batch 16 that are decoded already.
        throughput_decoding: images per second at batch 16 from their files, decoded in threads.
        stages: seconds of one photograph at batch 1, from its file to its verdict, by stage, in order; see
            :mod:`adcli.pipeline._stages`.
        next_size: height and width of the next larger size that the backbone takes; None for exports, and without one.
        next_cost: how many times as long the backbone takes for one image of that size.
    """

    images: int
    cores: int
    load: float
    first_image: float
    latency: Latency
    latency_decoding: Latency
    throughput: float
    throughput_decoding: float
    stages: dict[str, float] = field(default_factory=dict)
    next_size: Size | None = None
    next_cost: float | None = None

    def __repr__(self) -> str:
        latency, speed = 1000 * self.latency_decoding.median, self.throughput_decoding
        facts = f"{latency:.3g} ms for one", f"{speed:.3g} a second of many", f"{self.load:.2g} s to load"
        return introduce(self, "", count(self.images, "image"), *facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        return asdict(self)


def bench(
    reference: str | Path,
    paths: Sequence[str | Path] = (),
    *,
    device: str = "auto",
    workers: int = 2,
    progress: Progress | None = None,
) -> Timings:
    """Time a run or an export on images, or on drawn ones where none are given.

    Args:
        reference: path, name or ``last``, as :func:`adcli.pipeline.find` takes it.
        paths: image files and folders.
        device: where a run's model computes.
        workers: threads that decode images.
        progress: is told which run the reference stands for.

    Raises:
        AdcliError: the run or export, or an image, cannot be read.
    """
    given = list(images_in([Path(path) for path in paths])) if paths else []
    start = time.perf_counter()
    opened = find(reference, progress=progress)
    scorer = open_scorer(opened, device=device, batch_size=BATCH, workers=workers)
    loading = time.perf_counter() - start
    with nullcontext(given) if given else draw_for(scorer.source.framing) as images:
        start = time.perf_counter()
        _score_file(scorer, images[0])
        first = time.perf_counter() - start
        pixels = np.stack([scorer.source.read(Item(images[i % len(images)])).pixels for i in range(BATCH)])
        timings = Timings(
            images=len(images),
            cores=cores(),
            load=loading,
            first_image=first,
            latency=_latency(lambda i: scorer.runtime(pixels[i % BATCH][None])),
            latency_decoding=_latency(lambda i: _score_file(scorer, images[i % len(images)])),
            throughput=_throughput(lambda: _calls(scorer, pixels)),
            throughput_decoding=_throughput(lambda: _from_files(scorer, images)),
            stages=time_stages(scorer, opened, images, LATENCIES),
        )
    found = _foresee(opened, scorer) if isinstance(opened, Run) else None
    return timings if found is None else replace(timings, next_size=found[0], next_cost=found[1])


def _foresee(run: Run, scorer: Scorer) -> tuple[Size, float] | None:
    """Return the next larger size, and how many times as long the run's backbone takes for it."""
    from adcli.nn.foreseeing import compare_sizes
    from adcli.nn.runtime import ModelRuntime

    runtime = of_one_part(scorer.runtime)
    assert isinstance(runtime, ModelRuntime)
    height, width = (-(-side * 5 // (4 * STEP)) * STEP for side in run.image_size)
    cost = compare_sizes(runtime.model, run.image_size, (height, width))
    return None if cost is None else ((height, width), cost)


@contextmanager
def draw_for(framing: Framing) -> Iterator[list[Path]]:
    """Draw images that a framing suits."""
    from adcli.data.demo.drawing import draw

    with tempfile.TemporaryDirectory() as folder:
        drawn = [Path(folder) / f"{seed:02}.png" for seed in range(DRAWN)]
        for seed, path in enumerate(drawn):
            pixels = draw(seed)[0]
            height, width = _find_size(framing, (pixels.shape[0], pixels.shape[1]))
            Image.fromarray(pixels).resize((width, height)).save(path, compress_level=1)
        yield drawn


def _find_size(framing: Framing, smallest: Size) -> Size:
    """Return height and width of images that hold all that is looked at, and have the aspect of the ignored areas."""
    height, width = smallest
    if framing.crop is not None:
        height, width = max(height, framing.crop[0]), max(width, framing.crop[1])
    for x, y, across, down in (one.region for one in framing.of_zones if one.region is not None):
        height, width = max(height, y + down), max(width, x + across)
    if framing.ignored is None:
        return height, width
    down, across = framing.ignored.shape
    times = max(-(-height // down), -(-width // across))
    return down * times, across * times


def _score_file(scorer: Scorer, path: Path) -> None:
    scorer.runtime(scorer.source.read(Item(path)).pixels[None])


def _latency(score: Callable[[int], object]) -> Latency:
    seconds = []
    for i in range(LATENCIES + 1):
        start = time.perf_counter()
        score(i)
        seconds.append(time.perf_counter() - start)
    return Latency(statistics.median(seconds[1:]), float(np.quantile(seconds[1:], 0.95)))


def _throughput(batches: Callable[[], Iterator[int]]) -> float:
    """Return images per second over at least :data:`THROUGHPUT_SECONDS`, the first batch left out."""
    counts = batches()
    next(counts)
    start, scored = time.perf_counter(), 0
    while scored == 0 or time.perf_counter() - start < THROUGHPUT_SECONDS:
        scored += next(counts)
    return scored / (time.perf_counter() - start)


def _calls(scorer: Scorer, pixels: Any) -> Iterator[int]:
    while True:
        scorer.runtime(pixels)
        yield len(pixels)


def _from_files(scorer: Scorer, images: Sequence[Path]) -> Iterator[int]:
    """Score the images over and over in one stream, and yield the size of each batch as it is done."""
    for i, _ in enumerate(scorer(itertools.cycle(images)), start=1):
        if i % BATCH == 0:
            yield BATCH
