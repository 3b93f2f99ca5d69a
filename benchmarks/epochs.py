"""Print what an epoch costs with the frozen part computed in every epoch and only once, as a Markdown table.

    python benchmarks/epochs.py [--size PIXELS] [--images N] [--epochs N] [--model NAME...]

Each model trains on drawn images with its own defaults, weights drawn too: once with ``-o memory=0``, once with the
default. The first epoch is left out, as code is made for each layer in it; of the others, the fastest is shown. *once*
is what is computed before the first epoch.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from adcli._plugins.registry import registry
from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn.batches import Batches, Session
from adcli.progress import ProgressEvent

BATCH_SIZE = 8
BACKBONES = {
    "cflow": "random:wide_resnet50_2",
    "stfpm": "random:resnet18",
    "reverse_distillation": "random:wide_resnet50_2",
}
"""The architectures of the models' defaults."""

T = TypeVar("T")


class Timed:
    """Progress that notes how long each step of what it tracks took.

    Attributes:
        seconds: of each step, by what it belongs to.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        """Yield the items."""
        seconds, start = self.seconds.setdefault(description, []), time.perf_counter()
        for item in items:
            yield item
            # A batch is read first, and then worked on.
            now = time.perf_counter()
            seconds.append(now - start)
            start = now

    def report(self, event: ProgressEvent) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


def draw(folder: Path, count: int, size: int) -> list[Path]:
    """Write textured images, and return their paths."""
    random = np.random.default_rng(0)
    for i in range(count):
        wave = 128 + 40 * np.sin(np.arange(size) / 9 + random.uniform(0, 6)) + random.normal(0, 8, (size, size))
        Image.fromarray(wave.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03}.png")
    return sorted(folder.glob("*.png"))


def measured(name: str, paths: list[Path], size: int, epochs: int, memory: dict[str, int]) -> tuple[float, float]:
    """Train, and return the seconds of the fastest epoch but the first, and those before the first epoch."""
    provided = registry().models[name]
    options = provided.spec.options.parse({"backbone": BACKBONES[name], "epochs": epochs + 1, **memory})
    torch.manual_seed(0)
    model = provided.load(provided.spec.target)(options, image_size=(size, size)).train()
    progress = Timed()
    batches = Batches(items_of(paths), ImageSource((size, size)), batch_size=BATCH_SIZE, session=Session(progress))
    model.fit(batches)
    seconds = progress.seconds["training"]
    steps = len(seconds) // (epochs + 1)
    fastest = min(sum(seconds[start : start + steps]) for start in range(steps, len(seconds), steps))
    return fastest, sum(progress.seconds.get("reading images", []))


def main() -> None:
    """Draw, train each model twice, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2, help="measured, after one that is not")
    parser.add_argument("--model", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    arguments = parser.parse_args()
    print(f"{arguments.images} images, {arguments.size} x {arguments.size}, {torch.get_num_threads()} threads\n")
    print("| model | seconds an epoch, computed in each | computed once | once | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), arguments.images, arguments.size)
        for name in arguments.model:
            anew, _ = measured(name, paths, arguments.size, arguments.epochs, {"memory": 0})
            kept, once = measured(name, paths, arguments.size, arguments.epochs, {})
            print(f"| {name} | {anew:.2f} | {kept:.2f} | {once:.2f} | {anew / kept:.2f} |", flush=True)


if __name__ == "__main__":
    main()
