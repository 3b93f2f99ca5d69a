"""Evaluating with a finished run, and predicting with a run or an export. Nothing here imports torch."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adcli.data.folder import images_in
from adcli.errors import DataError, RunError
from adcli.exports import Export
from adcli.pipeline.datasets import load_data
from adcli.pipeline.evaluation import (
    EVALUATIONS,
    METRICS_FILE,
    OWN,
    REPORT_FILE,
    Evaluation,
    Pictures,
    copy_to_top,
    write_full_evaluation,
)
from adcli.pipeline.opening import open_scorer
from adcli.pipeline.pictures import write_overlay
from adcli.pipeline.reporting import shows, write_report
from adcli.pipeline.scoring import ScoredImage, Scorer
from adcli.progress import Progress, Silent
from adcli.report import Region, regions
from adcli.run import Run, publish, storing, write_atomically

ORIGIN_FILE = "evaluation.json"


def evaluate(
    run: Run,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    *,
    scorer: Scorer | None = None,
    name: str | None = None,
    pictures: Pictures = "some",
    progress: Progress | None = None,
) -> tuple[Evaluation, Path]:
    """Score labelled images with a finished run; returns the outcome and the folder it was written to.

    Args:
        run: a finished run.
        data: what ``--data`` takes; the data set the run was trained on when None.
        data_options: options of the data set.
        scorer: the run's restored model, where the caller has it; see :func:`open_scorer`.
        name: the evaluation's folder under ``evaluations``; the data set's name when None.
        pictures: whether to draw a choice of pictures, all, or none.
        progress: receives progress and notes.

    Raises:
        DataError: the data set has nothing to test on.
    """
    progress = progress or Silent()
    options = dict(run.settings["data_options"]) if data is None else {}
    loaded = load_data(data if data is not None else run.settings["data"], options | dict(data_options or {}))
    progress.note(loaded.splits.description)
    if not loaded.splits.test:
        raise DataError(f"{loaded.reference or 'the data'}: has no test images; evaluation needs some.")
    scorer = scorer or open_scorer(run)
    folder = run.path / EVALUATIONS / (name or (OWN if data is None else loaded.name))
    temporary = folder.with_name(f".{folder.name}.partial")
    evaluation = write_full_evaluation(temporary, scorer, loaded.splits.test, pictures, progress)
    write_report(temporary / REPORT_FILE, run, evaluation, loaded.name)
    given = {key: loaded.options[key] for key in data_options or {}}
    origin = {"data": loaded.reference if data is not None else None, "data_options": given}
    write_atomically(temporary / ORIGIN_FILE, json.dumps(origin, default=str) + "\n")
    publish(temporary, folder)
    if folder.name == OWN and data is None and not data_options:
        copy_to_top(folder, run.path)
    return evaluation, folder


def report(
    run: Run,
    name: str | None = None,
    *,
    scorer: Callable[[Run], Scorer] = open_scorer,
    progress: Progress | None = None,
) -> Path:
    """Return the page of a run; where there is none, or it shows other thresholds than the run has now, it is made.

    For that, its test images are scored again, from where they were; without any, it shows what the threshold promises.

    Args:
        run: a finished run.
        name: an evaluation, for its page; the run's own when None.
        scorer: restores the run's model, where that is needed; for other than the default device or batch size.
        progress: receives progress and notes.

    Raises:
        RunError: there is no such evaluation, or it does not say what it was made from.
        DataError: its images are gone.
    """
    folder = run.path if name is None else run.path / EVALUATIONS / name
    if name is not None and not folder.is_dir():
        raise RunError(f"{folder}: no such evaluation; make it with 'adcli evaluate RUN --data REF --name {name}'.")
    page, progress = folder / REPORT_FILE, progress or Silent()
    if shows(page, run.calibration):
        return page
    progress.note(f"{page}: {'shows other thresholds than the run has now' if page.exists() else 'missing'}; making it")
    if name is not None:
        data, options = _origin(folder)
        evaluate(run, data, options, scorer=scorer(run), name=name, progress=progress)
    elif (run.path / METRICS_FILE).is_file():
        evaluate(run, scorer=scorer(run), progress=progress)
    else:
        write_report(page, run, None)
    return page


def _origin(folder: Path) -> tuple[str | None, Mapping[str, Any]]:
    """Return the data that an evaluation was made from, as ``--data`` takes it, and its options."""
    if folder.name == OWN and not (folder / ORIGIN_FILE).exists():
        return None, {}
    try:
        origin = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        return origin["data"], origin["data_options"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"{folder}: does not say what it was made from; evaluate it again with 'adcli evaluate RUN --data REF "
            f"--name {folder.name}'."
        ) from None


@dataclass(frozen=True)
class Prediction:
    """What a run or an export says of one image.

    Attributes:
        scored: score, map and size.
        p_value: share of good images that score at least as high; None without calibration.
        is_defect: the verdict; None without a threshold.
        regions: where the map lies above the pixel threshold, at the image's own resolution; empty for good images.
    """

    scored: ScoredImage
    p_value: float | None
    is_defect: bool | None
    regions: Sequence[Region] = ()

    @property
    def path(self) -> Path:
        """The image file."""
        return self.scored.path

    @property
    def score(self) -> float:
        """The image score; higher is more anomalous."""
        return self.scored.score

    @property
    def map(self) -> NDArray[np.float32] | None:
        """The anomaly map at the image's own resolution, (H, W), or None for a model that only classifies.

        It is NaN where the image was not looked at: outside of the run's region and crop, and in its ignored areas.
        """
        return self.scored.map_at(self.scored.original_size)


def predict(
    run: Run | Export | Scorer, paths: str | Path | Iterable[str | Path], *, progress: Progress | None = None
) -> Iterator[Prediction]:
    """Yield what a run or an export says of images and of all images in folders, as they are scored.

    Args:
        run: a finished run or an export, or its scorer where other than the default device, batch size or threads are
            wanted.
        paths: image files, folders and patterns, or one of them; of an iterator, each is taken when it is needed.
        progress: receives progress.
    """
    scorer = run if isinstance(run, Scorer) else open_scorer(run)
    if isinstance(paths, (str, Path)):
        paths = [paths]
    images: Iterable[Path] = images_in(Path(path) for path in paths)
    if isinstance(paths, Sequence):
        images = list(images)
    count = len(images) if isinstance(images, list) else 0
    for scored in (progress or Silent()).track(scorer.scores(images), count, "predicting"):
        (p_value,), (is_defect,) = scorer.judge([scored.score])
        yield Prediction(scored, p_value, is_defect, _found(scored, scorer) if is_defect else ())


def _found(scored: ScoredImage, scorer: Scorer) -> Sequence[Region]:
    anomaly_map, threshold = scored.map_at(scored.original_size), scorer.calibration.pixel_threshold
    return () if anomaly_map is None or threshold is None else regions(anomaly_map, threshold)


def draw(predictions: Iterable[Prediction], scorer: Scorer, folder: Path) -> Iterator[Prediction]:
    """Write a picture of each prediction into a folder and pass the prediction on.

    Pictures are named after their images; of images of the same name in different folders, later ones get a number.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    taken: dict[str, int] = {}
    for prediction in predictions:
        name = prediction.path.name
        taken[name] = taken.get(name, 0) + 1
        suffix = "" if taken[name] == 1 else f"-{taken[name]}"
        write_overlay(folder / f"{name}{suffix}.png", prediction.scored, scorer)
        yield prediction
