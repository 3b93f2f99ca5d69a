"""Zones of a photograph: each has good scores of its own, and a photograph is as odd as its oddest zone.

What two zones score cannot be compared. What can is how many of its own good scores lie below each: their p-values. A
photograph's is the smallest of them times the number of zones (Bonferroni's inequality), at most 1.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np


def find_standing(ascending: Sequence[float], score: float) -> float:
    """Return where a score stands among good ones: how many are below it, and how far it is on its way past the next.

    One that is equal to the k-th smallest stands at k, and one between it and the next, between k and k + 1. Beyond the
    outermost ones, the unit is the range of all.

    Args:
        ascending: the good scores, at least one.
        score: any.
    """
    below, count = bisect_left(ascending, score), len(ascending)
    span = (ascending[-1] - ascending[0]) or max(abs(ascending[-1]), 1.0)
    if below == 0:
        return 1 - (ascending[0] - score) / span
    low = ascending[below - 1]
    high = ascending[below] if below < count else low + span
    # However little it lies above, it does.
    return max(below + (score - low) / (high - low), math.nextafter(below, math.inf))


def find_score(ascending: Sequence[float], standing: float) -> float:
    """Return the score that stands at a place among good ones: the inverse of :func:`find_standing`."""
    count, below = len(ascending), math.ceil(standing) - 1
    span = (ascending[-1] - ascending[0]) or max(abs(ascending[-1]), 1.0)
    if below <= 0:
        return ascending[0] - (1 - standing) * span
    if below >= count:
        return ascending[-1] + (standing - count) * span
    # That of the k-th is that score, to the bit.
    share = standing - below
    return ascending[below] if share == 1 else ascending[below - 1] * (1 - share) + ascending[below] * share


def count_below(standing: float, count: int) -> int:
    """Return how many of a number of good scores are below one that stands there."""
    return min(max(math.ceil(standing) - 1, 0), count) if np.isfinite(standing) else count
