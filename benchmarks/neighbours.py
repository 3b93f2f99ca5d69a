"""Print how long the patches of a batch take to find their nearest member of a real bank, as a Markdown table.

    python benchmarks/neighbours.py --run RUN --data FOLDER [--images N]

RUN is a finished run of PatchCore. Beside its own blocks of matrix products there are the indices of faiss (``pip
install faiss-cpu``): exact, inverted lists and a graph of neighbours. Of what an index finds, *same* is the share of
patches whose nearest member it is, and *farther* how much larger the distances are on the mean. Two threads; of three
rounds the fastest counts.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from adcli.pipeline._restore import restore
from numpy.typing import NDArray

from adcli._process.allocation import keep_freed_memory
from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn.batches import Batches
from adcli.pipeline import load

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Squared distances and indices of the nearest members."""


def best_of(work: Callable[[], Found], rounds: int = 3) -> tuple[float, Found]:
    """Return the fastest time, and what was found."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = work()
        times.append(time.perf_counter() - start)
    return min(times), found


def indices(bank: NDArray[np.float32]) -> Iterator[tuple[str, float, Any]]:
    """Yield faiss's indices of a bank, with the seconds that building takes."""
    dimensions = bank.shape[1]
    exact, groups = faiss.IndexFlatL2(dimensions), faiss.IndexFlatL2(dimensions)
    yield "faiss, exact", built(exact, bank), exact
    lists = faiss.IndexIVFFlat(groups, dimensions, 128)
    seconds = built(lists, bank)
    for lists.nprobe in (4, 16):
        yield f"faiss, {lists.nprobe} of 128 inverted lists", seconds, lists
    graph = faiss.IndexHNSWFlat(dimensions, 32)
    seconds = built(graph, bank)
    for graph.hnsw.efSearch in (16, 64):
        yield f"faiss, graph, {graph.hnsw.efSearch} wide", seconds, graph


def built(index: Any, bank: NDArray[np.float32]) -> float:
    """Fill an index; return the seconds that takes."""
    start = time.perf_counter()
    index.train(bank)
    index.add(bank)
    return time.perf_counter() - start


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    restored = restore(load(arguments.run))
    model: Any = restored.model
    paths = sorted(arguments.data.rglob("*.jpg"))[: arguments.images]
    images = torch.cat(list(Batches(items_of(paths), ImageSource(restored.size), batch_size=32)))
    patches = model.embed(images).permute(0, 2, 3, 1).flatten(0, 2) / model.scale
    yield f"{len(patches)} patches, {len(model.bank)} members, {patches.shape[1]} dimensions"
    yield ""
    yield "| | built, s | found, s | same | farther |"
    yield "|---|---|---|---|---|"

    def ours() -> Found:
        nearest, distances = model._nearest(patches, 1)
        return distances.numpy()[:, 0], nearest.numpy()[:, 0]

    seconds, (distances, nearest) = best_of(ours)
    yield f"| blocks of matrix products | 0 | {seconds:.2f} | | |"
    queries = patches.numpy()
    for name, building, index in indices(model.bank.numpy()):
        seconds, (found, members) = best_of(partial(index.search, queries, 1))
        same = (members[:, 0] == nearest).mean()
        farther = found.mean() / distances.mean() - 1
        yield f"| {name} | {building:.1f} | {seconds:.2f} | {same:.1%} | {farther:.1%} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=32)
    keep_freed_memory()
    torch.set_num_threads(2)
    faiss.omp_set_num_threads(2)
    with torch.inference_mode():
        for line in rows(parser.parse_args()):
            print(line, flush=True)


if __name__ == "__main__":
    main()
