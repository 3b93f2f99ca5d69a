"""Print how long fitting and scoring take, beside decoding and a bare forward of the same images, as a Markdown table.

    python benchmarks/loops.py --data FOLDER [--model NAME...] [--backbone NAME...] [--precision P]

The plain loop is the fastest that we could write: Pillow's decoding and 8-bit resizing in two threads, the backbone
with its batch norms folded, channels-last, in inference mode, in the same precision, freed memory kept as the command
line does, and nothing else. ``eager`` is the same loop over timm's network as it comes, in a process as it comes. 150
images of the folder at 256 x 256, in batches of 32; of several rounds, taken in turn, the fastest counts. Imports and
building are left out.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor

from adcli._plugins.registry import registry
from adcli._process.allocation import keep_freed_memory
from adcli.data import items_of
from adcli.data.source import ImageSource
from adcli.nn.backbones import Backbone
from adcli.nn.batches import Batches, Session
from adcli.nn.devices import make_repeatable
from adcli.nn.runtime import ModelRuntime
from adcli.pipeline._building import build_model
from adcli.scoring.scorer import score_images

SIZE, BATCH = (256, 256), 32
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def decoded(path: Path) -> np.ndarray:
    """Decode as fast as Pillow does."""
    with Image.open(path) as image:
        # Grey images are resized before they have three channels.
        return np.asarray(image.resize(SIZE, Image.Resampling.BILINEAR).convert("RGB"))


def plain_loop(network: Callable[[Tensor], Any], paths: Sequence[Path], layout: torch.memory_format) -> None:
    """Decode in threads, and run the network."""
    with ThreadPoolExecutor(2) as pool:
        images = pool.map(decoded, paths)
        for start in range(0, len(paths), BATCH):
            batch = torch.from_numpy(np.stack([next(images) for _ in paths[start : start + BATCH]]))
            network(batch.permute(0, 3, 1, 2).contiguous(memory_format=layout).float().div_(255))


def eager(name: str, strides: Sequence[int], paths: Sequence[Path], rounds: int) -> float:
    """Time the loop over timm's network, in this process; weights do not matter for time."""
    architecture = "resnet18" if name == "embedded" else name.removeprefix("timm:")
    reductions = timm.create_model(architecture, features_only=True).feature_info.reduction()
    wanted = [i for i, stride in enumerate(reductions) if stride in strides]
    network = timm.create_model(architecture, features_only=True, out_indices=wanted).eval()
    with torch.no_grad():
        return best_of([lambda: plain_loop(network, paths, torch.contiguous_format)], rounds)[0]


def eager_elsewhere(*arguments: Any) -> float:
    """Call :func:`eager` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(eager, *arguments).result()


def fit_and_score(
    name: str, backbone: str, precision: torch.dtype, paths: Sequence[Path]
) -> tuple[Backbone, Callable[[], None], Callable[[], None]]:
    """Return the backbone of a model, and what fits and scores with it."""
    provided = registry().models.get(name)
    assert provided is not None
    make_repeatable(0)
    model: Any = build_model(provided, provided.spec.options.parse({"backbone": backbone}), SIZE, pretrained=True)

    def fit() -> None:
        model.set_precision(precision)
        with torch.inference_mode():
            model.fit(
                Batches(items_of(paths), ImageSource(SIZE), batch_size=BATCH, session=Session(precision=precision))
            )

    def score() -> None:
        model.set_precision(torch.float32)
        runtime = ModelRuntime(model.eval(), torch.device("cpu"))
        for _ in score_images(runtime, paths, ImageSource(SIZE), batch_size=BATCH):
            pass

    return model.backbone, fit, score


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    random = np.random.default_rng(0)
    found = sorted(arguments.data.glob("train/good/*"))
    paths = [found[i] for i in random.permutation(len(found))[:150]]
    yield "| model | backbone | eager, s | plain loop, s | fit, s | predict, s | fit / plain | predict / plain |"
    yield "|---|---|---|---|---|---|---|---|"
    precision = PRECISIONS[arguments.precision]
    for name in arguments.backbone:
        for model in arguments.model:
            backbone, fit, score = fit_and_score(model, name, precision, paths)
            works = [partial(bare, backbone, kind, paths) for kind in (torch.float32, precision)]
            loop, low, fitting, scoring = best_of([*works, fit, score], arguments.rounds)
            slow = eager_elsewhere(name, backbone.strides, paths, arguments.rounds)
            cells = [f"{figure:.2f}" for figure in (slow, loop, fitting, scoring, fitting / low, scoring / loop)]
            yield f"| {model} | {name.removeprefix('timm:')} | {' | '.join(cells)} |"


def bare(backbone: Backbone, precision: torch.dtype, paths: Sequence[Path]) -> None:
    """Run the plain loop."""
    backbone.precision = precision
    with torch.inference_mode():
        plain_loop(backbone, paths, torch.channels_last)


def best_of(works: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Return each work's fastest time; they take turns, so that a busy moment of the machine meets all."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="*", default=["padim", "dfm", "dfkde"])
    parser.add_argument("--backbone", nargs="*", default=["timm:mobilenetv2_100.ra_in1k", "embedded"])
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of fitting; scores are float32")
    parser.add_argument("--rounds", type=int, default=3)
    keep_freed_memory()
    for line in rows(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
