"""Print how fast coresets are chosen, beside the plain loop, and in how much memory.

    python benchmarks/coreset.py --data FOLDER [--patches N] [--large N]

The patches are those of images of a folder, of the backbone ``embedded`` in 128 dimensions; a tenth of them is chosen,
by our blocks and by a loop of one matrix-vector product for each pick. Then a hundredth of ``--large`` drawn points of
as many dimensions, in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn.batches import Batches
from adcli_patchcore import PatchcoreOptions
from adcli_patchcore.coreset import greedy_k_centre
from adcli_patchcore.model import PatchCore

DIMENSIONS = 128
SIZE = (256, 256)


def plain_loop(points: Tensor, count: int) -> list[int]:
    """Pick the farthest point from all picks, one at a time."""
    norms = points.square().sum(dim=1)
    picks = [0]
    nearest = torch.full_like(norms, torch.inf)
    while len(picks) < count:
        last = picks[-1]
        distances = torch.addmv(norms + norms[last], points, points[last], alpha=-2)
        torch.minimum(nearest, distances, out=nearest)
        nearest[last] = -torch.inf
        picks.append(int(nearest.argmax()))
    return picks


def coverage(points: Tensor, picks: list[int]) -> float:
    """Return the largest distance of a point to its nearest pick."""
    chosen = points[picks]
    return max(float(torch.cdist(part, chosen).amin(dim=1).max()) for part in torch.split(points, 1024))


def patches_of(data: Path, count: int) -> Tensor:
    """Return patches of images in the coordinates that coresets are chosen in."""
    torch.manual_seed(0)
    model = PatchCore(PatchcoreOptions(backbone="embedded"), image_size=SIZE)
    batches = Batches(items_of(sorted(data.rglob("*.jpg"))[: -(-count // 1024)]), ImageSource(SIZE))
    model.scale = torch.ones(sum(model.backbone.channels))
    project = model._projection()
    rows = torch.cat([project(model.embed(images).permute(0, 2, 3, 1).flatten(0, 2)) for images in batches])
    rows = rows[:count]
    return rows - rows.mean(dim=0)


def compare(points: Tensor) -> None:
    """Print picks a second of both, and whether they are the same."""
    count = len(points) // 10
    start = time.perf_counter()
    blocks = list(greedy_k_centre(points, count))
    ours = time.perf_counter() - start
    start = time.perf_counter()
    loop = plain_loop(points, count)
    theirs = time.perf_counter() - start
    same = sum(a == b for a, b in zip(blocks, loop, strict=True))
    print("| patches | picks | blocks, s | loop, s | times faster | picks alike | largest distance, blocks | loop |")
    print("|---|---|---|---|---|---|---|---|")
    figures = [f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.1f}", f"{same / count:.1%}"]
    distances = [f"{coverage(points, picks):.4f}" for picks in (blocks, loop)]
    print("|", " | ".join([str(len(points)), str(count), *figures, *distances]), "|", flush=True)


def large(count: int) -> None:
    """Print seconds and peak memory of a hundredth of many drawn points."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(1000, DIMENSIONS, generator=generator) * 2
    points = torch.randn(count, DIMENSIONS, generator=generator)
    for part in torch.split(points, 65536):
        part += centres[torch.randint(len(centres), (len(part),), generator=generator)]
    start = time.perf_counter()
    picks = list(greedy_k_centre(points, count // 100))
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count} patches: {len(picks)} picks in {seconds:.0f} s, peak memory {peak:.1f} GB")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--patches", type=int, default=150_000)
    parser.add_argument("--large", type=int, default=2_000_000)
    arguments = parser.parse_args()
    if arguments.data is None:
        large(arguments.large)
        return
    with torch.inference_mode():
        compare(patches_of(arguments.data, arguments.patches))
    subprocess.run([sys.executable, __file__, "--large", str(arguments.large)], check=True)


if __name__ == "__main__":
    main()
