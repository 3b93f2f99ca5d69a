"""Areas and points of ranking curves, from counts per distinct score; the highest score comes first everywhere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TPR = 0.95
"""Share of defects that has to be found in :func:`fpr_at_tpr`."""


class Counts(NamedTuple):
    """What has each of T distinct scores, in descending order.

    Attributes:
        good: how many good ones, (T,).
        defect: how many defects, (T,).
        overlap: which share of an average region, (T,); sums to one. Empty where there are no regions.
    """

    good: Floats
    defect: Floats
    overlap: Floats

    def split(self, *, defects_first: bool) -> "Counts":
        """Return the counts with every tie resolved for or against the defects: the extremes of all metrics here."""
        parts = []
        for values, is_good in ((self.good, True), (self.defect, False), (self.overlap, False)):
            pairs = np.zeros((len(values), 2))
            pairs[:, int(is_good == defects_first)] = values
            parts.append(pairs.ravel())
        return Counts(*parts)


def tabulate(scores: Floats, is_defect: Flags) -> Counts:
    """Return the counts of scores (N,) with their labels (N,)."""
    values, index = np.unique(-scores, return_inverse=True)
    good = np.bincount(index, weights=~is_defect, minlength=len(values))
    defect = np.bincount(index, weights=is_defect, minlength=len(values))
    return Counts(good.astype(np.float64), defect.astype(np.float64), np.empty(0))


def auroc(counts: Counts) -> float:
    """Return the share of pairs of a defect and a good one in which the defect is higher; ties count half."""
    above = np.cumsum(counts.defect) - counts.defect / 2
    return float((counts.good * above).sum() / (counts.good.sum() * counts.defect.sum()))


def average_precision(counts: Counts) -> float:
    """Return the mean precision at the scores of the defects, as scikit-learn defines it (no interpolation)."""
    hits, calls = np.cumsum(counts.defect), np.cumsum(counts.good + counts.defect)
    return float((hits / np.maximum(calls, 1) * counts.defect).sum() / counts.defect.sum())


def f1_max(counts: Counts) -> float:
    """Return the highest F1 of all thresholds."""
    hits, calls = np.cumsum(counts.defect), np.cumsum(counts.good + counts.defect)
    return float((2 * hits / (calls + counts.defect.sum())).max())


def fpr_at_tpr(counts: Counts, tpr: float = TPR) -> float:
    """Return the false-positive rate of the highest threshold that finds a share ``tpr`` of the defects."""
    found = np.cumsum(counts.defect) / counts.defect.sum()
    first = int(np.argmax(found >= tpr - 1e-12))
    return float(np.cumsum(counts.good)[first] / counts.good.sum())


def aupro(counts: Counts, limit: float) -> float:
    """Return the area under the per-region overlap curve up to a false-positive rate, divided by it.

    Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.2; interpolated at the limit.
    """
    rate = np.concatenate([[0.0], np.cumsum(counts.good) / counts.good.sum()])
    overlap = np.concatenate([[0.0], np.cumsum(counts.overlap)])
    return area(rate, overlap[:-1], overlap[1:], 0.0, limit) / limit


def area(x: Floats, start: Floats, end: Floats, low: float, high: float) -> float:
    """Return the area between two abscissae under straight segments.

    Args:
        x: the segments' ends, (S + 1,), never falling.
        start: height of each segment at its left end, (S,).
        end: at its right end, (S,).
        low: lower abscissa.
        high: upper abscissa.
    """
    left, right = np.clip(x[:-1], low, high), np.clip(x[1:], low, high)
    span = np.where(x[1:] > x[:-1], x[1:] - x[:-1], 1)
    middle = ((left + right) / 2 - x[:-1]) / span
    return float(((start + (end - start) * middle) * (right - left)).sum())
