"""Metrics in words, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = {"auroc": "AUROC", "average_precision": "AP", "f1_max": "F1-max", "aupro": "AUPRO"}


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
        yield f"verdicts   {image['false_alarm_rate']:.1%} of {image['n_good']} good test images rejected"
    if "detection_rate" in image and image.get("n_defect"):
        yield f"           {image['detection_rate']:.1%} of {image['n_defect']} defective ones found"
