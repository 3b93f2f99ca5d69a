"""One table of all metrics: what they are called, how they are computed, and where they are shown.

A new metric is a line here, and a line in ``docs/metrics.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adcli.metrics.curves import Counts, aupro, auroc, average_precision, f1_max, fpr_at_tpr

Level = Literal["image", "pixel"]


@dataclass(frozen=True)
class Metric:
    """A metric that needs no threshold.

    Attributes:
        key: its name in ``metrics.json``.
        label: its usual name, for people.
        levels: what it is computed of: images by their scores, pixels by their map values.
        compute: from the counts at every threshold; None if :mod:`adcli.metrics.pixels` has a way of its own.
        columns: the levels at which it has a column in the table of several categories.
    """

    key: str
    label: str
    levels: tuple[Level, ...]
    compute: Callable[[Counts], float] | None
    columns: tuple[Level, ...] = ()


METRICS = (
    Metric("auroc", "AUROC", ("image", "pixel"), auroc, ("image", "pixel")),
    Metric("average_precision", "AP", ("image", "pixel"), average_precision),
    Metric("f1_max", "F1-max", ("image", "pixel"), f1_max, ("image",)),
    Metric("fpr_at_95_tpr", "FPR at 95% TPR", ("image",), fpr_at_tpr),
    Metric("aupro", "AUPRO", ("pixel",), lambda counts: aupro(counts, 0.3), ("pixel",)),
    Metric("aupro_0.05", "AUPRO to 0.05", ("pixel",), lambda counts: aupro(counts, 0.05)),
    Metric("aupimo", "AUPIMO", ("pixel",), None),
)


def compute_all(level: Level, counts: Counts) -> dict[str, float]:
    """Return every metric of a level that comes from the counts at every threshold."""
    return {m.key: m.compute(counts) for m in METRICS if level in m.levels and m.compute is not None}


def list_columns() -> list[tuple[Level, Metric]]:
    """Return the columns of the table of several categories, those of images first."""
    return [(level, metric) for level in ("image", "pixel") for metric in METRICS if level in metric.columns]
