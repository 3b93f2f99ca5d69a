"""Choosing the good images that set the threshold, and setting it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adcli.data.samples import Sample
from adcli.data.source import ImageSource
from adcli.errors import OptionError
from adcli.progress import Progress
from adcli.scoring.calibration import Calibration, Method
from adcli.scoring.runtime import Runtime
from adcli.scoring.scorer import score_images

COLOUR_SAMPLE = 16
"""Fitted images that set the colour scale of a run without calibration images."""


@dataclass(frozen=True)
class CalibrationPlan:
    """Which images fit and which calibrate.

    Attributes:
        fit: images the final model is fitted to.
        good: good images that it is not fitted to; empty for folds and without calibration.
        folds: k lists of images that each are scored by a model fitted to the others; empty unless k-fold.
        method: how the threshold is set, as :class:`Calibration` names it.
        rate: the false-alarm rate asked for.
        value: a threshold the user gave, or None.
        validation: labelled images for ``--threshold f1``.
    """

    fit: Sequence[Path]
    good: Sequence[Path]
    folds: Sequence[Sequence[Path]]
    method: Method
    rate: float
    value: float | None = None
    validation: Sequence[Sample] = ()


@dataclass
class _Collected:
    """Scores of good images, and what their maps say in a few numbers."""

    scores: list[float]
    maxima: list[float]
    lowest: float = float("inf")

    def add(self, runtime: Runtime, images: Iterable[Path], source: ImageSource, batch_size: int) -> None:
        for image in score_images(runtime, images, source, batch_size=batch_size):
            self.scores.append(image.score)
            values = image.values()
            if values is not None:
                self.maxima.append(float(values.max()))
                self.lowest = min(self.lowest, float(values.min()))


def calibrate(
    plan: CalibrationPlan,
    runtime: Runtime,
    source: ImageSource,
    *,
    refit: Callable[[Sequence[Path]], Runtime] | None = None,
    batch_size: int,
    progress: Progress,
) -> tuple[Calibration, tuple[float, float]]:
    """Score the good images of the plan and set the thresholds; also return the ends of the pictures' colour scale.

    Args:
        plan: which images to score.
        runtime: scores with the fitted model.
        source: decodes images.
        refit: fits another model to some of the images; needed for folds alone.
        batch_size: images computed at a time.
        progress: receives progress and notes.

    Raises:
        OptionError: the scores of the folds' models are no measure of the final model's.
    """
    good = _Collected([], [])
    for i, fold in enumerate(plan.folds):
        assert refit is not None
        progress.note(f"fold {i + 1} of {len(plan.folds)}")
        held_out = set(fold)
        fitted = refit([path for path in plan.fit if path not in held_out])
        good.add(fitted, fold, source, batch_size)
    if plan.folds:
        _check_folds(plan, good.scores, runtime, source, batch_size)
    tracked = progress.track(plan.good, len(plan.good), "calibrating")
    good.add(runtime, tracked, source, batch_size)
    calibration = _thresholds(plan, good, runtime, source, batch_size)
    if not good.maxima:
        good.add(runtime, plan.fit[:COLOUR_SAMPLE], source, batch_size)
    return calibration, _colour_range(good, calibration.pixel_threshold)


def _check_folds(
    plan: CalibrationPlan, scores: Sequence[float], runtime: Runtime, source: ImageSource, batch_size: int
) -> None:
    """Refuse folds by whose threshold the final model would reject the very images that it was fitted to.

    A model finds these no less normal than images it has not seen. More of them above the threshold than unseen ones
    may be, with room for chance, mean that the scale of scores differs from fit to fit: a likelihood's does where the
    number of components follows the images.
    """
    folds = Calibration.conformal(scores, None, plan.rate, "k-fold")
    assert folds.image_threshold is not None
    fitted = score_images(runtime, plan.fit, source, batch_size=batch_size)
    above = sum(image.score > folds.image_threshold for image in fitted)
    if above > 2 * folds.achievable_rate * folds.n + 1:
        raise OptionError(
            f"--calibration {len(plan.folds)}-fold: its threshold would reject {above} of the {folds.n} images that "
            "the model was fitted to: this model's scores differ in scale from fit to fit; use a share such as 0.2."
        )


def _thresholds(
    plan: CalibrationPlan, good: _Collected, runtime: Runtime, source: ImageSource, batch_size: int
) -> Calibration:
    scores, maxima = np.array(good.scores), np.array(good.maxima) if good.maxima else None
    if plan.method == "f1":
        defective = {sample.image for sample in plan.validation if sample.label == "defect"}
        paths = [sample.image for sample in plan.validation]
        scored = list(score_images(runtime, paths, source, batch_size=batch_size))
        labels = np.array([image.path in defective for image in scored])
        return Calibration.f1_optimal(np.array([image.score for image in scored]), labels, scores, maxima, plan.rate)
    if plan.value is not None:
        return Calibration.at_value(plan.value, scores, maxima, plan.rate)
    return Calibration.conformal(scores, maxima, plan.rate, plan.method) if len(scores) else Calibration.none(plan.rate)


def _colour_range(good: _Collected, pixel_threshold: float | None) -> tuple[float, float]:
    """Return the ends of the colour scale: from the lowest value on good images, with the threshold in the middle."""
    if not good.maxima:
        return 0.0, 1.0
    middle = max(good.maxima) if pixel_threshold is None else pixel_threshold
    return good.lowest, good.lowest + max(2 * (middle - good.lowest), 1e-12)
