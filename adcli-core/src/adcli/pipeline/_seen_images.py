"""The images that a training saw, by what it used each for, as the run keeps them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adcli.data.ahead import load_all
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample
from adcli.data.splitting import READERS, content_digest
from adcli.errors import DataError
from adcli.runs.images import Role, SeenImage
from adcli.runs.settings import TrainSettings, parse_calibration
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


def describe_copies(images: Sequence[SeenImage]) -> str:
    """Return a sentence on test images whose files equal one that the model was fitted to; nothing without any."""
    fitted = {image.digest for image in images if image.role == "fitted"}
    tested = [image for image in images if image.role == "test"]
    copies = [image.name for image in tested if image.digest in fitted]
    if not copies:
        return ""
    return (
        f"warning: {len(copies)} of {len(tested)} test images are copies of images that the model was fitted to, "
        f"such as {copies[0]}: the metrics say less of new images."
    )
