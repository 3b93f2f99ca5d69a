"""Whether verdicts repeat: the scores of parts that were photographed several times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from adcli._showing import count, introduce
from adcli.metrics import interval

CLOSE = 2
"""A part whose mean score lies nearer to the threshold than as many standard deviations may get either verdict."""


class Repeated(NamedTuple):
    """A part that was photographed several times: its scores, in the order of the photographs."""

    part: str
    scores: tuple[float, ...]

    def __repr__(self) -> str:
        return introduce(self, self.part, count(len(self.scores), "photograph"))

    def count_rejected(self, threshold: float) -> int:
        """Return how many of its photographs are rejected."""
        return sum(score > threshold for score in self.scores)


@dataclass(frozen=True)
class Agreement:
    """How often verdicts of one part agree.

    Attributes:
        threshold: of the run.
        parts: each with two photographs or more.
    """

    threshold: float
    parts: tuple[Repeated, ...]

    def __repr__(self) -> str:
        return introduce(self, "", f"{self.agreeing} of {count(len(self.parts), 'part')}")

    @property
    def agreeing(self) -> int:
        """The number of parts whose photographs all have the same verdict."""
        return sum(part.count_rejected(self.threshold) in (0, len(part.scores)) for part in self.parts)

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that holds the share of such parts, with 95 % confidence."""
        return interval(self.agreeing, len(self.parts))

    @property
    def pairs(self) -> tuple[int, int]:
        """How many pairs of photographs of one part have the same verdict, and how many pairs there are."""
        verdicts = [[score > self.threshold for score in part.scores] for part in self.parts]
        pairs = [first == second for part in verdicts for first, second in combinations(part, 2)]
        return sum(pairs), len(pairs)

    @property
    def spread(self) -> float:
        """The standard deviation of the scores of one part, pooled over the parts."""
        squares = sum(float(np.var(part.scores, ddof=1)) * (len(part.scores) - 1) for part in self.parts)
        return float(np.sqrt(squares / sum(len(part.scores) - 1 for part in self.parts)))

    @property
    def distances(self) -> Sequence[float]:
        """How far the mean score of each part lies from the threshold, above it if positive, in scores."""
        return [float(np.mean(part.scores)) - self.threshold for part in self.parts]

    @property
    def close(self) -> int:
        """The number of parts that may get either verdict: nearer to the threshold than two standard deviations."""
        return sum(abs(distance) < CLOSE * self.spread for distance in self.distances)


def find_agreement(threshold: float, scores: Mapping[str, Sequence[float]]) -> Agreement:
    """Return the agreement of parts, those with the most different verdicts first, then those nearest the threshold."""
    parts = [Repeated(part, tuple(found)) for part, found in scores.items() if len(found) > 1]

    def order(part: Repeated) -> tuple[bool, float]:
        same = part.count_rejected(threshold) in (0, len(part.scores))
        return same, abs(float(np.mean(part.scores)) - threshold)

    return Agreement(threshold, tuple(sorted(parts, key=order)))
