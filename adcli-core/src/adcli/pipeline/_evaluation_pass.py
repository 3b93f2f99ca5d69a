"""One pass over labelled photographs: metrics, the table of scores, and the pictures of the report."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli._changes import inside
from adcli._files import storing, write_atomically
from adcli._frames import TEXT
from adcli._showing import count, introduce, join_blocks, say_number
from adcli._spelling import spell
from adcli.data.decoding import Size, judge_mask, read_mask
from adcli.data.fingerprint import relative_names
from adcli.data.headers import compare_shapes
from adcli.data.part_rule import Scored, join_scored
from adcli.data.samples import Sample, say_label
from adcli.errors import DataError
from adcli.metrics import summarise
from adcli.metrics.pixels import PixelMetrics
from adcli.metrics.words import known as describe_known
from adcli.metrics.words import say_auroc
from adcli.pipeline._seen_images import KnownImages
from adcli.progress import Progress
from adcli.report.gallery import Gallery, Shown
from adcli.report.notebook import show_metrics, show_some
from adcli.runs.find import check_name
from adcli.runs.metrics import METRICS_FILE as METRICS_FILE
from adcli.runs.scores import SCORES_FILE as SCORES_FILE
from adcli.scoring.part_verdicts import PARTS_FILE, PartVerdicts, part_lines
from adcli.scoring.prediction import Prediction
from adcli.scoring.scorer import Scorer
from adcli.scoring.verdict import COLUMNS, VerdictRecord, csv_line
from adcli.scoring.verdict_frame import frame_records

if TYPE_CHECKING:
    from pandas import DataFrame

KNOWN = ("label", "defect")
"""What its rows have beside the verdict record."""

REPORT_FILE = "report.html"
EVALUATIONS = "evaluations"
KNOWING_NONE = KnownImages()

OWN = "test"
"""The evaluation of the data set that a run was trained on."""


class Tested(NamedTuple):
    """A sample and what was said of it; its prediction keeps neither pixels nor maps."""

    sample: Sample
    prediction: Prediction

    def __repr__(self) -> str:
        said = self.prediction.verdict or "no verdict"
        score = say_number("score", self.prediction.score)
        return introduce(self, self.sample.image, say_label(self.sample), f"said: {said}", score)


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation.

    Attributes:
        tested: the samples that could be read, in order, with their predictions.
        metrics: what ``metrics.json`` holds; without rates if no sample has a label.
        shown: what the report shows, with pictures.
        unreadable: the samples that could not be read, in order; the metrics leave them out.
        without_mask: what is wrong with masks that could not be read, by their image; their images count in all
            metrics but those of pixels.
    """

    tested: Sequence[Tested]
    metrics: dict[str, Any]
    shown: Sequence[Shown] = ()
    unreadable: Sequence[Tested] = ()
    without_mask: Mapping[Path, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        unread = f"{len(self.unreadable)} unreadable" if self.unreadable else ""
        facts = say_auroc(self.metrics), say_auroc(self.metrics, "pixel"), unread
        return introduce(self, "", count(len(self.tested), "image"), *facts)

    def _repr_html_(self) -> str:
        return join_blocks(repr(self)[1:-1], show_metrics(self.metrics), show_some(self.shown))

    def to_pandas(self) -> "DataFrame":
        """Return a row for each sample, as in ``scores.csv``, those that could not be read at the end.

        Raises:
            PluginError: pandas is not installed.
        """
        samples = [item.sample for item in (*self.tested, *self.unreadable)]
        rows = ((record, {"label": sample.label, "defect": sample.defect}) for record, sample in _record(self, samples))
        return frame_records(rows, dict.fromkeys(KNOWN, TEXT))


def evaluate_samples(
    scorer: Scorer, samples: Sequence[Sample], progress: Progress, known: KnownImages = KNOWING_NONE
) -> Evaluation:
    """Score samples once, in bounded memory: metrics, table and pictures take what they need as each image passes.

    An image or a mask that cannot be read costs that sample, which is said, and nothing else.
    """
    start = time.perf_counter()
    pixels, tested, unreadable, gallery = PixelMetrics(), list[Tested](), list[Tested](), Gallery()
    without_mask: dict[Path, str] = {}
    has_parts = scorer.calibration.parts is not None
    predictions = progress.track(scorer(sample.image for sample in samples), len(samples), "evaluating")
    for sample, prediction in zip(samples, predictions, strict=True):
        if has_parts and sample.part:
            prediction.part = sample.part
        if prediction.problem:
            progress.note(f"unreadable: {prediction.problem}")
            unreadable.append(Tested(sample, prediction))
            continue
        mask, problem = read_sample_mask(sample, prediction.size)
        reason = None if mask is None else judge_mask(mask)
        if reason is not None:
            scorer.source.left_out.add(reason, sample.mask)
        if problem:
            progress.note(f"unreadable: {sample.mask}: {problem}")
            without_mask[sample.image] = f"the mask: {problem}"
        _count_and_draw(pixels, gallery, prediction, sample, mask)
        prediction.forget_map()
        tested.append(Tested(sample, prediction))
    seconds = time.perf_counter() - start
    metrics = _summarise(tested, scorer.calibration.image_threshold, pixels)
    names = relative_names(item.sample.image for item in tested)
    of_known = known.count([(name, item.prediction.digest) for name, item in zip(names, tested, strict=True)])
    if of_known:
        metrics["known"] = of_known
        progress.note(f"warning: {describe_known(metrics)}")
    metrics["unreadable"] = {"images": len(unreadable), "masks": len(without_mask)}
    metrics["timings"] = {"seconds": round(seconds, 3), "images_per_second": round(len(tested) / seconds, 2)}
    return Evaluation(tested, metrics, gallery.shown(), unreadable, without_mask)


def read_sample_mask(sample: Sample, size: Size) -> tuple[NDArray[np.bool_] | None, str]:
    """Return a sample's mask, if it has one that can be used, and else what is wrong with it, without its path."""
    if sample.mask is None:
        return None, ""
    try:
        mask = read_mask(sample.mask)
    except DataError as error:
        return None, error.message.removeprefix(f"{sample.mask}: ").replace(str(sample.mask), sample.mask.name)
    problem = compare_shapes(sample, (mask.shape[0], mask.shape[1]), size)
    return (mask, "") if problem is None else (None, problem.removeprefix(f"{sample.mask}: "))


def _count_and_draw(
    pixels: PixelMetrics,
    gallery: Gallery,
    prediction: Prediction,
    sample: Sample,
    mask: NDArray[np.bool_] | None,
) -> None:
    """Count an image's pixels while, on another core, its picture is drawn."""
    with ThreadPoolExecutor(1) as other:
        drawn = other.submit(gallery.add, prediction, sample, mask)
        _count_pixels(pixels, prediction, sample, mask)
    drawn.result()


def _count_pixels(pixels: PixelMetrics, prediction: Prediction, sample: Sample, mask: NDArray[np.bool_] | None) -> None:
    """Count an image's pixels at its mask's own resolution; a defect without a mask says nothing about pixels."""
    if prediction.model_map is None or (mask is None and sample.label != "good"):
        return
    truth = np.zeros(prediction.size, bool) if mask is None else mask
    anomaly_map = prediction.rows_at((truth.shape[0], truth.shape[1]))
    assert anomaly_map is not None
    seen = None if prediction.framing.is_plain else ~np.isnan(anomaly_map[:])
    pixels.update(anomaly_map, truth, sample.defect, seen)


def _summarise(tested: Sequence[Tested], threshold: float | None, pixels: PixelMetrics) -> dict[str, Any]:
    scored = join_tested(tested)
    if not scored:
        return {}
    summary = summarise(
        np.array([one.score for one in scored]),
        np.array([one.is_defect for one in scored]),
        [one.kind for one in scored],
        threshold,
        pixels,
    )
    return {**summary, **({"unit": "part"} if show_parts(tested) else {})}


def join_tested(tested: Sequence[Tested]) -> list[Scored]:
    """Return what is known and said of each labelled part: of each photograph, if they show none together."""
    labelled = [(sample, said) for sample, said in tested if sample.label is not None]
    return join_scored(
        (said.part or sample.image, Scored(said.score, sample.label == "defect", sample.defect))
        for sample, said in labelled
    )


def show_parts(tested: Sequence[Tested]) -> bool:
    """Tell whether photographs say which part they show."""
    return any(item.prediction.part for item in tested)


def evaluate_into(
    folder: Path, scorer: Scorer, samples: Sequence[Sample], progress: Progress, known: KnownImages = KNOWING_NONE
) -> Evaluation:
    """Evaluate samples and write ``metrics.json`` and ``scores.csv`` into a folder.

    Args:
        folder: where to, made if need be.
        scorer: of the run.
        samples: labelled images.
        progress: receives progress, notes, and a warning of samples that the run knows.
        known: images that the run knows.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate_samples(scorer, samples, progress, known)
    write_atomically(folder / METRICS_FILE, json.dumps(evaluation.metrics, indent=2) + "\n")
    lines = "".join(_score_lines(evaluation, samples))
    write_atomically(folder / SCORES_FILE, lines.encode())
    if show_parts(evaluation.tested):
        parts = PartVerdicts(0 if scorer.calibration.parts is None else scorer.calibration.parts.views)
        for _, prediction in (*evaluation.tested, *evaluation.unreadable):
            parts.add(VerdictRecord.of(prediction))
        write_atomically(folder / PARTS_FILE, "".join(part_lines(parts.records())).encode())
    return evaluation


def _score_lines(evaluation: Evaluation, samples: Sequence[Sample]) -> Iterator[str]:
    """Yield the lines of ``scores.csv``: the verdict record of each sample, and what is known of it."""
    yield csv_line([*COLUMNS, *KNOWN])
    for record, sample in _record(evaluation, samples):
        yield csv_line([*record.to_cells(), sample.label, spell(sample.defect or "")])


def _record(evaluation: Evaluation, samples: Sequence[Sample]) -> Iterator[tuple[VerdictRecord, Sample]]:
    """Yield the verdict record of each sample."""
    answered = {id(item.sample): item.prediction for item in (*evaluation.tested, *evaluation.unreadable)}
    for sample, name in zip(samples, relative_names(sample.image for sample in samples), strict=True):
        said = answered[id(sample)]
        of_mask = {"problem": evaluation.without_mask[sample.image]} if sample.image in evaluation.without_mask else {}
        yield VerdictRecord.of(said, image=name, **of_mask), sample


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
    parts = [PARTS_FILE] if (folder / PARTS_FILE).exists() else []
    for name in (METRICS_FILE, SCORES_FILE, REPORT_FILE, *parts):
        with storing(top / name):
            content = (folder / name).read_bytes()
        write_atomically(top / name, content)
