"""Which good images fit the model and which calibrate it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.data.folder import images_in, labelled_images
from adcli.data.samples import Sample, Splits
from adcli.data.source import Item, items_of
from adcli.errors import DataError, OptionError
from adcli.pipeline.train_settings import TrainSettings, parse_calibration, parse_threshold
from adcli.scoring.thresholds import CalibrationPlan
from adcli.specs import ModelSpec


def plan_calibration(
    settings: TrainSettings, spec: ModelSpec, splits: Splits, items: Sequence[Item]
) -> CalibrationPlan:
    """Decide which images calibrate.

    Raises:
        DataError: too few images to hold some out, or no labelled validation images for ``--threshold f1``.
        OptionError: folds for a model that trains for long.
    """
    chosen = parse_calibration(settings.calibration)
    plan = CalibrationPlan(method="none", rate=settings.false_alarm_rate, fit=items)
    if isinstance(chosen, float):
        fit, good = _hold_out(items, chosen, settings.seed)
        plan = replace(plan, method="held-out", fit=fit, good=good)
    elif isinstance(chosen, int):
        plan = replace(plan, method="k-fold", folds=_fold(items, chosen, settings.seed, spec))
    elif chosen is not None:
        plan = replace(plan, method="folder", good=items_of(images_in([chosen])))
    if not plan.fit:
        raise DataError("no good images to fit on are left.")
    if settings.threshold == "f1":
        return replace(plan, method="f1", validation=_validation_samples(settings, splits))
    if settings.threshold is not None:
        return replace(plan, method="value", value=parse_threshold(settings.threshold))
    return plan


def _hold_out(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    if len(items) < 2:
        raise DataError(
            f"{len(items)} good image(s): too few to hold some out for calibration; add images, "
            "or use --calibration none for no verdicts."
        )
    count = min(max(round(share * len(items)), 1), len(items) - 1)
    held_out = set(_shuffle(len(items), seed)[:count].tolist())
    return (
        [item for i, item in enumerate(items) if i not in held_out],
        [item for i, item in enumerate(items) if i in held_out],
    )


def _fold(items: Sequence[Item], k: int, seed: int, spec: ModelSpec) -> list[list[Item]]:
    if not spec.one_pass:
        raise OptionError(
            f"--calibration {k}-fold: {spec.name} trains for many epochs, and folds would take {k} times as long; "
            "use a share such as 0.2."
        )
    if len(items) < k:
        raise DataError(f"--calibration {k}-fold: needs at least {k} good images, there are {len(items)}.")
    order = _shuffle(len(items), seed)
    return [[items[i] for i in sorted(order[fold::k].tolist())] for fold in range(k)]


def _shuffle(count: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, 0xCA11B]).permutation(count)


def _validation_samples(settings: TrainSettings, splits: Splits) -> list[Sample]:
    samples = list(splits.validation)
    if settings.validation is not None:
        samples = labelled_images(Path(settings.validation))
    labels = {sample.label for sample in samples}
    if not {"good", "defect"} <= labels:
        raise DataError(
            "--threshold f1: needs labelled validation images, good and defective; give --validation DIR with a folder "
            "'good' and a folder for each kind of defect (the test images are never used)."
        )
    return samples
