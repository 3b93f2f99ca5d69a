"""What a training is given beside the images that it fits: noted when it begins, and compared when it is resumed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from adcli.data.fingerprint import relative_names
from adcli.data.guarding import digests_of
from adcli.data.samples import Sample
from adcli.options import Options
from adcli.pipeline._moved_images import describe_difference
from adcli.pipeline._seen_images import list_seen
from adcli.runs.images import SeenImage
from adcli.runs.settings import TrainSettings
from adcli.scoring.thresholds import CalibrationPlan

_DECIDING = {
    "known-defect": "the known defects",
    "known defects' masks": "the masks of the known defects",
    "held-out": "the good images that set the threshold",
    "calibration": "the images of --calibration",
    "validation": "the validation images",
}
"""What a role is called whose images decide a result that a resumed training promises."""

_LABELS = "labels and masks"
_OPTION = "-o "


@dataclass(frozen=True)
class Inputs:
    """What a training is given.

    Attributes:
        images: those that do not fit the model, by what they are for.
        digests: one for each role that has images, and for all else, by its name.
    """

    images: Sequence[SeenImage]
    digests: Mapping[str, str]


class Changes(NamedTuple):
    """What changed since a training began, in words; each is empty if nothing did.

    Attributes:
        images: what forbids going on.
        tested: of test images, which decide nothing but the evaluation.
        files: options whose files changed, which matter to whatever is still to be fitted.
    """

    images: str
    tested: str
    files: str


def list_inputs(
    settings: TrainSettings, options: Options, plan: CalibrationPlan, test: Sequence[Sample], known: dict[Path, str]
) -> Inputs:
    """Read what a training is given.

    Args:
        settings: of the training.
        options: of its model.
        plan: which images fit and calibrate.
        test: samples to evaluate.
        known: digests of files that were read already; takes up those that are read for this.
    """
    # What calibrates in folds is fitted too, and left out of neither list.
    shown = replace(plan, good=plan.calibrating, folds=())
    images = [image for image in list_seen(settings, shown, test, known) if image.role != "fitted"]
    roles = {image.role for image in images}
    digests: dict[str, str] = {
        role: _digest(image.digest for image in images if image.role == role) for role in sorted(roles)
    }
    if plan.defects:
        digests["known defects' masks"] = _digest_labels(plan.defects, known)
    if test:
        digests[_LABELS] = _digest_labels(test, known)
    for name in options.to_dict():
        value = getattr(options, name)
        if isinstance(value, Path):
            digests[f"{_OPTION}{name}"] = "".join(digests_of([value], skip_unreadable=True))
    return Inputs(images, digests)


def _digest(lines: Iterable[str]) -> str:
    """Return a digest of lines in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _digest_labels(samples: Sequence[Sample], known: dict[Path, str]) -> str:
    """Return a digest of what is known of samples: their labels, kinds of defect, and masks."""
    names = relative_names(sample.image for sample in samples)
    masks = (digests_of(_list_masks(sample), skip_unreadable=True, known=known) for sample in samples)
    truth = zip(names, samples, masks, strict=True)
    return _digest(json.dumps([name, sample.label, sample.defect, found]) for name, sample, found in truth)


def _list_masks(sample: Sample) -> list[Path]:
    """Return the files of a mask, which may be a folder."""
    if sample.mask is None:
        return []
    return sorted(sample.mask.iterdir()) if sample.mask.is_dir() else [sample.mask]


def compare_inputs(before: Mapping[str, str], known: Sequence[SeenImage], now: Inputs) -> Changes:
    """Say what changed since a training began.

    Args:
        before: the digests then.
        known: its images then, as far as they were written down.
        now: what it would go on with.
    """
    changed = [name for name in {**before, **now.digests} if before.get(name, "") != now.digests.get(name, "")]
    deciding = [name for name in changed if name in _DECIDING]
    images = [f"{_DECIDING[name]} have changed since ({_tell(name, before, known, now)})" for name in deciding]
    files = [name for name in changed if name.startswith(_OPTION)]
    tested = ""
    if "test" in changed:
        tested = f"the test images have changed since the training began ({_tell('test', before, known, now)})"
    elif _LABELS in changed:
        tested = "the names, labels or masks of the test images have changed since the training began"
    return Changes("; ".join(images), tested, " and ".join(f"the file of {name} has changed since" for name in files))


def _tell(role: str, before: Mapping[str, str], known: Sequence[SeenImage], now: Inputs) -> str:
    """Return what became of the images of a role."""
    old, new = ([image for image in images if image.role == role] for images in (known, now.images))
    # The list is believed if it is the one that was noted.
    if before.get(role, _digest([])) != _digest(image.digest for image in old):
        return "which of them is not known"
    return describe_difference(old, new)
