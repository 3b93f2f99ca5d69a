"""Print the peak memory of fitting few images and ten times as many, as a Markdown table.

    python benchmarks/memory.py [--count N] [--model NAME...]

The images are drawn, 96 x 96, and fitted at 64 x 64 with an untrained backbone, each fit in a process of its own, with
the cache of decoded images off and full. PatchCore and DFM have a bound (``-o patches=``, ``-o memory=``) that few
images reach.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

MODELS = {
    "padim": ("dimensions=50",),
    "dfm": ("memory=4",),
    "dfkde": (),
    "patchcore": ("patches=50000", "coreset=0.001"),
}
CACHES = (0, 16)
"""Megabytes; 2,000 images need 25."""

FIT = """
import resource, sys
from pathlib import Path
import torch
from adcli.nn.batches import Batches
from adcli.data.source import ImageSource
from adcli.nn.devices import make_repeatable
from adcli.pipeline._building import build_model
from adcli._plugins.registry import registry

name, folder, count, cache, *given = sys.argv[1:]
provided = registry().models.get(name)
values = dict(option.split("=") for option in given)
make_repeatable(0)
options = provided.spec.options.parse({"backbone": "random:resnet18"} | values)
model = build_model(provided, options, (64, 64), pretrained=True)
source = ImageSource((64, 64), cache_bytes=int(cache) << 20)
with torch.inference_mode():
    model.fit(Batches(sorted(Path(folder).glob("*.png"))[: int(count)], source))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def draw(folder: Path, count: int) -> None:
    """Write noisy images."""
    random = np.random.default_rng(0)
    for i in range(count):
        pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / f"{i:06}.png", compress_level=1)


def peak(model: str, folder: str, count: int, cache: int) -> float:
    """Return the peak memory of a fit in MB."""
    command = [sys.executable, "-c", FIT, model, folder, str(count), str(cache), *MODELS[model]]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    few, many = arguments.count, 10 * arguments.count
    yield f"| model | cache, MB | {few} images, MB | {many} images, MB | more |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), many)
        for model in arguments.model:
            for cache in CACHES:
                first, second = (peak(model, folder, count, cache) for count in (few, many))
                how = " ".join([model, *MODELS[model]])
                yield f"| {how} | {cache} | {first:.0f} | {second:.0f} | {second / first - 1:.1%} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--model", nargs="*", default=list(MODELS), choices=MODELS)
    for line in rows(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
