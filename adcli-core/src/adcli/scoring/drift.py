"""Watching a stream of scores: whether later ones are like earlier ones, and if not, since when.

Each score gets a p-value among the good scores of a calibration *and* all scores of the stream before it (sequential
ranks). If nothing has changed, all of these scores are exchangeable, and the p-values are independent and uniform,
however few scores calibrated. (p-values among the calibration's scores alone share what is odd about them, and raise
false alarms.) A simple jumper bets against their being uniform (Vovk et al., Retrain or not retrain: conformal test
martingales for change-point detection, 2021, algorithm 1); its gains are summed as Shiryaev and Roberts do: the
statistic R has the mean n after n scores, so that an alarm at R >= c comes after c scores at the earliest on average,
and within m scores with a probability of at most m / c.

A score is that of a unit, whatever that is: a photograph, or a part with several of them.
"""

import hashlib
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adcli._showing import introduce

JUMP = 0.01
"""The share of its capital that a bet gives up at each score, for all to share."""

BETS = (-1.0, 0.0, 1.0)
"""Bets on high scores, on nothing, and on low ones."""

MOST = 1e300
"""R grows no further; a drift of thousands of scores would exceed what a number holds."""

DOUBT = 6.0
"""By how much less the squared statistic of a change may be than the largest one, for it to be possible as well."""


class Step(NamedTuple):
    """What a score adds.

    Attributes:
        p_value: among all scores before it; uniform if nothing has changed.
        growth: what the jumper's capital grew by: a factor.
        statistic: R after it.
    """

    p_value: float
    growth: float
    statistic: float


@dataclass
class Drift:
    """The state of watching a stream, which can be kept and resumed: plain values, and no more.

    Attributes:
        scores: all scores so far, those of the calibration included, ascending.
        capitals: of the three bets, as shares of all.
        statistic: R, the statistic of Shiryaev and Roberts; an alarm is due if it reaches the number of scores that
            may lie between two false alarms.
        count: scores of the stream so far.
        seed: of what decides among equal scores.
    """

    scores: "array[float]" = field(default_factory=lambda: array("d"))
    capitals: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    statistic: float = 0.0
    count: int = 0
    seed: int = 0

    def __repr__(self) -> str:
        return introduce(self, "", f"statistic {self.statistic:.4g} after {self.count} scores")

    @classmethod
    def begin(cls, calibrating: Iterable[float] = (), *, seed: int = 0) -> "Drift":
        """Return the state before the first score of a stream.

        Args:
            calibrating: scores of good images, in any order; without any, a change is one within the stream.
            seed: of what decides among equal scores.
        """
        return cls(array("d", sorted(calibrating)), seed=seed)

    def add(self, score: float) -> Step:
        """Take the next score of the stream; raises :class:`ValueError` if it is not finite."""
        if not math.isfinite(score):
            raise ValueError(f"the score is {score}; only numbers have a rank")
        low, high = bisect_left(self.scores, score), bisect_right(self.scores, score)
        above, equal, among = len(self.scores) - high, high - low + 1, len(self.scores) + 1
        p_value = (above + self._draw() * equal) / among
        self.scores.insert(high, score)
        growth = self._bet(p_value)
        self.statistic = min((1 + self.statistic) * growth, MOST)
        self.count += 1
        return Step(p_value, growth, self.statistic)

    def _bet(self, p_value: float) -> float:
        """Have the jumper bet on a p-value, and return what its capital grows by."""
        # A part of all capital is shared out before each bet, so that one that loses for long can still win.
        won = [(capital * (1 - JUMP) + JUMP / 3) * (1 + e * (p_value - 0.5)) for capital, e in self._bets()]
        growth = sum(won)
        first, second, third = (capital / growth for capital in won)
        self.capitals = (first, second, third)
        return growth

    def _bets(self) -> Iterable[tuple[float, float]]:
        return zip(self.capitals, BETS, strict=True)

    def _draw(self) -> float:
        """Return a number between 0 and 1, made of the seed and the count alone: no generator has to be kept."""
        digest = hashlib.blake2b(b"%d/%d" % (self.seed, self.count), digest_size=8).digest()
        return (int.from_bytes(digest, "big") + 0.5) / 2**64

    def to_dict(self) -> dict[str, Any]:
        """Return the state as what JSON has."""
        return {
            "scores": self.scores.tolist(),
            "capitals": list(self.capitals),
            "statistic": self.statistic,
            "count": self.count,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Drift":
        """Return the state that :meth:`to_dict` returned."""
        first, second, third = content["capitals"]
        scores = array("d", content["scores"])
        return cls(scores, (first, second, third), content["statistic"], content["count"], content["seed"])


class Change(NamedTuple):
    """Where a stream most likely changed.

    Attributes:
        first: index of the first score after the change.
        earliest, latest: it may as well be any index from one to the other, with 95 % confidence if all of the change
            came at once.
        rises: whether scores are higher after it.
    """

    first: int
    earliest: int
    latest: int
    rises: bool


def find_change(calibrating: ArrayLike, stream: ArrayLike, alarm: int | None = None) -> Change | None:
    """Return the cut that parts a stream into two that differ most in their ranks; None if no scores differ.

    For each cut, the statistic is Mann and Whitney's for what lies before it, good scores of the calibration included,
    and after it, in standard deviations.

    Args:
        calibrating: scores of good images (C,), which may be none.
        stream: scores in the order of time (M,).
        alarm: the index of a score that the change did not come after; None if that is not known.
    """
    before, after = np.asarray(calibrating, np.float64), np.asarray(stream, np.float64)
    ranks = _rank(np.concatenate([before, after]))
    count = len(ranks)
    if not len(after) or ranks.min() == ranks.max():
        return None
    spread = ranks.var()
    first = len(before) or 1
    sizes = np.arange(first, count)
    # The sum of the ranks after a cut, and its mean and variance over all orders.
    excess = np.cumsum((ranks - ranks.mean())[::-1])[::-1][first:]
    statistic = excess / np.sqrt(sizes * (count - sizes) / (count - 1) * spread)
    if alarm is not None:
        statistic = statistic[: max(alarm + 1 + len(before) - first, 1)]
    best = int(np.argmax(np.abs(statistic)))
    likely = np.flatnonzero(statistic**2 >= statistic[best] ** 2 - DOUBT)
    start = first - len(before)
    return Change(best + start, int(likely[0]) + start, int(likely[-1]) + start, bool(statistic[best] > 0))


def _rank(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; equal scores share the mean of theirs."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


def bound_chance(steps: Sequence[Step]) -> float:
    """Return the largest probability with which R gets as high as it got, within as many scores, if nothing changed.

    R less the number of scores is a martingale, so that it is the inequality of Doob.
    """
    return min(len(steps) / max((step.statistic for step in steps), default=0.0), 1.0) if steps else 1.0
