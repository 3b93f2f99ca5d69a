"""Thresholds and p-values from the scores of good images that the model has not seen.

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005): with n
exchangeable scores of good images, a new good image exceeds the k-th smallest with a probability of at most
1 - k / (n + 1).
"""

import hashlib
import json
import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adcli.errors import OptionError, RunError

Method = Literal["held-out", "folder", "k-fold", "f1", "value", "none"]
Floats = NDArray[np.float64]

_MADE_BY = {"held-out": "held-out good images", "folder": "good images of a folder of their own", "k-fold": "folds"}


@dataclass(frozen=True)
class Calibration:
    """Where good ends: an image is a defect if its score lies *above* the threshold.

    Attributes:
        method: how the image threshold was set.
        rate: the false-alarm rate asked for.
        image_scores: scores of good images, ascending; empty where there are none.
        map_maxima: the largest values of their anomaly maps, ascending; empty for models without maps.
        image_threshold: None where no verdicts are given.
        pixel_threshold: the same for the pixels of the map.
        given: fingerprint of the good images of ``adcli calibrate``; None where training chose them.
        map_range: map values at the two ends of the colour scale, the same for every picture of a run.
    """

    method: Method
    rate: float
    image_scores: tuple[float, ...] = ()
    map_maxima: tuple[float, ...] = ()
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    given: str | None = None
    map_range: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def conformal(
        cls, image_scores: ArrayLike, map_maxima: ArrayLike | None, rate: float, method: Method
    ) -> "Calibration":
        """Set both thresholds so that at most ``rate`` of good images exceed them; see :func:`conformal_threshold`."""
        scores, maxima = _ascending(image_scores), _ascending(map_maxima)
        return cls(method, rate, scores, maxima, conformal_threshold(scores, rate), conformal_threshold(maxima, rate))

    @classmethod
    def at_value(
        cls, value: float, image_scores: ArrayLike, map_maxima: ArrayLike | None, rate: float
    ) -> "Calibration":
        """Take the user's image threshold; good scores, if any, still give p-values and the pixel threshold."""
        scores, maxima = _ascending(image_scores), _ascending(map_maxima)
        return cls("value", rate, scores, maxima, value, conformal_threshold(maxima, rate))

    @classmethod
    def f1_optimal(
        cls,
        validation_scores: ArrayLike,
        is_defect: ArrayLike,
        image_scores: ArrayLike,
        map_maxima: ArrayLike | None,
        rate: float,
    ) -> "Calibration":
        """Set the image threshold that maximises F1 on labelled validation images."""
        scores, maxima = _ascending(image_scores), _ascending(map_maxima)
        threshold = f1_threshold(np.asarray(validation_scores, np.float64), np.asarray(is_defect, bool))
        return cls("f1", rate, scores, maxima, threshold, conformal_threshold(maxima, rate))

    @classmethod
    def none(cls, rate: float = 0.01) -> "Calibration":
        """Give no verdicts."""
        return cls("none", rate)

    def at_rate(self, rate: float) -> "Calibration":
        """Return both thresholds at another false-alarm rate, from the same scores.

        Raises:
            OptionError: the thresholds do not come from good images.
        """
        if not self.keeps_a_rate:
            raise OptionError(
                f"--false-alarm-rate {rate:g}: this run's threshold does not come from good images; "
                "set one from some with 'adcli calibrate RUN --data DIR'."
            )
        other = Calibration.conformal(self.image_scores, self.map_maxima or None, rate, self.method)
        return replace(other, given=self.given).with_colours(self.map_range[0])

    def with_colours(self, lowest: float, largest: float | None = None) -> "Calibration":
        """Return the same with a colour scale that has the pixel threshold in the middle.

        Args:
            lowest: value of the maps of good images, at the scale's lower end.
            largest: value of those maps, in the middle if there is no pixel threshold; None keeps the scale then.
        """
        middle = largest if self.pixel_threshold is None else self.pixel_threshold
        if middle is None:
            return self
        return replace(self, map_range=(lowest, lowest + max(2 * (middle - lowest), 1e-12)))

    @property
    def n(self) -> int:
        """Number of good images that calibrate."""
        return len(self.image_scores)

    @property
    def keeps_a_rate(self) -> bool:
        """Tell whether the threshold comes from good images, and so says something about false alarms."""
        return self.method in _MADE_BY and self.n > 0

    @property
    def achievable_rate(self) -> float:
        """The rate that n images can promise: the one asked for, or 1 in n + 1 where they are too few."""
        return float(_achievable(self.n, self.rate))

    def p_values(self, scores: ArrayLike) -> Floats:
        """Return (1 + number of calibration scores at least as high) / (n + 1) for each score."""
        at_least = self.n - np.searchsorted(np.array(self.image_scores), np.asarray(scores, np.float64), side="left")
        return np.asarray((1.0 + at_least) / (self.n + 1), np.float64)

    def p_value(self, score: float) -> float | None:
        """Return the p-value of one score; None without good scores."""
        return (1 + self.n - bisect_left(self.image_scores, score)) / (self.n + 1) if self.n else None

    def is_defect(self, score: float) -> bool | None:
        """Return the verdict on one score; None without a threshold."""
        return None if self.image_threshold is None else score > self.image_threshold

    def promise(self) -> str:
        """Say in a sentence what the threshold promises."""
        if self.method == "none":
            return "none: no good images were held out, so there are no verdicts"
        value = f"{self.image_threshold:.6g}"
        if self.method in ("value", "f1"):
            how = "as given" if self.method == "value" else "the best F1 on the validation images"
            return f"{value}, {how}; it promises nothing about false alarms{self._share_above()}"
        asked, kept = _in_words(Fraction(str(self.rate))), _in_words(_achievable(self.n, self.rate))
        source = f"{self.n} {_MADE_BY[self.method]}" if self.method != "k-fold" else f"{self.n} images in folds"
        if self.method == "k-fold":
            return f"{value}: about {kept} good images is rejected (an estimate from {source}){self._too_few(asked)}"
        return f"{value}: at most {kept} good images is rejected (from {source}){self._too_few(asked)}"

    def _too_few(self, asked: str) -> str:
        if _achievable(self.n, self.rate) == Fraction(str(self.rate)):
            return ""
        needed = math.ceil(1 / Fraction(str(self.rate))) - 1
        return f"; {asked} would need {needed} of them"

    def _share_above(self) -> str:
        if not self.n or self.image_threshold is None:
            return ""
        above = sum(score > self.image_threshold for score in self.image_scores)
        return f" ({above} of {self.n} held-out good images lie above it)"

    @cached_property
    def digest(self) -> str:
        """What tells this calibration from any other."""
        return _digest(self._content())

    def to_json(self) -> str:
        """Return JSON that carries its own digest."""
        return json.dumps({**self._content(), "digest": self.digest}, indent=1) + "\n"

    def _content(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "rate": self.rate,
            "achievable_rate": self.achievable_rate,
            "image_threshold": self.image_threshold,
            "pixel_threshold": self.pixel_threshold,
            "image_scores": list(self.image_scores),
            "map_maxima": list(self.map_maxima),
            "map_range": list(self.map_range),
            **({} if self.given is None else {"given": self.given}),
        }

    @classmethod
    def from_json(cls, text: str, *, source: Path) -> "Calibration":
        """Read what :meth:`to_json` wrote; raises :class:`RunError` naming ``source`` if it was changed since."""
        try:
            content: dict[str, Any] = json.loads(text)
            digest = content.pop("digest")
            if digest != _digest(content):
                raise ValueError
            return cls(
                content["method"],
                content["rate"],
                tuple(content["image_scores"]),
                tuple(content["map_maxima"]),
                content["image_threshold"],
                content["pixel_threshold"],
                content.get("given"),
                (content["map_range"][0], content["map_range"][1]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RunError(f"{source}: was changed or damaged since it was written (its digest differs).") from None


def conformal_threshold(ascending: tuple[float, ...], rate: float) -> float | None:
    """Return the order statistic ceil((n + 1)(1 - rate)) of n good scores; the largest where n is too small for it."""
    n = len(ascending)
    if n == 0:
        return None
    rank = math.ceil((n + 1) * (1 - _achievable(n, rate)))
    return ascending[rank - 1]


def f1_threshold(scores: Floats, is_defect: NDArray[np.bool_]) -> float:
    """Return the threshold of the largest F1, midway between the scores that it separates."""
    order = np.argsort(-scores, kind="stable")
    descending, hits = scores[order], np.cumsum(is_defect[order])
    # A cut between equal scores is none.
    cuts = np.append(descending[1:] < descending[:-1], True)
    f1 = np.where(cuts, 2 * hits / (np.arange(1, len(scores) + 1) + is_defect.sum()), -1)
    best = int(np.argmax(f1))
    if best + 1 == len(descending):
        return float(np.nextafter(descending[best], -np.inf))
    return float((descending[best] + descending[best + 1]) / 2)


def _ascending(values: ArrayLike | None) -> tuple[float, ...]:
    return () if values is None else tuple(np.sort(np.asarray(values, np.float64)).tolist())


def _achievable(n: int, rate: float) -> Fraction:
    # Exact arithmetic: (n + 1)(1 - 0.01) in floating point can round a whole number up.
    return max(Fraction(str(rate)), Fraction(1, n + 1))


def _in_words(rate: Fraction) -> str:
    return f"1 in {rate.denominator}" if rate.numerator == 1 else f"{float(rate):.3g} of all"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
