"""Compare updates with fits of all images: accuracy, time, and how far scores are apart.

    python benchmarks/updates.py --data FOLDER [--model NAME...] [--draws N] [--every N] [--option KEY=VALUE...]

In each draw, the good images are shuffled. A run is fitted to the first half and learns the second half by an update;
another is fitted to both halves; a third is the run of the first half alone. Nothing is held out, nothing is tuned. The
last columns are the seconds of an update beside those of the fit of both, and the megabytes that the run keeps for it.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adcli import pipeline
from adcli.data.references import load_data
from adcli.data.samples import Sample
from adcli.runs.metrics import read_metrics
from adcli.runs.run import UPDATING_FILE
from adcli.runs.scores import read_scores

MODELS = ("patchcore", "padim", "dfm", "dfkde")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", nargs="*", default=MODELS)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="Take every so many-th image of the set.")
    parser.add_argument("--option", nargs="*", default=[])
    arguments = parser.parse_args()
    options = dict(pair.split("=", 1) for pair in arguments.option)
    splits = load_data(arguments.data, {}).splits
    train, test = splits.train[:: arguments.every], splits.test[:: arguments.every]
    print("model      draw  which    image   pixel   aupro   learn s   MB kept   largest difference of scores")
    for model in arguments.model:
        for draw in range(arguments.draws):
            with tempfile.TemporaryDirectory() as folder:
                compare(model, draw, train, test, options, Path(folder))


def compare(
    model: str,
    draw: int,
    train: Sequence[Sample],
    test: Sequence[Sample],
    options: dict[str, str],
    folder: Path,
) -> None:
    """Fit and update in one draw, and print a line for each run."""
    order = np.random.default_rng(draw).permutation(len(train))
    half = len(train) // 2
    first, second = ([train[i] for i in sorted(part)] for part in (order[:half], order[half:]))
    for name, good, tested in (("first", first, test), ("both", train, test), ("second", second, ())):
        write_table(folder / f"{name}.csv", good, tested)
    runs = {
        name: pipeline.train(
            pipeline.TrainSettings(
                model=model,
                data=f"table:{folder / name}.csv",
                options=dict(options),
                calibration="none",
                updatable=True,
            ),
            out=folder / name,
        ).run
        for name in ("first", "both")
    }
    runs["updated"] = pipeline.update(runs["first"], f"table:{folder / 'second'}.csv", out=folder / "updated").run
    expected = read_scores(runs["both"].path).scores
    spread = np.ptp(list(expected.values()))
    for name, run in runs.items():
        metrics, found = read_metrics(run.path), read_scores(run.path).scores
        apart = max(abs(found[image] - score) for image, score in expected.items()) / spread
        kept = run.path / UPDATING_FILE
        size = kept.stat().st_size / 1e6 if kept.exists() else 0.0
        pixel = metrics.get("pixel") or {}
        figures = (metrics["image"]["auroc"], pixel.get("auroc", np.nan), pixel.get("aupro", np.nan))
        said = "  ".join(f"{figure:.4f}" for figure in figures)
        seconds = run.record["timings"]["fit_seconds"]
        print(f"{model:<10} {draw:<4}  {name:<7}  {said}  {seconds:>7.1f}  {size:>8.1f}   {apart:.2g}", flush=True)


def write_table(path: Path, good: Sequence[Sample], tested: Sequence[Sample]) -> None:
    """Write a table of images to train on, and of others to test."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split", "mask"))
        for split, samples in (("train", good), ("test", tested)):
            writer.writerows((sample.image, sample.label, split, sample.mask or "") for sample in samples)


if __name__ == "__main__":
    main()
