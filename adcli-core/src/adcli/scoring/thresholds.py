"""Setting the thresholds and the colours from the scores of good images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli.data.fingerprint import relative_names
from adcli.data.framing import Framing
from adcli.data.part_rule import PartRule, Scored, join_scored
from adcli.data.samples import Sample
from adcli.data.source import Decoded, ImageSource, Item, items_of
from adcli.errors import DataError, OptionError
from adcli.progress import Progress
from adcli.scoring.calibration import Calibration, Method, find_span, share_confidence
from adcli.scoring.parts import of_one_zone
from adcli.scoring.runtime import Runtime
from adcli.scoring.scorer import score_inputs, score_joined

COLOUR_SAMPLE = 16
"""Fitted images that set the colour scale of a run without calibration images."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPlan:
    """Which images fit and which calibrate.

    Attributes:
        method: how the threshold is set, as :class:`Calibration` names it.
        rate: the false-alarm rate asked for.
        confidence: that the rate is kept with; 0 if on average.
        fit: images the final model is fitted to.
        good: good images that it is not fitted to; empty for folds and without calibration.
        folds: k lists of images, each scored by a model fitted to the others; empty unless k-fold.
        counted: those images of the folds that calibrate.
        value: a threshold the user gave, or None.
        validation: labelled images for ``--threshold f1``.
        chosen_by: how the good images were chosen, if the method does not say it.
        left_out: number of images that were not let calibrate, by reason.
        parts: how parts of several photographs are told; None if each photograph is a part.
        part_of: the part that an image shows, for those that show one together with others.
        defects: known defects that the model learns from; they calibrate nothing.
    """

    method: Method
    rate: float
    confidence: float = 0.0
    fit: Sequence[Item] = ()
    good: Sequence[Item] = ()
    folds: Sequence[Sequence[Item]] = ()
    counted: Sequence[Item] = ()
    value: float | None = None
    validation: Sequence[Sample] = ()
    chosen_by: Method = "none"
    left_out: Mapping[str, int] = field(default_factory=dict)
    parts: PartRule | None = None
    part_of: Mapping[Path, str] = field(default_factory=dict)
    defects: Sequence[Sample] = ()

    def tell_part(self, path: Path) -> str | Path:
        """Return what tells the part that an image shows: its name, or the image if it is all there is of the part."""
        return self.part_of.get(path) or path

    @property
    def calibrating(self) -> Sequence[Item]:
        """The good images whose scores calibrate; those of folds are fitted by the final model."""
        return self.counted if self.folds else self.good

    def names(self) -> dict[Item, str]:
        """Return what the calibration calls those images: their paths below the folder that they have in common."""
        items = self.calibrating
        return dict(zip(items, relative_names(item.path for item in items), strict=True))


TOGETHER = 8
"""Images in a batch that tells what rounding does."""

SAFETY = 4
"""How much further than those that are measured other scores may move."""

STEPS = 8 * float(np.finfo(np.float32).eps)
"""By how much of itself any score may move: a few steps of the numbers that models compute with."""

Stream = tuple[Item, Decoded, float, NDArray[np.float32] | None]
"""What :func:`score_inputs` yields."""


class GoodImage(NamedTuple):
    """What is kept of a good image.

    Attributes:
        item: the image.
        digest: of its file; empty if it has none.
        score: its score.
        maximum: the largest value of its map; None for models without maps.
    """

    item: Item
    digest: str
    score: float
    maximum: float | None


