"""Print the image AUROC of runs by the size of the defects, from the scores that the runs keep.

    python benchmarks/defect_sizes.py --data demo:large RUN...

A photograph's size is the longer side, in pixels, of the box around its largest defect. Each range is compared with all
good photographs.
"""

import argparse
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from adcli.data.decoding import read_mask
from adcli.data.fingerprint import relative_names
from adcli.data.references import load_data
from adcli.scoring.verdict import read_table

RANGES = (0, 20, 30, 45, 70, 1_000_000)


def measure_sizes(data: str) -> dict[str, int]:
    """Return the size of each photograph's largest defect, by name."""
    samples = load_data(data, {}).splits.test
    names = relative_names(sample.image for sample in samples)
    return {
        name: max(max(side.stop - side.start for side in box) for box in _boxes(sample.mask))
        for name, sample in zip(names, samples, strict=True)
        if sample.mask is not None
    }


def _boxes(mask: Path) -> list[tuple[slice, ...]]:
    parts, _ = ndimage.label(read_mask(mask), np.ones((3, 3)))
    return list(ndimage.find_objects(parts))


def main() -> None:
    """Measure, and print a row for each range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    sizes = measure_sizes(arguments.data)
    tables = [_read_scores(run) for run in arguments.runs]
    print("| size | photographs |", " | ".join(run.name for run in arguments.runs), "|")
    for low, high in pairwise(RANGES):
        chosen = [name for name, size in sizes.items() if low <= size < high]
        if chosen:
            values = " | ".join(f"{_auroc(table, chosen):.3f}" for table in tables)
            print(f"| {low} to {high} | {len(chosen)} | {values} |")


def _read_scores(run: Path) -> Mapping[str, tuple[str, float]]:
    """Return label and score of each photograph that could be read, by name."""
    rows = read_table(run / "scores.csv")
    return {record.image: (row["label"], record.score) for record, row in rows if record.score is not None}


def _auroc(table: Mapping[str, tuple[str, float]], chosen: list[str]) -> float:
    good = [score for label, score in table.values() if label == "good"]
    found = [table[name][1] for name in chosen]
    return float(roc_auc_score([0] * len(good) + [1] * len(found), good + found))


if __name__ == "__main__":
    main()
