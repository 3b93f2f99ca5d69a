"""Scoring labelled images with a calibrated model: metrics, a table, pictures."""

import csv
import io
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adcli._files import storing, write_atomically
from adcli.data.decoding import read_mask
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample
from adcli.metrics import PixelMetrics, summarise
from adcli.progress import Progress
from adcli.report.gallery import Gallery, Shown
from adcli.report.pictures import write_overlays
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import ScoredImage, Scorer

METRICS_FILE = "metrics.json"
SCORES_FILE = "scores.csv"
REPORT_FILE = "report.html"
MAPS_FOLDER = "maps"
EVALUATIONS = "evaluations"
OWN = "test"
"""The evaluation of the data set that a run was trained on."""

PICTURES_PER_KIND = 4

Pictures = Literal["some", "all", "none"]


@dataclass(frozen=True)
class Row:
    """One line of ``scores.csv``."""

    sample: Sample
    score: float
    p_value: float | None
    is_defect: bool | None


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation; ``metrics`` is what ``metrics.json`` holds, ``shown`` what a report shows."""

    rows: Sequence[Row]
    metrics: dict[str, Any]
    skipped: dict[Path, str] = field(default_factory=dict)
    shown: Sequence[Shown] = ()


def evaluate_samples(
    scorer: Scorer, samples: Sequence[Sample], progress: Progress, *, pictures: bool = False
) -> Evaluation:
    """Score samples and compute the metrics that their labels and masks allow, in bounded memory.

    With ``pictures``, those worth showing are drawn on the way, for a report.
    """
    start = time.perf_counter()
    by_path = {sample.image: sample for sample in samples}
    pixels, rows, gallery = PixelMetrics(), [], Gallery(scorer)
    scored = scorer.scores([sample.image for sample in samples])
    for image in progress.track(scored, len(samples), "evaluating"):
        sample = by_path[image.path]
        _add_pixels(pixels, image, sample)
        rows.append((sample, image.score))
        if pictures:
            gallery.add(image, sample)
    table = _rows(rows, scorer)
    seconds = time.perf_counter() - start
    metrics = _metrics(table, scorer.calibration, pixels)
    metrics["timings"] = {"seconds": round(seconds, 3), "images_per_second": round(len(table) / seconds, 2)}
    return Evaluation(table, metrics, dict(scorer.source.skipped), gallery.shown())


def _add_pixels(pixels: PixelMetrics, image: ScoredImage, sample: Sample) -> None:
    """Count an image's pixels at its mask's own resolution; a defect without a mask says nothing about pixels."""
    if image.map is None:
        return
    if sample.mask is not None:
        mask = read_mask(sample.mask)
    elif sample.label == "good":
        mask = np.zeros(image.original_size, bool)
    else:
        return
    anomaly_map = image.map_at((mask.shape[0], mask.shape[1]))
    assert anomaly_map is not None
    seen = None if image.framing.is_plain else ~np.isnan(anomaly_map)
    pixels.update(anomaly_map, mask, sample.defect, seen)


def _rows(scored: Sequence[tuple[Sample, float]], scorer: Scorer) -> list[Row]:
    p_values, verdicts = scorer.judge([score for _, score in scored])
    return [
        Row(sample, score, p_value, verdict)
        for (sample, score), p_value, verdict in zip(scored, p_values, verdicts, strict=True)
    ]


def _metrics(rows: Sequence[Row], calibration: Calibration, pixels: PixelMetrics) -> dict[str, Any]:
    labelled = [row for row in rows if row.sample.label is not None]
    if not labelled:
        return {}
    return summarise(
        np.array([row.score for row in labelled]),
        np.array([row.sample.label == "defect" for row in labelled]),
        [row.sample.defect for row in labelled],
        calibration.image_threshold,
        pixels,
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``metrics.json`` and ``scores.csv`` into a folder."""
    write_atomically(folder / METRICS_FILE, json.dumps(evaluation.metrics, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", "defect", "score", "p_value", "verdict"])
    names = relative_names(row.sample.image for row in evaluation.rows)
    for name, row in zip(names, evaluation.rows, strict=True):
        writer.writerow(
            [name, row.sample.label, row.sample.defect, repr(row.score), row.p_value, verdict(row.is_defect)]
        )
    write_atomically(folder / SCORES_FILE, text.getvalue())


def verdict(is_defect: bool | None) -> str:
    """Return ``"defect"``, ``"good"``, or nothing where there is no threshold."""
    return "" if is_defect is None else "defect" if is_defect else "good"


def worth_seeing(rows: Sequence[Row]) -> list[Row]:
    """Choose the pictures to look at: per kind of defect, and of the good ones, the most and least anomalous."""
    kinds: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.score, reverse=True):
        kinds.setdefault(row.sample.defect or row.sample.label or "", []).append(row)
    half = PICTURES_PER_KIND // 2
    chosen: list[Row] = []
    for kind in sorted(kinds):
        of_kind = kinds[kind]
        chosen += of_kind if len(of_kind) <= PICTURES_PER_KIND else [*of_kind[:half], *of_kind[-half:]]
    return chosen


def write_full_evaluation(
    folder: Path, scorer: Scorer, samples: Sequence[Sample], pictures: Pictures, progress: Progress
) -> Evaluation:
    """Evaluate samples and write table, metrics and pictures into a new folder."""
    with storing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    evaluation = evaluate_samples(scorer, samples, progress, pictures=pictures != "none")
    write_evaluation(folder, evaluation)
    if pictures != "none":
        rows = evaluation.rows if pictures == "all" else worth_seeing(evaluation.rows)
        write_overlays(folder / MAPS_FOLDER, scorer, [row.sample for row in rows], progress)
    return evaluation


def copy_to_top(folder: Path, run: Path) -> None:
    """Copy a run's own evaluation, but for its pictures, to the top of the run's folder."""
    for name in (METRICS_FILE, SCORES_FILE, REPORT_FILE):
        with storing(run / name):
            content = (folder / name).read_bytes()
        write_atomically(run / name, content)
