"""What a page needs to try other thresholds: every score once, and the verdicts at the run's own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from adcli.metrics.curves import Flags, Floats
from adcli.scoring.calibration import Calibration


@dataclass(frozen=True)
class Verdicts:
    """Numbers of labelled test images by label and verdict; all verdicts are zero without a threshold."""

    found: int
    missed: int
    alarms: int
    passed: int
    defective: int
    good: int


class Scored(Protocol):
    """An image with a score and, perhaps, a label."""

    @property
    def score(self) -> float:
        """Its image score."""
        ...

    @property
    def label(self) -> str | None:
        """``"good"``, ``"defect"`` or None."""
        ...


def count_verdicts(scores: Floats, is_defect: Flags, threshold: float | None) -> Verdicts:
    """Count what a threshold does to test images with scores (N,) and labels (N,)."""
    defective, good = int(is_defect.sum()), int((~is_defect).sum())
    if threshold is None:
        return Verdicts(0, 0, 0, 0, defective, good)
    called = scores > threshold
    found, alarms = int((called & is_defect).sum()), int((called & ~is_defect).sum())
    return Verdicts(found, defective - found, alarms, good - alarms, defective, good)


def list_scores(
    calibration: Calibration, scores: Floats, is_defect: Flags, shown: Sequence[Scored], *, of_parts: bool = False
) -> dict[str, Any]:
    """Return the scores behind a page, for its script.

    Args:
        calibration: its threshold, and its scores of good images.
        scores: of labelled test images or parts, (N,).
        is_defect: their labels, (N,).
        shown: the images on the page, in its order; their scores come first, and then those of the others.
        of_parts: whether the scores are those of parts, which count apart from the images that are shown.
    """
    of_shown = [(float(image.score), (image.label or "unknown")[0]) for image in shown]
    tested = list(zip(np.asarray(scores, np.float64).tolist(), np.where(is_defect, "d", "g").tolist(), strict=True))
    others = [] if of_parts else sorted((Counter(tested) - Counter(of_shown)).elements())
    return {
        "threshold": calibration.image_threshold,
        "calibration": list(calibration.image_scores),
        **_in_columns([*of_shown, *others]),
        "folds": calibration.method == "k-fold",
        "zones": len(calibration.zones),
        **({"parts": _in_columns(sorted(tested))} if of_parts else {}),
    }


def _in_columns(listed: Sequence[tuple[float, str]]) -> dict[str, Any]:
    return {"scores": [score for score, _ in listed], "labels": "".join(label for _, label in listed)}
