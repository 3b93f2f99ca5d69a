"""Evaluating with a finished run, and predicting with a run or an export. Nothing here imports torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli._files import storing
from adcli.data.folder import images_in
from adcli.exports.export import Export
from adcli.pipeline._open import open_scorer
from adcli.progress import Progress, Silent
from adcli.report import Region, regions
from adcli.report.pictures import write_overlay
from adcli.runs.run import Run
from adcli.scoring.scorer import ScoredImage, Scorer


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
