"""Measure what the size of a model's input is worth: accuracy and time over sizes, with ``auto`` among them.

    python benchmarks/sizes.py --results FILE --data FOLDER... [--strip FOLDER...] [--model NAME...] [--size SIZE...]
    python benchmarks/sizes.py --results FILE --table

``--strip`` cuts the middle third of the rows out of each image of a set, as long photographs are hard to come by; test
images whose defect lies elsewhere are left out. Every result is a line of JSON in the results file, and what stands
there is not run again. All good images are fitted (``--calibration none``); nothing is tuned.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adcli import pipeline
from adcli.data.decoding import read_mask
from adcli.data.references import load_data
from adcli.data.samples import Sample

SIZES = ("128", "192", "256", "320", "384", "512", "auto")
MODELS = ("patchcore", "padim")
FEWEST = 50
"""Pixels of a defect that a strip shows at least."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--data", nargs="*", default=[])
    parser.add_argument("--strip", nargs="*", default=[])
    parser.add_argument("--model", nargs="*", default=MODELS)
    parser.add_argument("--size", nargs="*", default=SIZES)
    parser.add_argument("--every", type=int, default=1, help="Take every so many-th image of a set.")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    rows = (
        [json.loads(line) for line in arguments.results.read_text().splitlines()] if arguments.results.exists() else []
    )
    if arguments.table:
        print_table(rows)
        return
    done = {(row["data"], row["model"], row["asked"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder, arguments.results.open("a") as file:
        for name, data in prepare(arguments, Path(folder)):
            for model in arguments.model:
                for size in arguments.size:
                    if (name, model, size) not in done:
                        row = {"data": name, "model": model, "asked": size, **measure(data, model, size, Path(folder))}
                        file.write(json.dumps(row) + "\n")
                        file.flush()
                        print(row, file=sys.stderr)


def prepare(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield sets by name, as folders of their own."""
    for kind, sets in (("", arguments.data), (" strips", arguments.strip)):
        for reference in sets:
            name = Path(reference).name + kind
            splits = load_data(reference, {}).splits
            root = folder / name.replace(" ", "-")
            for part, samples in (("train", splits.train), ("test", splits.test)):
                for number, sample in enumerate(samples[:: arguments.every]):
                    write(root, part, number, sample, strip=bool(kind))
            yield name, root


def write(root: Path, part: str, number: int, sample: Sample, *, strip: bool) -> None:
    """Write an image, and its mask, or the middle third of their rows."""
    kind = sample.defect or "good"
    image = Image.open(sample.image)
    rows = (image.height // 3, 2 * image.height // 3) if strip else (0, image.height)
    box = (0, rows[0], image.width, rows[1])
    if sample.mask is not None:
        mask = read_mask(sample.mask)[rows[0] : rows[1]]
        if np.count_nonzero(mask) < FEWEST:
            return
        place = root / "ground_truth" / kind / f"{number:04}_mask.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(place)
    place = root / part / kind / f"{number:04}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    image.crop(box).save(place, compress_level=1)


def measure(data: Path, model: str, size: str, folder: Path) -> Row:
    """Train and evaluate; return the size that was used, accuracy, and seconds an image."""
    settings = pipeline.TrainSettings(
        model=model,
        data=str(data),
        options={"backbone": "embedded"},
        image_size=size,
        calibration="none",
    )
    start = time.perf_counter()
    trained = pipeline.train(settings, out=folder / f"run-{time.monotonic_ns()}")
    assert trained.evaluation is not None
    metrics = trained.evaluation.metrics
    return {
        "size": trained.run.settings["image_size"],
        "image_auroc": metrics["image"]["auroc"],
        "pixel_auroc": metrics["pixel"]["auroc"],
        "aupro": metrics["pixel"]["aupro"],
        "train_s": time.perf_counter() - start,
        "predict_ms": 1000 / metrics["timings"]["images_per_second"],
    }


def print_table(rows: list[Row]) -> None:
    """Print, for each set and model, accuracy and time over sizes."""
    print("| set | model | size | image AUROC | pixel AUROC | AUPRO | training | ms an image |")
    print("|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (row["data"], row["model"], row["asked"] == "auto", pixels(row["size"]))):
        asked = f"{row['size']} (auto)" if row["asked"] == "auto" else row["size"]
        figures = " | ".join(f"{row[name]:.3f}" for name in ("image_auroc", "pixel_auroc", "aupro"))
        named = " | ".join([row["data"], row["model"], asked])
        print(f"| {named} | {figures} | {row['train_s']:.0f} s | {row['predict_ms']:.0f} |")


def pixels(size: str) -> int:
    height, width = map(int, size.split("x"))
    return height * width


if __name__ == "__main__":
    main()
