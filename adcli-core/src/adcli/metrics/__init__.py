"""How well scores rank, thresholds decide, and maps locate.

AUROC, average precision and F1-max follow scikit-learn's definitions; see :mod:`adcli.metrics.curves` for the others.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adcli.metrics.curves import Flags, Floats, tabulate
from adcli.metrics.table import compute_all

if TYPE_CHECKING:
    from adcli.metrics.pixels import PixelMetrics

__all__ = [
    "image_metrics",
    "interval",
    "judge_again",
    "rates",
    "summarise",
    "upper_bound",
    "without_verdicts",
]

CONFIDENCE = 0.95

_OF_THRESHOLD = {
    *("false_alarm_rate", "false_alarm_rate_interval", "detection_rate", "detection_rate_interval"),
    *("true_positives", "false_positives", "true_negatives", "false_negatives"),
}
"""What :func:`rates` returns."""


def image_metrics(scores: Floats, is_defect: Flags) -> dict[str, float]:
    """Return AUROC, average precision, F1-max and the false-positive rate where 95 % of the defects are found.

    Counts alone where one of the classes is missing.

    Raises:
        ValueError: a score is no number.
    """
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    found = {"n_good": int((~is_defect).sum()), "n_defect": int(is_defect.sum())}
    if not found["n_good"] or not found["n_defect"]:
        return {**found}
    return {**compute_all("image", tabulate(scores, is_defect)), **found}


def rates(scores: Floats, is_defect: Flags, threshold: float) -> dict[str, Any]:
    """Return what a threshold does: shares of good images rejected and of defects found, and the four counts.

    Each share comes with the interval that holds the true one with 95 % confidence.
    """
    called = scores > threshold
    counts = {
        "true_positives": int((called & is_defect).sum()),
        "false_positives": int((called & ~is_defect).sum()),
        "true_negatives": int((~called & ~is_defect).sum()),
        "false_negatives": int((~called & is_defect).sum()),
    }
    shares: dict[str, Any] = {}
    for name, called_so, label in (
        ("false_alarm_rate", counts["false_positives"], ~is_defect),
        ("detection_rate", counts["true_positives"], is_defect),
    ):
        if label.any():
            total = int(label.sum())
            shares |= {name: called_so / total, f"{name}_interval": list(interval(called_so, total))}
    return {**shares, **counts}


def interval(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact confidence interval of a share, counted ``count`` times in ``total`` (Clopper, Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))
    return low, high


def upper_bound(count: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return what a share, counted ``count`` times in ``total``, does not exceed with a confidence; exact."""
    # Its tail is the upper one of an interval that leaves out as much on either side.
    return interval(count, total, 2 * confidence - 1)[1]


def summarise(
    scores: Floats, is_defect: Flags, defects: Sequence[str | None], threshold: float | None, pixels: "PixelMetrics"
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds.

    Args:
        scores: image scores, shape (N,).
        is_defect: labels, shape (N,).
        defects: kinds of defect, N of them; None for good images.
        threshold: the calibrated threshold, or None where there is none.
        pixels: the accumulated maps.
    """
    image = image_metrics(scores, is_defect)
    if threshold is not None:
        image |= rates(scores, is_defect, threshold)
    summary: dict[str, Any] = {"image": image}
    located = pixels.result()
    if located:
        summary["pixel"] = located
    kinds = _name_kinds(defects)
    of_pixels = pixels.by_kind()
    summary["defects"] = {
        str(kind): _of_kind(scores, is_defect, (kinds == kind) & is_defect, threshold) | of_pixels.get(str(kind), {})
        for kind in np.unique(kinds[is_defect])
    }
    return summary


def _name_kinds(defects: Sequence[str | None]) -> NDArray[np.str_]:
    return np.array([kind or "defect" for kind in defects], str)


def without_verdicts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``metrics.json`` holds without anything that depends on a threshold of images."""

    def drop(metrics: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in metrics.items() if name not in _OF_THRESHOLD}

    kinds = {kind: drop(metrics) for kind, metrics in summary.get("defects", {}).items()}
    return {**summary, "image": drop(summary["image"]), **({"defects": kinds} if kinds else {})}


def judge_again(
    summary: Mapping[str, Any],
    scores: Floats,
    is_defect: Flags,
    defects: Sequence[str | None],
    threshold: float | None,
) -> dict[str, Any]:
    """Return what ``metrics.json`` would hold with another threshold; arguments as of :func:`summarise`."""
    judged = without_verdicts(summary)
    if threshold is None:
        return judged
    judged["image"] |= rates(scores, is_defect, threshold)
    kinds = _name_kinds(defects)
    for kind, metrics in judged.get("defects", {}).items():
        metrics |= _rates_of_kind(scores, is_defect, (kinds == kind) & is_defect, threshold)
    return judged


def _rates_of_kind(scores: Floats, is_defect: Flags, chosen: Flags, threshold: float) -> dict[str, Any]:
    found = rates(scores[chosen], is_defect[chosen], threshold)
    return {name: found[name] for name in ("detection_rate", "detection_rate_interval") if name in found}


def _of_kind(scores: Floats, is_defect: Flags, chosen: Flags, threshold: float | None) -> dict[str, Any]:
    """Return image metrics of one kind of defect against all good images."""
    compared = chosen | ~is_defect
    metrics = image_metrics(scores[compared], is_defect[compared])
    described: dict[str, Any] = {"n": int(chosen.sum())}
    described |= {name: metrics[name] for name in ("auroc", "average_precision") if name in metrics}
    if threshold is not None:
        described |= _rates_of_kind(scores, is_defect, chosen, threshold)
    return described
