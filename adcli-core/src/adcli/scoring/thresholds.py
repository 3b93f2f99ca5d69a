"""Setting the thresholds and the colours from the scores of good images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adcli.data.framing import Framing
from adcli.data.samples import Sample
from adcli.data.source import Decoded, ImageSource, Item
from adcli.errors import OptionError
from adcli.progress import Progress
from adcli.scoring.calibration import Calibration, Method
from adcli.scoring.runtime import Runtime
from adcli.scoring.scorer import score_inputs

COLOUR_SAMPLE = 16
"""Fitted images that set the colour scale of a run without calibration images."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """Which images fit and which calibrate.

    Attributes:
        method: how the threshold is set, as :class:`Calibration` names it.
        rate: the false-alarm rate asked for.
        fit: images the final model is fitted to.
        good: good images that it is not fitted to; empty for folds and without calibration.
        folds: k lists of images, each scored by a model fitted to the others; empty unless k-fold.
        value: a threshold the user gave, or None.
        validation: labelled images for ``--threshold f1``.
    """

    method: Method
    rate: float
    fit: Sequence[Item] = ()
    good: Sequence[Item] = ()
    folds: Sequence[Sequence[Item]] = ()
    value: float | None = None
    validation: Sequence[Sample] = ()


@dataclass
class GoodScores:
    """Scores of good images, and the extremes of their maps."""

    runtime: Runtime
    source: ImageSource
    batch_size: int
    scores: list[float] = field(default_factory=list)
    maxima: list[float] = field(default_factory=list)
    lowest: float = float("inf")

    def add(self, items: Iterable[Item], runtime: Runtime | None = None) -> None:
        """Score good images and keep what the thresholds and the colours come from."""
        for _, image, score, model_map in self.stream(items, runtime):
            self.scores.append(score)
            if model_map is not None:
                seen = _seen_values(model_map, image, self.source.framing)
                self.maxima.append(float(seen.max()))
                self.lowest = min(self.lowest, float(seen.min()))

    def stream(
        self, items: Iterable[Item], runtime: Runtime | None = None
    ) -> Iterator[tuple[Item, Decoded, float, NDArray[np.float32] | None]]:
        """Yield what :func:`score_inputs` does, of the final model unless another runtime is given."""
        return score_inputs(runtime or self.runtime, self.source.stream(items), self.batch_size)


def _seen_values(model_map: NDArray[np.float32], image: Decoded, framing: Framing) -> NDArray[np.float32]:
    """Return the values of a map where the model looked, in one row."""
    if framing.looks_at_all:
        return model_map.ravel()
    placed = framing.place(model_map, image.original_size)
    return placed[~np.isnan(placed)]


def calibrate(
    plan: CalibrationPlan,
    runtime: Runtime,
    source: ImageSource,
    *,
    refit: Callable[[Sequence[Item]], Runtime] | None = None,
    batch_size: int,
    progress: Progress,
) -> Calibration:
    """Score the good images of the plan, and set the thresholds and the colour scale of the maps.

    Args:
        plan: which images to score.
        runtime: scores with the fitted model.
        source: decodes images.
        refit: fits another model to some of the images; needed only for folds.
        batch_size: images computed at a time.
        progress: receives progress and notes.

    Raises:
        OptionError: the scores of the folds' models do not measure the final model's.
    """
    good = GoodScores(runtime, source, batch_size)
    for i, fold in enumerate(plan.folds):
        assert refit is not None
        progress.note(f"fold {i + 1} of {len(plan.folds)}")
        held_out = set(fold)
        good.add(fold, refit([item for item in plan.fit if item not in held_out]))
    if plan.folds:
        _check_folds(plan, good)
    good.add(progress.track(plan.good, len(plan.good), "calibrating"))
    calibration = _set_thresholds(plan, good)
    if not good.maxima:
        # Without calibration images, the colours come from images that were fitted.
        good.add(plan.fit[:COLOUR_SAMPLE])
    return calibration.with_colours(good.lowest, max(good.maxima)) if good.maxima else calibration


def _check_folds(plan: CalibrationPlan, good: GoodScores) -> None:
    """Refuse folds whose threshold would make the final model reject the very images that it was fitted to.

    A model finds these no less normal than images it has not seen. If more of them than unseen ones lie above the
    threshold, beyond chance, the scale of scores differs from fit to fit. A likelihood's does if the number of
    components depends on the images.
    """
    folds = Calibration.conformal(good.scores, None, plan.rate, "k-fold")
    assert folds.image_threshold is not None
    above = sum(score > folds.image_threshold for _, _, score, _ in good.stream(plan.fit))
    if above > 2 * folds.achievable_rate * folds.n + 1:
        raise OptionError(
            f"--calibration {len(plan.folds)}-fold: its threshold would reject {above} of the {folds.n} images that "
            "the model was fitted to, since this model's scores differ in scale from fit to fit; use a share like 0.2."
        )


def _set_thresholds(plan: CalibrationPlan, good: GoodScores) -> Calibration:
    scores, maxima = np.array(good.scores), np.array(good.maxima) if good.maxima else None
    if plan.method == "f1":
        defective = {sample.image for sample in plan.validation if sample.label == "defect"}
        items = [Item(sample.image) for sample in plan.validation]
        scored = [(item.path in defective, score) for item, _, score, _ in good.stream(items)]
        labels, validated = np.array([label for label, _ in scored]), np.array([score for _, score in scored])
        return Calibration.f1_optimal(validated, labels, scores, maxima, plan.rate)
    if plan.value is not None:
        return Calibration.at_value(plan.value, scores, maxima, plan.rate)
    return Calibration.conformal(scores, maxima, plan.rate, plan.method) if len(scores) else Calibration.none(plan.rate)
