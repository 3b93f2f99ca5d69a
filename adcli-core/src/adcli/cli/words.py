"""Metrics in words, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1_max": "F1-max",
    "fpr_at_95_tpr": "FPR at 95% TPR",
    "aupro": "AUPRO",
    "aupro_0.05": "AUPRO to 0.05",
    "aupimo": "AUPIMO",
}


def metric_lines(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield lines such as ``"image      AUROC 0.998, AP 0.999, F1-max 0.984"``; none where nothing was measured."""
    if not metrics:
        return
    for level in ("image", "pixel"):
        values = metrics.get(level) or {}
        shown = [f"{name} {values[key]:.3f}" for key, name in _NAMES.items() if key in values]
        if shown:
            yield f"{level:<10} {', '.join(shown)}"
    image = metrics.get("image") or {}
    if "false_alarm_rate" in image and image.get("n_good"):
        share = _share(image, "false_alarm_rate", "n_good")
        yield f"verdicts   {share} good test images rejected{_interval(image, 'false_alarm_rate')}"
    if "detection_rate" in image and image.get("n_defect"):
        share = _share(image, "detection_rate", "n_defect")
        yield f"           {share} defective ones found{_interval(image, 'detection_rate')}"


def _share(image: Mapping[str, Any], rate: str, total: str) -> str:
    return f"{image[rate]:.1%} of {image[total]}"


def _interval(image: Mapping[str, Any], rate: str) -> str:
    # Runs of earlier versions have none.
    found = image.get(f"{rate}_interval")
    return f" (95% interval: {found[0]:.1%} to {found[1]:.1%})" if found else ""
