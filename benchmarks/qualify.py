"""Print how what ``adcli qualify`` says of drawn defects agrees with real ones, as a Markdown table.

    python benchmarks/qualify.py RECORD.json... [--as KIND=DRAWN...]

A record is what ``adcli qualify RUN --json`` printed, of a run whose data have real defects with masks. Each real
defect has a size, and a contrast across its outline. That of drawn ones is measured here, since stains fade to their
outlines. Two questions are asked of each kind:

- *stated*: of the real defects that are as large and as clear as a size that was stated, or more, how many were found?
  It agrees if 95 % lie within the exact 95 % interval of that share.
- *expected*: what share of the real ones would be found if each were found as often as drawn ones of its size and
  contrast, interpolated between those that were drawn? Only real ones between the smallest and the largest, the
  faintest and the clearest of these are asked about. It agrees if its 95 % interval (of the drawn counts, resampled)
  overlaps the exact 95 % interval of the share that was found.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adcli.data.defects import measure_defect, paint_defect, shape_defect
from adcli.metrics import interval

DRAWN = {
    "broken_large": "piece", "broken_small": "piece", "contamination": "stain",
    "blowhole": "spot", "break": "piece", "crack": "scratch", "fray": "stain", "uneven": "stain",
}  # fmt: skip
"""What each real kind is compared with, decided before anything was scored, by what they look like."""


RESAMPLED = 200


class Real(NamedTuple):
    """A real defect."""

    size: int
    contrast: float
    found: bool


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD.json")
    parser.add_argument("--as", dest="drawn", nargs="*", default=[], metavar="KIND=DRAWN")
    given = parser.parse_args()
    kinds = DRAWN | dict(pair.split("=", 1) for pair in given.drawn)
    print("| run | real | as | real ones (medians) | stated: found | agrees | expected | found | agrees |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in given.records:
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in rows_of(record, kinds):
            print(f"| {record['run']} | {' | '.join(row)} |")


def rows_of(record: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """Yield a row for each real kind that has masks and is compared with a drawn one."""
    for one in record["real_defects"]:
        real = [Real(defect["size"], defect["contrast"], not defect["missed"]) for defect in one["defects"]]
        drawn = kinds.get(one["kind"])
        if not real or drawn is None:
            continue
        detections = [found for found in record["detections"] if found["kind"] == drawn]
        yield (
            one["kind"],
            drawn,
            f"{len(real)}, {median(defect.size for defect in real):.0f} px, "
            f"contrast {median(defect.contrast for defect in real):.0f}",
            *say_stated([defect for defect in real if is_stated(defect, detections)]),
            *say_expected([defect for defect in real if is_between(defect, detections)], detections),
        )


def is_between(defect: Real, detections: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether drawn defects enclose a real one by size and contrast."""
    sizes = [count["size"] for one in detections for count in one["first"]]
    contrasts = [one["contrast"] * outline_share(one["kind"], defect.size) for one in detections]
    return min(sizes) <= defect.size <= max(sizes) and min(contrasts) <= defect.contrast <= max(contrasts)


def say_expected(real: Sequence[Real], detections: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return what is expected of real defects, how many were found, and whether both agree."""
    if not real:
        return "none", "-", "-"
    random = np.random.default_rng(0)
    drawn = [np.mean([expect(one, detections, table) for one in real]) for table in resample(detections, random)]
    mean = np.mean([expect(one, detections, resampled(detections, None)) for one in real])
    least, most = np.quantile(drawn, (0.025, 0.975))
    found = sum(one.found for one in real)
    low, high = interval(found, len(real))
    return (
        f"{mean:.1%} ({least:.1%} to {most:.1%})",
        f"{found} of {len(real)}, {found / len(real):.1%} ({low:.1%} to {high:.1%})",
        "yes" if least <= high and low <= most else "no",
    )


Table = Sequence[tuple[Sequence[int], Sequence[float]]]
"""For each contrast, the sizes that were drawn, and the share of each that was found."""


def resample(detections: Sequence[Mapping[str, Any]], random: np.random.Generator) -> Iterator[Table]:
    """Yield shares that may as well be the true ones."""
    for _ in range(RESAMPLED):
        yield resampled(detections, random)


def resampled(detections: Sequence[Mapping[str, Any]], random: np.random.Generator | None) -> Table:
    """Return the shares that were found; with random numbers, shares that may as well be the true ones."""
    table = []
    for one in detections:
        counts: dict[int, list[int]] = {}
        for count in (*one["first"], *one["tests"]):
            found, drawn = counts.get(count["size"], (0, 0))
            counts[count["size"]] = [found + count["found"], drawn + count["drawn"]]
        sizes = sorted(counts)
        shares = [
            found / drawn if random is None else float(random.beta(found + 0.5, drawn - found + 0.5))
            for found, drawn in (counts[size] for size in sizes)
        ]
        table.append((sizes, shares))
    return table


def is_stated(defect: Real, detections: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether it was stated that such a defect, or a smaller and fainter one, is found."""
    stated = [(one, one["found_from"]) for one in detections if one["found_from"]]
    return any(
        size <= defect.size and one["contrast"] * outline_share(one["kind"], size) <= defect.contrast
        for one, size in stated
    )


@cache
def outline_share(kind: str, size: int) -> float:
    """Return the contrast across its outline that a drawn defect has for each level of its own."""
    measured = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        weights = shape_defect(kind, size, random)
        grey, mask = np.full((size + 40, size + 40, 3), 128, np.uint8), np.zeros((size + 40, size + 40), bool)
        mask[20 : 20 + weights.shape[0], 20 : 20 + weights.shape[1]] = weights > 0
        measured.append(measure_defect(paint_defect(grey, kind, weights, (20, 20), 50, random), mask).contrast / 50)
    return float(np.mean(measured))


def say_stated(stated: Sequence[Real]) -> tuple[str, str]:
    """Return how many defects were found of those of which it was stated, and whether that agrees."""
    if not stated:
        return "none", "-"
    found = sum(defect.found for defect in stated)
    low, high = interval(found, len(stated))
    return f"{found} of {len(stated)} ({low:.1%} to {high:.1%})", "yes" if high >= 0.95 else "no"


def expect(defect: Real, detections: Sequence[Mapping[str, Any]], table: Table) -> float:
    """Return the share of drawn defects of a size and contrast that are found, interpolated on logarithmic scales."""
    contrasts = [one["contrast"] * outline_share(one["kind"], defect.size) for one in detections]
    shares = [float(np.interp(np.log(defect.size), np.log(sizes), found)) for sizes, found in table]
    return float(np.interp(np.log(max(defect.contrast, 1.0)), np.log(contrasts), shares))


def median(values: Iterator[float]) -> float:
    """Return the median of values."""
    return float(np.median(list(values)))


if __name__ == "__main__":
    main()
