"""Metrics in words, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from adcli.metrics.table import METRICS


def metric_lines(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield lines such as ``"image      AUROC 0.998, AP 0.999, F1-max 0.984"``; none where nothing was measured."""
    for level in ("image", "pixel"):
        shown = describe_ranking(metrics, level)
        if shown:
            yield f"{describe_level(metrics, level):<10} {shown}"
    if unseen(metrics):
        yield f"{'':<10} {unseen(metrics)}"
    for i, line in enumerate(verdict_lines(metrics)):
        yield f"{'' if i else 'verdicts':<10} {line}"


def describe_ranking(metrics: Mapping[str, Any] | None, level: str) -> str:
    """Return the metrics of a level that need no threshold, such as ``"AUROC 0.998, AP 0.999"``."""
    return ", ".join(f"{name} {value:.3f}" for name, value in ranking(metrics, level).items())


def describe_level(metrics: Mapping[str, Any] | None, level: str) -> str:
    """Return what is ranked at a level: ``"image"``, ``"part"`` or ``"pixel"``."""
    return _unit(metrics) if level == "image" else level


def say_auroc(metrics: Mapping[str, Any] | None, level: str = "image") -> str:
    """Return a fact such as ``"image AUROC 0.998"``; nothing if that was not measured."""
    value = ((metrics or {}).get(level) or {}).get("auroc")
    return "" if value is None else f"{describe_level(metrics, level)} AUROC {value:.3f}"


def _unit(metrics: Mapping[str, Any] | None) -> str:
    """Return what was judged: ``"image"``, or ``"part"``."""
    return str((metrics or {}).get("unit", "image"))


def unseen(metrics: Mapping[str, Any] | None) -> str:
    """Return how much of the defects lies outside of what a run looks at; empty where nothing does."""
    share = ((metrics or {}).get("pixel") or {}).get("unseen")
    return f"{share:.1%} of the defective pixels lie where nothing was looked at" if share else ""


def known(metrics: Mapping[str, Any] | None) -> str:
    """Return a sentence on test images that the run knew before it was evaluated; nothing if it knew none."""
    found = (metrics or {}).get("known")
    if not found:
        return ""
    whom = [
        f"{found[name]} of {found['images']} test images are {what}"
        for name, what in (
            ("fitted", "copies of images that the model was fitted to"),
            ("calibrated", "copies of images that set its threshold"),
        )
        if found[name]
    ]
    return f"{', and '.join(whom)}, such as {found['example']}: the metrics say less of new images."


def ranking(metrics: Mapping[str, Any] | None, level: str) -> dict[str, float]:
    """Return the metrics of ``"image"`` or ``"pixel"`` that need no threshold, by their usual names."""
    values = (metrics or {}).get(level) or {}
    return {metric.label: values[metric.key] for metric in METRICS if metric.key in values}


def verdict_lines(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what the threshold does: ``"1.3% of 75 good test images rejected (95% interval: 0.0% to 7.2%)"``."""
    image = (metrics or {}).get("image") or {}
    for rate, total, what in (
        ("false_alarm_rate", "n_good", f"good test {_unit(metrics)}s rejected"),
        ("detection_rate", "n_defect", "defective ones found"),
    ):
        if rate in image and image.get(total):
            yield f"{image[rate]:.1%} of {image[total]} {what}{interval(image, rate)}"


def interval(values: Mapping[str, Any], rate: str) -> str:
    """Return a rate's confidence interval in words; nothing where there is none, as in runs of earlier versions."""
    found = values.get(f"{rate}_interval")
    return f" (95% interval: {found[0]:.1%} to {found[1]:.1%})" if found else ""
