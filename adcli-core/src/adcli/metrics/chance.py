"""How much of a difference may be chance: images drawn again, intervals, p-values, and many of them at once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from adcli.metrics.curves import TPR, Flags, Floats

RESAMPLES = 2000
CONFIDENCE = 0.95

_BLOCK = 2_000_000
"""Numbers that are drawn at a time, so that memory does not grow with the images."""


_DIGITS = 12
"""Digits after the point of a difference; further ones depend on the order of sums."""


class Difference(NamedTuple):
    """A difference, and how much of it may be chance.

    Attributes:
        value: the difference.
        interval: where it lies with 95 % confidence; None if that cannot be told.
        p_value: two-sided: how often chance alone makes one as large; None if that cannot be told.
    """

    value: float
    interval: tuple[float, float] | None = None
    p_value: float | None = None


class Variance(NamedTuple):
    """The part of a difference's variance that comes from one source.

    Attributes:
        value: the part.
        freedom: the degrees of freedom it was measured with; infinite if it is known.
    """

    value: float
    freedom: float = math.inf


def redraw(
    metric: str,
    scores: Floats,
    is_defect: Flags,
    thresholds: Sequence[float | None],
    random: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Floats:
    """Return a metric of several runs on redrawn images, the same ones for all runs, (resamples, R).

    Images are drawn with replacement, good and defective ones separately (Efron and Tibshirani, An Introduction to
    the Bootstrap, 1993, section 8.3), so that the runs are paired.

    Args:
        metric: one of :data:`REDRAWN`.
        scores: of each run, (R, N).
        is_defect: labels, (N,), of both kinds.
        thresholds: of the R runs, for the rates.
        random: draws.
        resamples: how often.
    """
    ranked = [_Ranked.of(row) for row in scores]
    compute = REDRAWN[metric]
    found = [
        [compute(one, drawn, is_defect, threshold) for one, threshold in zip(ranked, thresholds, strict=True)]
        for drawn in _draw(is_defect, random, resamples)
    ]
    return np.concatenate([np.stack(block, axis=1) for block in found])


def _draw(is_defect: Flags, random: np.random.Generator, resamples: int) -> Iterator[Floats]:
    """Yield how often each image is drawn, (B, N), in blocks."""
    good, defect = np.flatnonzero(~is_defect), np.flatnonzero(is_defect)
    total, left = len(is_defect), resamples
    while left:
        block = np.empty((min(left, max(_BLOCK // total, 1)), total))
        for row in block:
            drawn = np.concatenate([random.choice(good, len(good)), random.choice(defect, len(defect))])
            row[:] = np.bincount(drawn, minlength=total)
        left -= len(block)
        yield block


class _Ranked(NamedTuple):
    """Scores of a run (N,), the order that makes them fall, and where each distinct one begins in it."""

    scores: Floats
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, scores: Floats) -> "_Ranked":
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        return cls(scores, order, np.flatnonzero(np.append(True, falling[1:] != falling[:-1])))

    def tally(self, drawn: Floats, is_defect: Flags) -> tuple[Floats, Floats]:
        """Return how many good ones and defects have each distinct score, both (B, T)."""
        drawn, flags = drawn[:, self.order], is_defect[self.order]
        if len(self.starts) == len(flags):
            return drawn * ~flags, drawn * flags
        good, defect = (np.add.reduceat(drawn * part, self.starts, axis=1) for part in (~flags, flags))
        return good, defect


_Compute = Callable[[_Ranked, Floats, Flags, float | None], Floats]


def _ranking(compute: Callable[[Floats, Floats], Floats]) -> _Compute:
    def computed(ranked: _Ranked, drawn: Floats, is_defect: Flags, _: float | None) -> Floats:
        return compute(*ranked.tally(drawn, is_defect))

    return computed


def _rate(of_defects: bool) -> _Compute:
    def computed(ranked: _Ranked, drawn: Floats, is_defect: Flags, threshold: float | None) -> Floats:
        assert threshold is not None
        chosen = is_defect == of_defects
        called = drawn[:, chosen] @ (ranked.scores[chosen] > threshold)
        share: Floats = called / drawn[:, chosen].sum(axis=1)
        return share

    return computed


def _auroc(good: Floats, defect: Floats) -> Floats:
    above = np.cumsum(defect, axis=1) - defect / 2
    area: Floats = (good * above).sum(axis=1) / (good.sum(axis=1) * defect.sum(axis=1))
    return area


def _average_precision(good: Floats, defect: Floats) -> Floats:
    hits, calls = np.cumsum(defect, axis=1), np.cumsum(good + defect, axis=1)
    mean: Floats = (hits / np.maximum(calls, 1) * defect).sum(axis=1) / defect.sum(axis=1)
    return mean


def _f1_max(good: Floats, defect: Floats) -> Floats:
    hits, calls = np.cumsum(defect, axis=1), np.cumsum(good + defect, axis=1)
    highest: Floats = (2 * hits / (calls + defect.sum(axis=1, keepdims=True))).max(axis=1)
    return highest


def _fpr_at_tpr(good: Floats, defect: Floats) -> Floats:
    found = np.cumsum(defect, axis=1) / defect.sum(axis=1, keepdims=True)
    first = np.argmax(found >= TPR - 1e-12, axis=1)
    rate: Floats = np.take_along_axis(np.cumsum(good, axis=1), first[:, None], 1)[:, 0] / good.sum(axis=1)
    return rate


REDRAWN: Mapping[str, _Compute] = {
    "auroc": _ranking(_auroc),
    "average_precision": _ranking(_average_precision),
    "f1_max": _ranking(_f1_max),
    "fpr_at_95_tpr": _ranking(_fpr_at_tpr),
    "false_alarm_rate": _rate(of_defects=False),
    "detection_rate": _rate(of_defects=True),
}
"""The metrics of images that can be computed on redrawn images; those of pixels keep no number per image."""

OF_THRESHOLD = ("false_alarm_rate", "detection_rate")
"""Those of them that depend on a threshold."""


def _settle(value: float) -> float:
    """Return a difference without what is left of rounding, which would be more than no variance."""
    return round(value, _DIGITS) + 0.0


def judge_draws(value: float, drawn: Floats) -> Difference:
    """Judge a difference by those on redrawn images (B,): the middle 95 %, and how often they have the other sign.

    Percentile interval (Efron and Tibshirani 1993, section 13.3); the p-value inverts it, with one added to the counts
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    value, drawn = _settle(value), np.round(drawn, _DIGITS) + 0.0
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, (float(low), float(high)), min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def judge_variances(value: float, parts: Sequence[Variance]) -> Difference:
    """Judge a difference by the parts of its variance, by Student's t with Satterthwaite's degrees of freedom.

    Satterthwaite, An Approximate Distribution of Estimates of Variance Components, Biometrics Bulletin 1946. Without
    any variance nothing can be told, unless there is no difference either.
    """
    from scipy.special import stdtr, stdtrit

    value, total = _settle(value), sum(part.value for part in parts)
    if total <= 0:
        return Difference(value, (0.0, 0.0), 1.0) if value == 0 else Difference(value)
    uncertain = sum(part.value**2 / part.freedom for part in parts)
    # Beyond so many degrees Student's distribution is the normal one.
    freedom = min(total**2 / uncertain, 1e9) if uncertain else 1e9
    error = math.sqrt(total)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return Difference(value, (value - half, value + half), float(2 * stdtr(freedom, -abs(value) / error)))


def adjust_for_many(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, in the order given.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979: if each
    that is below 0.05 is called a difference, all these calls are right with 95 % confidence, whatever depends on what.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted
