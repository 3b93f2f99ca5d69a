"""The images that a training saw, by what it used each for, as the run keeps them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adcli.data.fingerprint import relative_names
from adcli.data.guarding import digests_of
from adcli.data.samples import Sample
from adcli.runs.images import LEARNT_FROM, Role, SeenImage
from adcli.runs.settings import TrainSettings, parse_calibration
from adcli.scoring.calibration import Calibration
from adcli.scoring.thresholds import CalibrationPlan


def list_seen(
    settings: TrainSettings, plan: CalibrationPlan, test: Sequence[Sample], digests: dict[Path, str] | None = None
) -> list[SeenImage]:
    """Return the images that a training saw; those that cannot be read at all it did not see.

    Args:
        settings: of the training.
        plan: which images fitted and calibrated.
        test: samples to evaluate.
        digests: of the files that were read; the others are read, and theirs are put there.
    """
    known, seen = {} if digests is None else digests, []
    for role, paths in _paths_by_role(settings, plan, test).items():
        found = digests_of(paths, skip_unreadable=True, known=known)
        named = zip(relative_names(paths), found, strict=True)
        seen += [SeenImage(name, digest, role) for name, digest in named if digest]
    return seen


def _paths_by_role(
    settings: TrainSettings, plan: CalibrationPlan, test: Sequence[Sample]
) -> Mapping[Role, Sequence[Path]]:
    good = [item.path for item in plan.good]
    apart = isinstance(parse_calibration(settings.calibration), Path)
    return {
        "fitted": [item.path for item in plan.fit],
        "known-defect": [sample.image for sample in plan.defects],
        "held-out": [] if apart else good,
        "calibration": good if apart else [],
        "validation": [sample.image for sample in plan.validation],
        "test": [sample.image for sample in test],
    }


@dataclass(frozen=True)
class KnownImages:
    """The images that an evaluation says little of, by the digests of their files.

    Attributes:
        fitted: those that the model was fitted to.
        calibrated: those that set its threshold.
    """

    fitted: Collection[str] = ()
    calibrated: Collection[str] = ()

    @classmethod
    def of(cls, seen: Iterable[SeenImage], calibration: Calibration) -> "KnownImages":
        """Return those among the images that a run saw, and of the calibration in force."""
        roles: dict[str, set[str]] = {}
        for image in seen:
            roles.setdefault(image.role, set()).add(image.digest)
        calibrated = (
            set(calibration.scored_digests) if calibration.keeps_a_rate or calibration.method == "f1" else set()
        )
        if calibration.method == "f1":
            calibrated |= roles.get("validation", set())
        fitted = {digest for role in LEARNT_FROM for digest in roles.get(role, ())}
        return cls(fitted, calibrated - fitted)

    def count(self, tested: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return what ``metrics.json`` says of test images that the run knows: nothing if it knows none.

        Args:
            tested: the name of each, and the digest of its file.
        """
        fitted = [name for name, digest in tested if digest in self.fitted]
        calibrated = [name for name, digest in tested if digest in self.calibrated]
        if not fitted and not calibrated:
            return {}
        counts = {"images": len(tested), "fitted": len(fitted), "calibrated": len(calibrated)}
        return {**counts, "example": (fitted or calibrated)[0]}
