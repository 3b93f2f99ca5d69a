"""One pass over labelled photographs: metrics, the table of scores, and the pictures of the report."""

import csv
import io
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli._changes import inside
from adcli._files import storing, write_atomically
from adcli.data.decoding import read_mask
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample
from adcli.metrics import PixelMetrics, summarise
from adcli.progress import Progress
from adcli.report.gallery import Gallery, Shown
from adcli.runs.find import check_name
from adcli.scoring.prediction import Prediction
from adcli.scoring.scorer import Scorer

METRICS_FILE = "metrics.json"
SCORES_FILE = "scores.csv"
REPORT_FILE = "report.html"
EVALUATIONS = "evaluations"
OWN = "test"
"""The evaluation of the data set that a run was trained on."""


class Tested(NamedTuple):
    """A sample and what was said of it; its prediction keeps neither pixels nor maps."""

    sample: Sample
    prediction: Prediction


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation.

    Attributes:
        tested: the samples that could be read, in order, with their predictions.
        metrics: what ``metrics.json`` holds; empty if no sample has a label.
        skipped: why each of the other images was left out, by name.
        shown: what the report shows, with pictures.
    """

    tested: Sequence[Tested]
    metrics: dict[str, Any]
    skipped: Mapping[str, str] = field(default_factory=dict)
    shown: Sequence[Shown] = ()


def evaluate_samples(scorer: Scorer, samples: Sequence[Sample], progress: Progress) -> Evaluation:
    """Score samples once, in bounded memory: metrics, table and pictures take what they need as each image passes."""
    start = time.perf_counter()
    by_path = {sample.image: sample for sample in samples}
    pixels, tested, gallery = PixelMetrics(), list[Tested](), Gallery()
    predictions = scorer(sample.image for sample in samples)
    for prediction in progress.track(predictions, len(samples), "evaluating"):
        assert prediction.path is not None
        sample = by_path[prediction.path]
        mask = None if sample.mask is None else read_mask(sample.mask)
        _count_pixels(pixels, prediction, sample, mask)
        gallery.add(prediction, sample, mask)
        prediction.forget_map()
        tested.append(Tested(sample, prediction))
    seconds = time.perf_counter() - start
    metrics = _summarise(tested, scorer.calibration.image_threshold, pixels)
    metrics["timings"] = {"seconds": round(seconds, 3), "images_per_second": round(len(tested) / seconds, 2)}
    return Evaluation(tested, metrics, dict(scorer.source.skipped), gallery.shown())


def _count_pixels(pixels: PixelMetrics, prediction: Prediction, sample: Sample, mask: NDArray[np.bool_] | None) -> None:
    """Count an image's pixels at its mask's own resolution; a defect without a mask says nothing about pixels."""
    if prediction.model_map is None or (mask is None and sample.label != "good"):
        return
    truth = np.zeros(prediction.size, bool) if mask is None else mask
    anomaly_map = prediction.map_at((truth.shape[0], truth.shape[1]))
    assert anomaly_map is not None
    seen = None if prediction.framing.is_plain else ~np.isnan(anomaly_map)
    pixels.update(anomaly_map, truth, sample.defect, seen)


def _summarise(tested: Sequence[Tested], threshold: float | None, pixels: PixelMetrics) -> dict[str, Any]:
    labelled = [item for item in tested if item.sample.label is not None]
    if not labelled:
        return {}
    return summarise(
        np.array([item.prediction.score for item in labelled]),
        np.array([item.sample.label == "defect" for item in labelled]),
        [item.sample.defect for item in labelled],
        threshold,
        pixels,
    )


def evaluate_into(folder: Path, scorer: Scorer, samples: Sequence[Sample], progress: Progress) -> Evaluation:
    """Evaluate samples and write ``metrics.json`` and ``scores.csv`` into a folder."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate_samples(scorer, samples, progress)
    write_atomically(folder / METRICS_FILE, json.dumps(evaluation.metrics, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", "defect", "score", "p_value", "verdict"])
    names = relative_names(item.sample.image for item in evaluation.tested)
    for name, (sample, said) in zip(names, evaluation.tested, strict=True):
        writer.writerow([name, sample.label, sample.defect, repr(said.score), said.p_value, said.verdict])
    write_atomically(folder / SCORES_FILE, text.getvalue())
    return evaluation


def name_folder(run: Path, name: str) -> Path:
    """Return the folder of an evaluation of a run, which lies in the run whatever its name.

    Raises:
        OptionError: the name is not that of a folder.
        RunError: a link stands in its place.
    """
    return inside(run, f"{EVALUATIONS}/{check_name(name, '--name')}")


def make_name(text: str) -> str:
    """Return a name of an evaluation for data of any name."""
    return re.sub(r"[^\w.-]+", "-", text)[:60].strip("-.") or "data"


def copy_to_top(folder: Path, top: Path) -> None:
    """Copy a run's own evaluation to where the run's files are."""
    for name in (METRICS_FILE, SCORES_FILE, REPORT_FILE):
        with storing(top / name):
            content = (folder / name).read_bytes()
        write_atomically(top / name, content)
