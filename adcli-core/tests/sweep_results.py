"""Sweeps made in memory, for the tests of their results: runs with metrics, and with scores in files where asked."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.metrics import image_metrics, rates
from adcli.runs.settings import TrainSettings
from adcli.scoring.verdict import COLUMNS, VerdictRecord, csv_line
from adcli.sweeps.cells import Cell, Factor
from adcli.sweeps.results import Outcome, SweepResults

Scores = NDArray[np.float64]


def cell(model: str, category: str | None = None, seed: int = 0, data: str = "parts", **more: Factor) -> Cell:
    """Return a run's cell; further factors are options of the model."""
    factors: dict[str, Factor] = {"model": model, "data": data, "category": category, "seed": seed}
    factors |= {f"option.{name}": value for name, value in more.items()}
    name = "-".join(str(value) for value in factors.values() if value is not None)
    return Cell(name, factors, TrainSettings.parse({"model": model, "seed": seed}))


def made(which: Cell, *, seconds: Mapping[str, float] | None = None, **metrics: float) -> Outcome:
    """Return a run that is there; ``image__auroc`` is the metric ``image.auroc``."""
    named = {name.replace("__", "."): value for name, value in metrics.items()}
    return Outcome(which, Path(f"/sweep/runs/{which.name}"), named, seconds or {})


def results(*outcomes: Outcome) -> SweepResults:
    return SweepResults(Path("/sweep"), outcomes)


def grid(
    models: Sequence[str], categories: Sequence[str], seeds: Sequence[int], value: Callable[[str, str, int], float]
) -> SweepResults:
    """Return a sweep whose runs have an image AUROC each."""
    return results(
        *(
            made(cell(model, category, seed), image__auroc=value(model, category, seed))
            for seed in seeds
            for model in models
            for category in categories
        )
    )


def write_scores(folder: Path, scores: Scores, is_defect: NDArray[np.bool_], threshold: float | None = None) -> None:
    """Write ``scores.csv`` of images with labels into a new folder."""
    folder.mkdir(parents=True)
    lines = [csv_line([*COLUMNS, "label", "defect"])]
    for i, (score, defect) in enumerate(zip(scores, is_defect, strict=True)):
        label = "defect" if defect else "good"
        record = VerdictRecord(
            image=f"{label}/{i}.png",
            time="2026-11-28T00:00:00.000Z",
            score=float(score),
            threshold=threshold,
            verdict="",
        )
        lines.append(csv_line([*record.to_cells(), label, ""]))
    (folder / "scores.csv").write_text("".join(lines), encoding="utf-8")


def scored(
    folder: Path, which: Cell, scores: Scores, is_defect: NDArray[np.bool_], threshold: float | None = 0.5
) -> Outcome:
    """Return a run with scores in a file, and the metrics that these have."""
    is_plain = re.fullmatch(r"[\w-]{1,100}", which.name)
    path = folder / (which.name if is_plain else hashlib.sha256(which.name.encode()).hexdigest())
    write_scores(path, scores, is_defect, threshold)
    metrics = dict(image_metrics(scores, is_defect))
    if threshold is not None:
        found = rates(scores, is_defect, threshold)
        metrics |= {name: found[name] for name in ("false_alarm_rate", "detection_rate")}
    seconds = {"fit": 1.0 + len(which.name), "evaluate": 2.0}
    return Outcome(which, path, {f"image.{name}": value for name, value in metrics.items()}, seconds)
