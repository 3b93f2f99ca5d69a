"""Measure what known defects are worth to SuperSimpleNet; prints a Markdown table.

    python benchmarks/known_defects.py DATA --results FILE [--good N] [--known N...] [--draws N] [--set KEY=VALUE...]

Each draw takes good images to train on, and some of the test defects as known ones, of which fewer are among more. The
test images are the same in every row of a draw: the good ones, and the defects that no row learns from, or as many of
both together as ``--tested`` says. All rows train
on about the same number of images, those beside known defects among them, so that they take the same time.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adcli.data import Sample
from adcli.data.references import load_data
from adcli.data.samples import Splits
from adcli.pipeline import TrainSettings, train

FLIPS = 4
"""How often an epoch has each known defect, and as many good images."""


def draw(
    splits: Splits, good: int, most: int, tested: int, seed: int
) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Return good images to train on, defects to learn from, and samples to test."""
    random = np.random.default_rng(seed)
    defects = [sample for sample in splits.test if sample.label == "defect"]
    chosen = random.permutation(len(defects))
    train_on = [splits.train[i] for i in sorted(random.permutation(len(splits.train))[:good])]
    rest = [*(one for one in splits.test if one.label == "good"), *(defects[i] for i in chosen[most:])]
    test = [rest[i] for i in sorted(random.permutation(len(rest))[: tested or None])]
    return train_on, [defects[i] for i in chosen[:most]], test


def write_table(file: Path, train_on: Sequence[Sample], known: Sequence[Sample], test: Sequence[Sample]) -> None:
    """Write a data set as a table."""
    rows = [(sample, "train") for sample in (*train_on, *known)] + [(sample, "test") for sample in test]
    values = (
        {
            "image": str(sample.image),
            "label": sample.label,
            "split": split,
            "defect": sample.defect,
            "mask": None if sample.mask is None else str(sample.mask),
        }
        for sample, split in rows
    )
    file.write_text("".join(f"{json.dumps(value)}\n" for value in values))


def measure(
    folder: Path, table: Path, arguments: argparse.Namespace, count: int, known: int, seed: int
) -> dict[str, float]:
    """Train on a table and return the metrics of its test images."""
    epoch = 2 * FLIPS * known if known else count
    settings = TrainSettings(
        model="supersimplenet",
        data=f"table:{table}",
        options={"epochs": round(arguments.images / epoch), **dict(pair.split("=", 1) for pair in arguments.set)},
        image_size=arguments.size,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        calibration="none",
        seed=seed,
    )
    trained = train(settings, out=folder / f"run-{seed}-{known}")
    assert trained.evaluation is not None
    image, pixel = trained.evaluation.metrics["image"], trained.evaluation.metrics.get("pixel") or {}
    seconds = trained.run.record["timings"]["fit_seconds"]
    return {"auroc": image["auroc"], "pixel_auroc": pixel.get("auroc", float("nan")), "seconds": seconds}


def read(file: Path) -> dict[tuple[int, int], dict[str, float]]:
    """Return what was measured, by draw and number of known defects."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {(one["draw"], one["known"]): one for one in map(json.loads, lines)}


def say(values: Sequence[float]) -> str:
    """Return a mean and its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    """Train in each draw without known defects and with some, and print means and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines; what it has is not measured again")
    parser.add_argument("--runs", type=int, default=0, help="how many to make before the table; by default all")
    parser.add_argument("--good", type=int, default=150)
    parser.add_argument("--known", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--tested", type=int, default=0, help="images to test; by default all")
    parser.add_argument("--size", default="128")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--without-masks", action="store_true")
    arguments = parser.parse_args()
    splits = load_data(arguments.data, {}).splits
    known = [0, *arguments.known]
    results = read(arguments.results)
    todo = [(seed, count) for seed in range(arguments.draws) for count in known if (seed, count) not in results]
    with tempfile.TemporaryDirectory() as folder:
        for seed, count in todo[: arguments.runs or None]:
            good, defects, test = draw(splits, arguments.good, max(known), arguments.tested, seed)
            if arguments.without_masks:
                defects = [Sample(one.image, "defect", None, one.defect) for one in defects]
            table = Path(folder) / f"{seed}-{count}.jsonl"
            write_table(table, good, defects[:count], test)
            found = measure(Path(folder), table, arguments, len(good), count, seed)
            results[seed, count] = found
            with arguments.results.open("a") as file:
                file.write(f"{json.dumps({'draw': seed, 'known': count, **found})}\n")
    print("| known defects | image AUROC | difference | pixel AUROC | seconds |\n|---|---|---|---|---|")
    for count in known:
        found_in = [seed for seed in range(arguments.draws) if (seed, count) in results and (seed, 0) in results]
        rows, bases = ([results[seed, which] for seed in found_in] for which in (count, 0))
        gained = [row["auroc"] - base["auroc"] for row, base in zip(rows, bases, strict=True)]
        image, pixel = (say([row[name] for row in rows]) for name in ("auroc", "pixel_auroc"))
        print(f"| {count} | {image} | {say(gained)} | {pixel} | {np.mean([row['seconds'] for row in rows]):.0f} |")


if __name__ == "__main__":
    main()
