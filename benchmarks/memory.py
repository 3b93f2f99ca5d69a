"""Print PatchCore's peak memory while fitting, with few and with many images, decoding cached or not.

    python benchmarks/memory.py

The images are drawn; each fit runs in a process of its own. The question is whether memory grows by the patches that
are stored (and their projection and its centred copy, in which the coreset is chosen), or by the images as well.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = (500, 1000)
CACHES = (0, 32)
"""Megabytes; 500 images of 192 x 192 would need 53, so that the cache is full in both cases, or off."""

FIT = """
import resource, sys
from pathlib import Path
import torch
from adcli.data.batches import Batches
from adcli.data.images import ImageSource
from adcli_patchcore import PatchcoreOptions
from adcli_patchcore.model import PatchCore

paths = sorted(Path(sys.argv[1]).glob("*.png"))[: int(sys.argv[2])]
torch.manual_seed(0)
model = PatchCore(PatchcoreOptions(backbone="random:resnet18", coreset=0.001), image_size=(192, 192))
source = ImageSource((192, 192), cache_bytes=int(sys.argv[3]) << 20)
with torch.inference_mode():
    model.fit(Batches(paths, source))
    height, width = model.embed(torch.zeros(1, 3, 192, 192)).shape[2:]
stored = len(paths) * height * width * 4 * (model.bank.shape[1] + 2 * 128) / 2**20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, stored, source._cached_bytes / 2**20)
"""


def draw(folder: Path, count: int) -> None:
    """Write noisy images, 512 x 512."""
    random = np.random.default_rng(0)
    for i in range(count):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((512, 512)).save(folder / f"{i:04}.png", compress_level=1)


def main() -> None:
    """Draw, fit in four processes, and print a line for each."""
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name), max(COUNTS))
        for cache in CACHES:
            peaks = []
            for count in COUNTS:
                command = [sys.executable, "-c", FIT, name, str(count), str(cache)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                peaks.append([float(value) for value in output.split()])
            (few, patches_of_few, _), (many, patches_of_many, cached) = peaks
            print(
                f"cache {cached:.0f} MB: {COUNTS[0]} images {few:.0f} MB, {COUNTS[1]} images {many:.0f} MB: "
                f"{many - few:.0f} MB more, of which patches {patches_of_many - patches_of_few:.0f} MB"
            )


if __name__ == "__main__":
    main()