@dataclass
class GoodScores:
    """Scores of good images, and the extremes of their maps; of images with equal files, one counts.

    Of a part, the largest score of its photographs counts, and the largest value of their maps.
    """

    runtime: Runtime
    source: ImageSource
    batch_size: int
    plan: CalibrationPlan
    scored: list[GoodImage] = field(default_factory=list)
    lowest: float = float("inf")
    of_one_zone: bool = False

    @property
    def scores(self) -> list[float]:
        """The scores, in the order of the images or of the parts."""
        return [one.score for one in self.units]

    @property
    def maxima(self) -> list[float]:
        """The largest values of the maps, in the order of the images or of the parts; empty for models without maps."""
        return [one.maximum for one in self.units if one.maximum is not None]

    @property
    def units(self) -> list[GoodImage]:
        """What calibrates: each image, or the joined images of each part, none of which lacks one."""
        return self.scored if self.plan.parts is None else [self._join(images) for images in self._list_complete()]

    @property
    def others(self) -> tuple[str, ...]:
        """Digests of the images of parts that do not stand for their part."""
        if self.plan.parts is None:
            return ()
        shown = {one.item for one in self.units}
        return tuple(one.digest for images in self._list_complete() for one in images if one.item not in shown)

    def _list_complete(self) -> list[list[GoodImage]]:
        assert self.plan.parts is not None
        return [images for images in self._group() if len(images) >= self.plan.parts.views]

    def _group(self) -> list[list[GoodImage]]:
        groups: dict[str | Path, list[GoodImage]] = {}
        for one in self.scored:
            groups.setdefault(self.plan.tell_part(one.item.path), []).append(one)
        return list(groups.values())

    def _join(self, images: Sequence[GoodImage]) -> GoodImage:
        """Return what counts of the images of a part."""
        best = max(images, key=lambda one: one.score)
        # Zones are joined by their images, so that all have the same.
        shown = images[0] if self.of_one_zone else best
        maxima = [one.maximum for one in images if one.maximum is not None]
        return GoodImage(shown.item, shown.digest, best.score, max(maxima, default=None))

    def check_views(self, progress: Progress) -> None:
        """Say how many parts lack photographs and do not calibrate.

        Raises:
            DataError: all do.
        """
        if self.plan.parts is None or not self.scored:
            return
        groups, views = self._group(), self.plan.parts.views
        lacking = [images for images in groups if len(images) < views]
        if len(lacking) == len(groups):
            raise DataError(f"--views {views}: none of the {len(groups)} parts that calibrate has so many photographs.")
        if lacking:
            name = self.plan.tell_part(lacking[0][0].item.path)
            progress.note(
                f"--views {views}: {len(lacking)} of {len(groups)} parts have fewer photographs, and do not calibrate "
                f"(such as {name})."
            )

    def add(self, items: Iterable[Item], runtime: Runtime | None = None) -> None:
        """Score good images and keep what the thresholds and the colours come from."""
        seen = {one.digest for one in self.scored if one.digest}
        for one, lowest in self._keep(self.stream(items, runtime)):
            if one.digest not in seen:
                seen |= {one.digest} if one.digest else set()
                self.scored.append(one)
                self.lowest = min(self.lowest, lowest)

    def _keep(self, stream: Iterable[Stream]) -> Iterator[tuple[GoodImage, float]]:
        """Yield what is kept of each image, and the smallest value of its map."""
        for item, image, score, model_map in stream:
            maximum, lowest = None, float("inf")
            if model_map is not None:
                values = _seen_values(model_map, image, self.source.framing)
                maximum, lowest = float(values.max()), float(values.min())
            yield GoodImage(item, image.digest, score, maximum), lowest

    def measure_rounding(self, *, of_other_models: bool) -> tuple[float, float]:
        """Return how far rounding may move a score, and the largest value of a map, from one batch size to another.

        Some images are scored alone and with others.

        Args:
            of_other_models: whether the scores are those of the models of folds.
        """
        ranked = sorted(self.scored, key=lambda one: one.score)
        some = [ranked[i] for i in sorted({0, len(ranked) // 2, len(ranked) - 1})] if ranked else []
        inputs = list(self.source.stream([one.item for one in some]))
        alone = together = some
        if of_other_models or self.batch_size > 1:
            alone = self._score_again(inputs, 1)
        if of_other_models or min(self.batch_size, len(ranked)) < TOGETHER:
            together = self._score_again((inputs * TOGETHER)[:TOGETHER], TOGETHER)[: len(inputs)]
        moved = [
            (abs(one.score - other.score), abs((one.maximum or 0) - (other.maximum or 0)))
            for one, other in zip(alone, together, strict=True)
        ]
        return (
            _bound_rounding(self.scores, [score for score, _ in moved]),
            _bound_rounding(self.maxima, [maximum for _, maximum in moved]),
        )

    def _score_again(self, inputs: Sequence[tuple[Item, Decoded]], batch_size: int) -> list[GoodImage]:
        return [one for one, _ in self._keep(score_inputs(self.runtime, inputs, batch_size))]

    def stream(self, items: Iterable[Item], runtime: Runtime | None = None) -> Iterator[Stream]:
        """Yield what :func:`score_inputs` does, of the final model unless another runtime is given."""
        return score_inputs(runtime or self.runtime, self.source.stream(items), self.batch_size)


def _seen_values(model_map: NDArray[np.float32], image: Decoded, framing: Framing) -> NDArray[np.float32]:
    """Return the values of a map where the model looked, in one row."""
    if framing.looks_at_all:
        return model_map.ravel()
    placed = framing.place(model_map, image.original_size)
    return placed[~np.isnan(placed)]


def _bound_rounding(values: Sequence[float], moved: Sequence[float]) -> float:
    """Return how far rounding may move such values, of which some moved by so much; 0 if there are none."""
    return max(SAFETY * max(moved), STEPS * max(map(abs, values))) if values else 0.0


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
    zoned = bool(source.framing.zones)
    of_zones = [GoodScores(of_one_zone(runtime), one, batch_size, plan, of_one_zone=zoned) for one in source.of_zones()]
    _score_folds(plan, of_zones, refit, progress)
    for number, good in enumerate(of_zones, 1):
        what = "calibrating" if len(of_zones) == 1 else f"calibrating zone {number} of {len(of_zones)}"
        good.add(progress.track(plan.good, len(plan.good), what))
    of_zones[0].check_views(progress)
    if zoned:
        return _join_zones(plan, of_zones, runtime, source)
    (good,) = of_zones
    return _add_colours(_set_thresholds(plan, good), plan, good)


def _score_folds(
    plan: CalibrationPlan,
    of_zones: Sequence[GoodScores],
    refit: Callable[[Sequence[Item]], Runtime] | None,
    progress: Progress,
) -> None:
    """Score the images of each fold, in each zone, with a model that is fitted to those of the others."""
    counted = set(plan.counted)
    for i, fold in enumerate(plan.folds):
        assert refit is not None
        progress.note(f"fold {i + 1} of {len(plan.folds)}")
        held_out = set(fold)
        fitted = of_one_zone(refit([item for item in plan.fit if item not in held_out]))
        for good in of_zones:
            good.add([item for item in fold if item in counted], fitted)
    if plan.folds:
        for good in of_zones:
            _check_folds(plan, good)


def _add_colours(calibration: Calibration, plan: CalibrationPlan, good: GoodScores) -> Calibration:
    if not good.scored:
        # Without calibration images, the colours come from images that were fitted.
        good.add(plan.fit[:COLOUR_SAMPLE])
    maxima = [one.maximum for one in good.scored if one.maximum is not None]
    return calibration.with_colours(good.lowest, max(maxima)) if maxima else calibration


def _join_zones(
    plan: CalibrationPlan, of_zones: Sequence[GoodScores], runtime: Runtime, source: ImageSource
) -> Calibration:
    """Set the thresholds of each zone at its part of the rate, and join them."""
    names = [zone.name for zone in source.framing.zones]
    # What the user gave, or labelled images say, is of photographs; each zone has what its good images say.
    method = plan.method if plan.value is None and plan.method != "f1" else plan.chosen_by
    part, of_zone = plan.rate / len(names), share_confidence(plan.confidence, len(names))
    shared = replace(plan, method=method, value=None, rate=part, confidence=of_zone, validation=())
    set_ones = [_add_colours(_set_thresholds(shared, good), shared, good) for good in of_zones]
    if set_ones[0].n:
        joined = Calibration.of_zones(dict(zip(names, set_ones, strict=True)), plan.rate, plan.confidence)
    else:
        joined = replace(Calibration.none(plan.rate, plan.confidence), map_range=find_span(set_ones), parts=plan.parts)
    if plan.value is not None:
        return joined.with_value(plan.value)
    if plan.method != "f1":
        return joined
    inputs = source.stream(items_of(sample.image for sample in plan.validation))
    return joined.at_best_f1(
        *join_validation(plan.validation, score_joined(runtime, inputs, of_zones[0].batch_size, joined))
    )


def join_validation(samples: Sequence[Sample], scored: Iterable[tuple[Item, float]]) -> tuple[list[float], list[bool]]:
    """Return the scores of labelled images, joined by part, and whether they have a defect."""
    known = {sample.image: sample for sample in samples}
    rows = ((known[item.path], score) for item, score in scored)
    joined = join_scored(
        (sample.part or sample.image, Scored(score, sample.label == "defect")) for sample, score in rows
    )
    return [one.score for one in joined], [one.is_defect for one in joined]


def _check_folds(plan: CalibrationPlan, good: GoodScores) -> None:
    """Refuse folds whose threshold would make the final model reject the very images that it was fitted to.

    A model finds these no less normal than images it has not seen. If more of them than unseen ones lie above the
    threshold, beyond chance, the scale of scores differs from fit to fit. A likelihood's does if the number of
    components depends on the images.
    """
    folds = Calibration.conformal(good.scores, None, plan.rate, "k-fold")
    assert folds.image_threshold is not None
    fitted = good.stream(plan.fit)
    scores = join_scored((plan.tell_part(item.path), Scored(score, False)) for item, _, score, _ in fitted)
    above = sum(one.score > folds.image_threshold for one in scores)
    if above > 2 * folds.achievable_rate * folds.n + 1:
        unit = "images" if plan.parts is None else "parts"
        raise OptionError(
            f"--calibration {len(plan.folds)}-fold: its threshold would reject {above} of the {len(scores)} {unit} "
            "that the model was fitted to, since this model's scores differ in scale from fit to fit; use a share like "
            "0.2."
        )


def _set_thresholds(plan: CalibrationPlan, good: GoodScores) -> Calibration:
    scores, maxima = good.scores, good.maxima or None
    if plan.method == "f1":
        stream = good.stream([Item(sample.image) for sample in plan.validation])
        validated, labels = join_validation(plan.validation, ((item, score) for item, _, score, _ in stream))
        calibration = Calibration.f1_optimal(validated, labels, scores, maxima, plan.rate, plan.confidence)
    elif plan.value is not None:
        calibration = Calibration.at_value(plan.value, scores, maxima, plan.rate, plan.confidence)
    elif scores:
        calibration = Calibration.conformal(scores, maxima, plan.rate, plan.method, plan.confidence)
    else:
        return replace(Calibration.none(plan.rate, plan.confidence), parts=plan.parts)
    return _describe_images(calibration, plan, good)


def _describe_images(calibration: Calibration, plan: CalibrationPlan, good: GoodScores) -> Calibration:
    """Return the calibration with the names of its images, above what rounding does."""
    names = plan.names()
    named = calibration.of_images([(one.score, names[one.item], one.digest) for one in good.units])
    named = replace(named, parts=plan.parts, others=good.others)
    chosen_by = plan.chosen_by if calibration.chosen_by == "none" else calibration.chosen_by
    rounding = good.measure_rounding(of_other_models=bool(plan.folds))
    return replace(named, chosen_by=chosen_by).above_rounding(*rounding)
