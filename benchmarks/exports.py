"""Print how exported graphs compare with torch: speed, agreement and size of every model, as a Markdown table.

    python benchmarks/exports.py [--models padim,dfm] [--data FOLDER] [--threads 1] [--rounds 5]

Each model is fitted, briefly, on images of FOLDER/train/good at 256 x 256 with the embedded backbone. Torch and the
graphs score the same pixels in turn, with the same number of threads, in float32; a ratio is torch's median time
divided by the graph's, so above 1 the graph is faster. OpenVINO's int8 computes its convolutions in integers.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from adcli._plugins.registry import registry
from adcli.data import items_of
from adcli.data.decoding import read_image, resize
from adcli.data.source import ImageSource
from adcli.nn.batches import Batches
from adcli.nn.devices import make_repeatable
from adcli.nn.model import Model
from adcli.pipeline._building import build_model
from adcli_openvino.export import halve
from adcli_openvino.graph import convert, with_pixels
from adcli_openvino.quantisation import quantise
from adcli_openvino.runtime import COMPUTES_IN, runtime_of

SIZE = (256, 256)
FITTED, COMPARED = 24, 16
BRIEF = {
    "reverse_distillation": {"epochs": 1},
    "stfpm": {"epochs": 1},
    "cflow": {"epochs": 1},
    "ganomaly": {"epochs": 1},
}
Score = Callable[[Any], Any]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(sorted(registry().models)))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/magnetic_tile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-int8", action="store_true", help="leave out what takes longest to make")
    return parser.parse_args()


def fit(name: str, images: list[Path]) -> Model:
    """Fit a model with its defaults and the embedded backbone, in one epoch."""
    make_repeatable(0)
    provided = registry().models[name]
    known = {info.name for info in provided.spec.options.describe()}
    values = {"backbone": "embedded", "coreset": 0.4, **BRIEF.get(name, {})}
    options = provided.spec.options.parse({key: value for key, value in values.items() if key in known})
    model = build_model(provided, options, SIZE, pretrained=True)
    model.fit(Batches(items_of(images), ImageSource(SIZE, workers=0), batch_size=8))
    model.restore(model.weights())
    return model


def graphs(model: Model, images: list[Path], folder: Path, threads: int, int8: bool) -> dict[str, tuple[Score, float]]:
    """Return each precision's graph, read from its file, and its size in megabytes."""
    found: dict[str, tuple[Score, float]] = {}
    for precision in ("fp32", "fp16", "int8")[: 3 if int8 else 2]:
        graph = convert(model, SIZE, None)
        if precision == "int8":
            pixels = (resize(read_image(image), SIZE) for image in images)
            graph = quantise(graph, pixels, len(images), 1)
        if precision != "fp32":
            halve(graph)
        file = folder / f"{precision}.xml"
        ov.save_model(with_pixels(graph, SIZE, None), file, compress_to_fp16=False)
        size = file.with_suffix(".bin").stat().st_size / 1e6
        properties = {"INFERENCE_PRECISION_HINT": COMPUTES_IN, "INFERENCE_NUM_THREADS": threads}
        found[precision] = (runtime_of(ov.Core().compile_model(file, "CPU", properties)), size)
    return found


def median_times(scorers: dict[str, Score], pixels: Any, rounds: int, threads: int) -> dict[str, float]:
    """Return each scorer's median seconds, all measured in turn."""
    # On one thread, processor time is what other work on the machine disturbs least.
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for turn in range(rounds + 1):
        for name, score in scorers.items():
            # Threads of the one before go on spinning for a while.
            score(pixels)
            start = clock()
            score(pixels)
            if turn > 0:
                times[name].append(clock() - start)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def row(name: str, model: Model, images: list[Path], arguments: argparse.Namespace, folder: Path) -> str:
    """Return a model's row of the table."""

    def torch_scores(pixels: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).image.numpy()

    made = graphs(model, images[:FITTED], folder, arguments.threads, not arguments.no_int8)
    pixels = np.stack([resize(read_image(path), SIZE) for path in images[FITTED:]])
    expected = torch_scores(pixels)
    scorers: dict[str, Score] = {"torch": torch_scores, **{key: score for key, (score, _) in made.items()}}
    alone = median_times(scorers, pixels[:1], 2 * arguments.rounds, arguments.threads)
    together = median_times(scorers, pixels, arguments.rounds, arguments.threads)
    cells = [f"{alone['torch'] * 1000:.0f} ms, {together['torch'] * 1000:.0f} ms"]
    for key, (score, size) in made.items():
        difference = np.abs(score(pixels)[0] - expected).max() / np.ptp(expected)
        ratios = f"{alone['torch'] / alone[key]:.2f}, {together['torch'] / together[key]:.2f}"
        cells.append(f"{ratios} ({difference:.1e}; {size:.0f} MB)")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Fit, export and measure every model."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    images = sorted((arguments.data / "train" / "good").iterdir())[: FITTED + COMPARED]
    columns = ["fp32", "fp16", "int8"][: 2 if arguments.no_int8 else 3]
    print(
        f"Batches of 1 and {COMPARED}; (largest difference relative to the range of good scores; size of the weights)\n"
    )
    print(f"| model | torch | {' | '.join(f'OpenVINO {column}' for column in columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, fit(name, images[:FITTED]), images, arguments, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
