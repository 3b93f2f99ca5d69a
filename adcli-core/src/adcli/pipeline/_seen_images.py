"""The images that a training saw, by what it used each for, as the run keeps them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adcli.data.ahead import load_all
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample
from adcli.data.splitting import READERS, content_digest
from adcli.errors import DataError
from adcli.pipeline.train_settings import TrainSettings, parse_calibration
from adcli.runs.images import Role, SeenImage
from adcli.scoring.thresholds import CalibrationPlan


def list_seen(
    settings: TrainSettings, plan: CalibrationPlan, test: Sequence[Sample], digests: Mapping[Path, str]
) -> list[SeenImage]:
    """Return the images that a training saw; those that cannot be read at all it did not see.

    Args:
        settings: of the training.
        plan: which images fitted and calibrated.
        test: samples to evaluate.
        digests: of the files that were read; the others are read for theirs.
    """
    used = _paths_by_role(settings, plan, test)
    unread = [path for paths in used.values() for path in paths if path not in digests]
    known = {**digests, **dict(zip(unread, load_all(unread, _digest_or_none, READERS), strict=True))}
    seen = []
    for role, paths in used.items():
        for path, name in zip(paths, relative_names(paths), strict=True):
            digest = known[path]
            if digest is not None:
                seen.append(SeenImage(name, digest, role))
    return seen


def _paths_by_role(
    settings: TrainSettings, plan: CalibrationPlan, test: Sequence[Sample]
) -> Mapping[Role, Sequence[Path]]:
    good = [item.path for item in plan.good]
    apart = isinstance(parse_calibration(settings.calibration), Path)
    return {
        "fitted": [item.path for item in plan.fit],
        "held-out": [] if apart else good,
        "calibration": good if apart else [],
        "validation": [sample.image for sample in plan.validation],
        "test": [sample.image for sample in test],
    }


def _digest_or_none(path: Path) -> str | None:
    try:
        return content_digest(path)
    except DataError:
        return None


def describe_copies(images: Sequence[SeenImage]) -> list[str]:
    """Return sentences on images whose files equal one that the model was fitted to, though it should not have it."""
    fitted = {image.digest for image in images if image.role == "fitted"}
    sentences = []
    for role, consequence in _CONSEQUENCES.items():
        copies = [image.name for image in images if image.role == role and image.digest in fitted]
        total = sum(image.role == role for image in images)
        if copies:
            sentences.append(
                f"warning: {len(copies)} of {total} {role} images are copies of images that the model was fitted to, "
                f"such as {copies[0]}: {consequence}."
            )
    return sentences


_CONSEQUENCES: Mapping[Role, str] = {
    "held-out": "the threshold may be too low",
    "calibration": "the threshold may be too low",
    "validation": "the threshold may not suit new images",
    "test": "the metrics say less of new images",
}
