"""Print what fitting in a lower precision saves and changes, as a Markdown table.

    python benchmarks/precision.py --data FOLDER [--model NAME...] [--backbone NAME] [--precision P...]

150 good images are fitted and 150 scored, as in ``commands.py``. Scores are always computed in float32. The differences
are those of the image scores from a fit in float32, relative to the range of that fit's scores.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from commands import CASES, drawn

from adcli._process.allocation import keep_freed_memory
from adcli.pipeline import TrainSettings, train


class Outcome(NamedTuple):
    """What a run came to."""

    seconds: float
    auroc: float
    scores: np.ndarray


def run(model: str, precision: str, data: Path, out: Path, backbone: str) -> Outcome:
    """Train and evaluate; return the seconds of the fit, the image AUROC and the scores."""
    case = CASES[model]
    options = dict(option.split("=") for option in case.ours) | ({"epochs": str(case.epochs)} if case.epochs else {})
    settings = TrainSettings(
        model=model,
        data=str(data),
        options={"backbone": backbone} | options,
        image_size="256x256",
        batch_size=case.batch,
        precision=precision,
        calibration="none",
    )
    found = train(settings, out=out).run
    metrics = json.loads((found.path / "metrics.json").read_text())
    with (found.path / "scores.csv").open() as file:
        scores = np.array([float(row["score"]) for row in csv.DictReader(file)])
    return Outcome(found.record["timings"]["fit_seconds"], metrics["image"]["auroc"], scores)


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield "| model | precision | fit, s | image AUROC | largest difference | mean difference |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        drawn(arguments.data, data, 150, 150)
        for model in arguments.model:
            exact: Outcome | None = None
            for precision in ("fp32", *arguments.precision):
                found = run(model, precision, data, Path(folder, f"{model}-{precision}"), arguments.backbone)
                exact = exact or found
                difference = np.abs(found.scores - exact.scores) / np.ptp(exact.scores)
                cells = [f"{found.seconds:.1f}", f"{found.auroc:.3f}", f"{difference.max():.3f}"]
                yield f"| {model} | {precision} | {' | '.join(cells)} | {difference.mean():.4f} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="*", default=["padim", "dfm", "dfkde", "patchcore", "stfpm"], choices=CASES)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--precision", nargs="*", default=["bf16"])
    keep_freed_memory()
    for line in rows(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
