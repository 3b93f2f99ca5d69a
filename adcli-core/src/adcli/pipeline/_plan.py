"""Which good images fit the model and which calibrate it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.data.folder import images_in, labelled_images
from adcli.data.samples import Sample, Splits
from adcli.errors import DataError, OptionError
from adcli.pipeline.settings import TrainSettings, parse_calibration, parse_threshold
from adcli.scoring.calibrating import CalibrationPlan
from adcli.scoring.calibration import Method
from adcli.specs import ModelSpec


def plan_calibration(
    settings: TrainSettings, spec: ModelSpec, splits: Splits, images: Sequence[Path]
) -> CalibrationPlan:
    """Decide which images calibrate.

    Raises:
        DataError: too few images to hold some out, or no labelled validation images for ``--threshold f1``.
        OptionError: folds for a model that trains for long.
    """
    chosen = parse_calibration(settings.calibration)
    fit, good, folds = list(images), list[Path](), list[list[Path]]()
    method: Method = "none"
    if isinstance(chosen, float):
        fit, good, method = *_hold_out(images, chosen, settings.seed), "held-out"
    elif isinstance(chosen, int):
        folds, method = _folds(images, chosen, settings.seed, spec), "k-fold"
    elif chosen is not None:
        good, method = list(images_in([chosen])), "folder"
    if not fit:
        raise DataError("no good images to fit on are left.")
    threshold = settings.threshold
    if threshold == "f1":
        return CalibrationPlan(fit, good, folds, "f1", settings.false_alarm_rate, None, _validation(settings, splits))
    value = None if threshold is None else parse_threshold(threshold)
    return CalibrationPlan(fit, good, folds, method if value is None else "value", settings.false_alarm_rate, value)


def _hold_out(images: Sequence[Path], share: float, seed: int) -> tuple[list[Path], list[Path]]:
    if len(images) < 2:
        raise DataError(
            f"{len(images)} good image(s): too few to hold some out for calibration; add images, "
            "or use --calibration none for no verdicts."
        )
    count = min(max(round(share * len(images)), 1), len(images) - 1)
    held_out = set(_shuffled(len(images), seed)[:count].tolist())
    return (
        [path for i, path in enumerate(images) if i not in held_out],
        [path for i, path in enumerate(images) if i in held_out],
    )


def _folds(images: Sequence[Path], k: int, seed: int, spec: ModelSpec) -> list[list[Path]]:
    if not spec.one_pass:
        raise OptionError(
            f"--calibration {k}-fold: {spec.name} trains for many epochs, and folds would take {k} times as long; "
            "use a share such as 0.2."
        )
    if len(images) < k:
        raise DataError(f"--calibration {k}-fold: needs at least {k} good images, there are {len(images)}.")
    order = _shuffled(len(images), seed)
    return [[images[i] for i in sorted(order[fold::k].tolist())] for fold in range(k)]


def _shuffled(count: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, 0xCA11B]).permutation(count)


def _validation(settings: TrainSettings, splits: Splits) -> list[Sample]:
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
