"""Print what the peer reached on a data set as the published values of a recipe, from the lines of ``accuracy.py``.

    python benchmarks/peer_values.py --results benchmarks/*results.jsonl --data bottle --backbone embedded

``recipe_results.jsonl`` has what was run for the recipe alone, on cores that did other work as well: its times are left
out, and the tables of ``accuracy.py`` do not have it.

A value is the mean over the peer's seeds. Where these differ, twice their standard deviation is the tolerance; where
that is less than a hundredth, none is printed, and a check of the recipe takes its own.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

METRICS = {"image_auroc": "image.auroc", "pixel_auroc": "pixel.auroc", "aupro": "pixel.aupro"}
"""Metrics of the results, and what ``metrics.json`` calls them."""

LEAST = 0.01
"""The tolerance of a value that states none."""

Row = dict[str, Any]


def read_peer(results: Iterable[Path], data: str, backbone: str) -> dict[str, list[Row]]:
    """Return the peer's rows of each model on a data set, of a backbone or of none.

    Raises:
        SystemExit: a model was run there with several settings, whose mean would be of nothing.
    """
    found: dict[str, list[Row]] = {}
    for row in (json.loads(line) for file in results for line in file.read_text().splitlines()):
        if row["tool"] == "peer" and row["data"] == data and row["backbone"] in (backbone, "-"):
            found.setdefault(row["model"], []).append(row)
    for model, rows in found.items():
        settings = {(row["options"], row["size"], row["epochs"]) for row in rows}
        if len(settings) > 1:
            raise SystemExit(f"{model} on {data} has several settings: {sorted(map(str, settings))}.")
    return dict(sorted(found.items()))


def published_values(rows_by_model: dict[str, list[Row]]) -> list[Row]:
    """Return the values of a recipe, as its ``published: values:`` has them."""
    values = []
    for model, rows in rows_by_model.items():
        for name, metric in METRICS.items():
            found = [row[name] for row in rows if row[name] is not None]
            if found:
                value = {"model": model, "metric": metric, "value": round(statistics.fmean(found), 3)}
                values.append(value | _tolerance(found))
    return values


def _tolerance(found: Sequence[float]) -> Row:
    spread = 2 * statistics.stdev(found) if len(found) > 1 else 0.0
    return {"tolerance": math.ceil(spread * 1000) / 1000} if spread > LEAST else {}


def main() -> None:
    """Print the values, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    parser.add_argument("--data", required=True, help="as the results name it")
    parser.add_argument("--backbone", required=True, help="as the results name it")
    arguments = parser.parse_args()
    for value in published_values(read_peer(arguments.results, arguments.data, arguments.backbone)):
        print(f"    - {{{', '.join(f'{key}: {item}' for key, item in value.items())}}}")


if __name__ == "__main__":
    main()
