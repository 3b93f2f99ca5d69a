"""Thresholds and p-values from the scores of good images that the model has not seen.

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005): with n
exchangeable scores of good images, a new good image exceeds the k-th smallest with a probability of at most
1 - k / (n + 1). That is a mean over all such n images. With those that there are, it is Beta(n + 1 - k, k) distributed
for continuous scores (Vovk, Conditional validity of inductive conformal predictors, 2012), which bounds it.
"""

import json
import math
import statistics
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adcli._artefacts import Artefact, digest_of
from adcli._artefacts.declaring import Confidence, Count, NotNegative, Rate, closed
from adcli._artefacts.parsing import parse_json
from adcli._showing import count, introduce, say_number, say_threshold
from adcli.data.part_rule import PartRule
from adcli.errors import OptionError, RunError
from adcli.scoring.zones import count_below, find_score, find_standing

Method = Literal["held-out", "folder", "k-fold", "f1", "value", "none"]
Floats = NDArray[np.float64]

FEWEST_JUDGED = 10
"""Scores that it takes to say that one of them lies far from the others."""

UNLIKE = 3
"""Fitted images that are named as those least like the others."""

USUAL_CONFIDENCE = 0.95
"""Confidence that a threshold's bound is stated with if no other is asked for."""

VISIBLE = 1e-3
"""What rounding does is mentioned if it is a larger share of the range of good scores."""

_MADE_BY = {
    "held-out": "held-out good images",
    "folder": "good images of a folder of their own",
    "k-fold": "images in folds",
}


@closed
class _StoredZone(TypedDict):
    """What is written of a zone."""

    image_scores: list[float]
    map_maxima: list[float]
    rounding: tuple[NotNegative, NotNegative]
    image_threshold: float | None
    pixel_threshold: float | None


@closed
class _StoredParts(TypedDict):
    """What is written of parts of several photographs."""

    pattern: str
    views: Count
    others: list[str]


@closed
class _Stored(TypedDict):
    """A calibration as it is written."""

    number: Count
    method: Method
    rate: Rate
    achievable_rate: float
    image_threshold: float | None
    pixel_threshold: float | None
    image_scores: list[float]
    map_maxima: list[float]
    map_range: tuple[float, float]
    images: list[str]
    digests: list[str]
    rounding: tuple[NotNegative, NotNegative]
    chosen_by: Method
    weights: str
    given: NotRequired[str]
    confidence: NotRequired[Confidence]
    zones: NotRequired[dict[str, _StoredZone]]
    parts: NotRequired[_StoredParts]
    digest: str


class ZoneScores(NamedTuple):
    """What is kept of the good images of a zone.

    Attributes:
        image_scores: their scores, ascending.
        map_maxima: the largest values of their maps, ascending; empty for models without maps.
        rounding: how far rounding moves a score and a map value.
        pixel_threshold: where good ends in its maps; None without.
    """

    image_scores: tuple[float, ...]
    map_maxima: tuple[float, ...]
    rounding: tuple[float, float]
    pixel_threshold: float | None

    def __repr__(self) -> str:
        return introduce(
            self, "", f"{len(self.image_scores)} good images", say_number("pixel threshold", self.pixel_threshold)
        )

    def find_standing(self, score: float) -> float:
        """Return where a score stands among those of good images, less what rounding does."""
        return find_standing(self.image_scores, score - self.rounding[0])

    def find_score(self, standing: float) -> float:
        """Return the score that stands at a place."""
        return find_score(self.image_scores, standing) + self.rounding[0]

    def at_rate(self, rate: float, confidence: float) -> "ZoneScores":
        """Return the same with the threshold of maps at another rate of the zone; see :func:`conformal_threshold`."""
        found = conformal_threshold(self.map_maxima, rate, confidence)
        return self._replace(pixel_threshold=None if found is None else found + self.rounding[1])


@dataclass(frozen=True)
class Calibration:
    """Where good ends: an image is a defect if its score lies *above* the threshold.

    With zones, the score of an image is where its oddest zone stands among the good scores of that zone
    (:func:`adcli.scoring.zones.find_standing`), and so is the threshold.

    Attributes:
        method: how the image threshold was set.
        rate: the false-alarm rate asked for.
        image_scores: scores of good images, ascending; empty where there are none.
        map_maxima: the largest values of their anomaly maps, ascending; empty for models without maps.
        image_threshold: None where no verdicts are given.
        pixel_threshold: the same for the pixels of the map.
        given: fingerprint of the good images of ``adcli calibrate``; None where training chose them.
        map_range: map values at the two ends of the colour scale, the same for every picture of a run.
        images: names of the good images, in the order of their scores; empty if they are not known.
        digests: sha256 of their files, in the same order.
        rounding: how far rounding moves a score and a map value, from one batch size to another; the thresholds lie
            above the scores and the map values that set them by as much.
        chosen_by: how the good images were chosen, whatever sets the threshold now.
        weights: digest of the model that scored; empty if it is not kept.
        number: of the calibration among those of its run or export; 0 if it is not one of them.
        confidence: that the rate is kept with, at least, if there are enough good images; 0 if it is kept on average.
        zones: what is kept of each zone, by name; empty without zones.
        parts: how parts of several photographs are told; None if a photograph is a part. With parts, the scores are
            theirs, each the largest of its photographs', and so are the promise and the p-values; the images are those
            with the largest scores.
        others: digests of the other photographs of those parts.
    """

    method: Method
    rate: float
    image_scores: tuple[float, ...] = ()
    map_maxima: tuple[float, ...] = ()
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    given: str | None = None
    map_range: tuple[float, float] = (0.0, 1.0)
    images: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    rounding: tuple[float, float] = (0.0, 0.0)
    chosen_by: Method = "none"
    weights: str = ""
    number: int = 0
    confidence: float = 0.0
    zones: Mapping[str, ZoneScores] = field(default_factory=dict)
    parts: PartRule | None = None
    others: tuple[str, ...] = ()

    def __repr__(self) -> str:
        kept = f"false-alarm rate {self.rate:.3g}" if self.keeps_a_rate else ""
        good = f"from {count(self.n, f'good {self.unit}')}" if self.n else ""
        zones = count(len(self.zones), "zone") if self.zones else ""
        return introduce(self, self.method, say_threshold(self.image_threshold), kept, good, zones)

    @classmethod
    def conformal(
        cls,
        image_scores: ArrayLike,
        map_maxima: ArrayLike | None,
        rate: float,
        method: Method,
        confidence: float = 0.0,
    ) -> "Calibration":
        """Set both thresholds so that at most ``rate`` of good images exceed them; see :func:`conformal_threshold`."""
        scores, maxima = _ascending(image_scores), _ascending(map_maxima)
        image, pixel = (conformal_threshold(values, rate, confidence) for values in (scores, maxima))
        chosen_by = method if method in _MADE_BY else "none"
        return cls(method, rate, scores, maxima, image, pixel, chosen_by=chosen_by, confidence=confidence)

    @classmethod
    def at_value(
        cls,
        value: float,
        image_scores: ArrayLike,
        map_maxima: ArrayLike | None,
        rate: float,
        confidence: float = 0.0,
    ) -> "Calibration":
        """Take the user's image threshold; good scores, if any, still give p-values and the pixel threshold."""
        return cls.conformal(image_scores, map_maxima, rate, "value", confidence).with_value(value)

    @classmethod
    def f1_optimal(
        cls,
        validation_scores: ArrayLike,
        is_defect: ArrayLike,
        image_scores: ArrayLike,
        map_maxima: ArrayLike | None,
        rate: float,
        confidence: float = 0.0,
    ) -> "Calibration":
        """Set the image threshold that maximises F1 on labelled validation images."""
        good = cls.conformal(image_scores, map_maxima, rate, "f1", confidence)
        return good.at_best_f1(validation_scores, is_defect)

    @classmethod
    def of_zones(cls, zones: "Mapping[str, Calibration]", rate: float, confidence: float = 0.0) -> "Calibration":
        """Join the calibrations of several zones on the same images, each at its part of the rate.

        Args:
            zones: by name; with the names of their images.
            rate: of photographs.
            confidence: likewise; :func:`share_confidence` says what a zone's is.
        """
        first = next(iter(zones.values()))
        kept = {
            name: ZoneScores(one.image_scores, one.map_maxima, one.rounding, one.pixel_threshold)
            for name, one in zones.items()
        }
        standings: dict[tuple[str, str], float] = {}
        for zone in zones.values():
            for image, digest, score in zip(zone.images, zone.digests, zone.image_scores, strict=True):
                standing = find_standing(zone.image_scores, score)
                standings[image, digest] = max(standing, standings.get((image, digest), standing))
        joined = cls(
            first.method,
            rate,
            zones=kept,
            chosen_by=first.chosen_by,
            map_range=find_span(zones.values()),
            confidence=confidence,
            parts=first.parts,
            others=first.others,
        )
        scored = [(standing, image, digest) for (image, digest), standing in standings.items()]
        return joined.of_images(scored)._at_rank()

    def _at_rank(self) -> "Calibration":
        """Return the same with the thresholds that its zones have at its rate."""
        rank = self._rank
        thresholds = [zone.pixel_threshold for zone in self.zones.values() if zone.pixel_threshold is not None]
        return replace(self, image_threshold=float(rank), pixel_threshold=max(thresholds, default=None))

    @classmethod
    def none(cls, rate: float = 0.01, confidence: float = 0.0) -> "Calibration":
        """Give no verdicts."""
        return cls("none", rate, confidence=confidence)

    def at_rate(self, rate: float, confidence: float | None = None) -> "Calibration":
        """Return both thresholds at another false-alarm rate, from the same scores.

        Args:
            rate: the rate.
            confidence: that it is kept with; None for that which there is.

        Raises:
            OptionError: there are no scores of good images, or it is not known how they were chosen.
        """
        if not self.n or self.chosen_by not in _MADE_BY:
            only_surer = confidence is not None and rate == self.rate
            asked = f"--confidence {confidence:g}" if only_surer else f"--false-alarm-rate {rate:g}"
            raise OptionError(
                f"{asked}: the threshold does not come from good images; calibrate with some first "
                "('adcli calibrate --help': --data)."
            )
        sure = self.confidence if confidence is None else confidence
        if self.zones:
            part, of_zone = rate / self.shares, share_confidence(sure, self.shares)
            zones = {name: zone.at_rate(part, of_zone) for name, zone in self.zones.items()}
            other = replace(self, method=self.chosen_by, rate=rate, confidence=sure, zones=zones)._at_rank()
            return other.with_colours(self.map_range[0])
        other = replace(
            self,
            method=self.chosen_by,
            rate=rate,
            confidence=sure,
            image_threshold=conformal_threshold(self.image_scores, rate, sure),
            pixel_threshold=conformal_threshold(self.map_maxima, rate, sure),
        )
        return other._raised().with_colours(self.map_range[0])

    def with_value(self, value: float) -> "Calibration":
        """Return the same with the user's image threshold."""
        return replace(self, method="value", image_threshold=value)

    def at_best_f1(self, scores: ArrayLike, is_defect: ArrayLike) -> "Calibration":
        """Return the same with the image threshold that maximises F1 on labelled images."""
        threshold = f1_threshold(np.asarray(scores, np.float64), np.asarray(is_defect, bool))
        return replace(self, method="f1", image_threshold=threshold)

    def of_images(self, scored: Sequence[tuple[float, str, str]]) -> "Calibration":
        """Return the same with what its good images are.

        Args:
            scored: the score of each, its name, and the digest of its file.
        """
        ascending = sorted(scored)
        return replace(
            self,
            image_scores=tuple(score for score, _, _ in ascending),
            images=tuple(name for _, name, _ in ascending),
            digests=tuple(digest for _, _, digest in ascending),
        )

    def above_rounding(self, score: float, map_value: float) -> "Calibration":
        """Return the same with its thresholds, those that the user did not give, raised by what rounding does.

        Args:
            score: how far rounding moves a score.
            map_value: how far it moves a value of a map.
        """
        return replace(self, rounding=(score, map_value))._raised()

    def _raised(self) -> "Calibration":
        image, pixel = self.image_threshold, self.pixel_threshold
        if image is not None and self.keeps_a_rate:
            image += self.rounding[0]
        return replace(self, image_threshold=image, pixel_threshold=None if pixel is None else pixel + self.rounding[1])

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
        """Number of good images, or of parts, that calibrate."""
        return len(self.image_scores)

    @property
    def unit(self) -> str:
        """What is counted: ``"image"``, or ``"part"``."""
        return "image" if self.parts is None else "part"

    @property
    def scored_digests(self) -> tuple[str, ...]:
        """Digests of all the images that were scored for it."""
        return (*self.digests, *self.others)

    @property
    def keeps_a_rate(self) -> bool:
        """Tell whether the threshold comes from good images, and so says something about false alarms."""
        return self.method in _MADE_BY and self.n > 0

    @property
    def achievable_rate(self) -> float:
        """The rate that n images can promise on average, summed over the zones.

        It is the one asked for, or 1 in n + 1 if they are too few; with a confidence, what its threshold has.
        """
        return float(self._achievable)

    @property
    def _achievable(self) -> Fraction:
        if self.confidence and self.n:
            return min(Fraction(self.shares * self._from_top, self.n + 1), Fraction(1))
        return min(_achievable(self.n, self.rate, self.shares), Fraction(1))

    @property
    def _from_top(self) -> int:
        """The rank of the threshold among the good scores, from the largest, which has 1."""
        return self.n + 1 - self._rank

    @property
    def stated_confidence(self) -> float:
        """The confidence that :attr:`bound` has: the one asked for, or a usual one."""
        return self.confidence or USUAL_CONFIDENCE

    @property
    def bound(self) -> float | None:
        """What the true false-alarm rate does not exceed, with :attr:`stated_confidence`; None if no rate is kept.

        For folds, it is an estimate. Zones share the confidence out, and their bounds add up.
        """
        if not self.keeps_a_rate:
            return None
        of_zone = bound_rate(self._from_top, self.n, share_confidence(self.stated_confidence, self.shares))
        return min(self.shares * of_zone, 1.0)

    def describe_rate(self) -> dict[str, Any] | None:
        """Return what the threshold promises of good images as plain values; None if that is nothing."""
        if not self.keeps_a_rate:
            return None
        return {
            "asked": self.rate,
            "on_average": self.achievable_rate,
            "at_most": self.bound,
            "confidence": self.stated_confidence,
            "estimated": self.method == "k-fold",
        }

    @property
    def shares(self) -> int:
        """In how many parts the rate is shared out: one for each zone."""
        return max(len(self.zones), 1)

    def join(self, scores: Sequence[float]) -> float:
        """Return the score of a photograph from those of its zones, in their order."""
        if not self.zones:
            return max(scores)
        return max(zone.find_standing(score) for zone, score in zip(self.zones.values(), scores, strict=True))

    def list_found(self, scores: Sequence[float]) -> tuple[str, ...]:
        """Return the names of the zones that are found defective, from the scores of all, in their order."""
        zones = zip(self.zones.items(), scores, strict=bool(self.zones))
        return tuple(name for (name, zone), score in zones if self.is_defect(zone.find_standing(score)))

    def p_values(self, scores: ArrayLike) -> Floats:
        """Return (1 + number of calibration scores at least as high) / (n + 1) for each score; see :meth:`p_value`."""
        if self.zones:
            return np.array([self.p_value(float(score)) for score in np.ravel(scores)], np.float64)
        reached = np.asarray(scores, np.float64) - self.rounding[0]
        at_least = self.n - np.searchsorted(np.array(self.image_scores), reached, side="left")
        return np.asarray((1.0 + at_least) / (self.n + 1), np.float64)

    def p_value(self, score: float) -> float | None:
        """Return the p-value of one score; None without good scores.

        With zones, it is the number of zones times that of the oddest one, at most 1.
        """
        if self.zones:
            at_least = self.n - count_below(score, self.n)
            return min(self.shares * (1 + at_least) / (self.n + 1), 1.0)
        reached = score - self.rounding[0]
        return (1 + self.n - bisect_left(self.image_scores, reached)) / (self.n + 1) if self.n else None

    def is_defect(self, score: float) -> bool | None:
        """Return the verdict on one score; None without a threshold."""
        return None if self.image_threshold is None else score > self.image_threshold

    def say_rate(self) -> str:
        """Return the rate that was asked for, and what became of it, in a few words; nothing without any."""
        if not self.keeps_a_rate:
            return ""
        asked = f", rate {self.rate:g}" + (f" with {self._sure}" if self.confidence else "")
        return (
            f"{asked}: on average {say_at_most(self.achievable_rate)}, with {self._sure} {say_at_most(self.bound or 0)}"
        )

    @property
    def _sure(self) -> str:
        return f"{100 * self.stated_confidence:.6g}% confidence"

    def promise(self, *, brief: bool = False) -> str:
        """Say in a sentence what the threshold promises.

        Args:
            brief: leave out the bound, which takes a third of a second to import what computes it.
        """
        if self.method == "none":
            return "none: no good images were held out, so there are no verdicts"
        value = f"{self.image_threshold:.6g}"
        if self.method in ("value", "f1"):
            how = "as given" if self.method == "value" else "the best F1 on the validation images"
            return f"{value}, {how}; it promises nothing about false alarms{self._share_above()}"
        goods = f"good {self.unit}s"
        zones = f" in {self.shares} zone{'s' * (self.shares != 1)}" if self.zones else ""
        source = f"{self.n} {_MADE_BY[self.method].replace('image', self.unit)}{zones}"
        if self._achievable == 1:
            return f"{value}: promises nothing about false alarms (from {source}, too few){self._too_few()}"
        # With a confidence, it is the rate of a rank.
        kept = say_at_most(self.achievable_rate) if self.confidence else _in_words(self._achievable)
        bound = "" if brief else self._say_bound()
        if self.method == "k-fold":
            return f"{value}: about {kept} {goods} is rejected{bound} (an estimate from {source}){self._too_few()}"
        return f"{value}: at most {kept} {goods} is rejected{bound} (from {source}){self._too_few()}"

    def _say_bound(self) -> str:
        """Return how sure the rate is, as the rest of a sentence."""
        about = "about " * (self.method == "k-fold")
        return f" on average, with {self._sure} {about}at most {say_at_most(self.bound or 0.0)}"

    @property
    def threshold_image(self) -> str | None:
        """Name of the image whose score is the threshold; None if no image sets it, or its name is not known."""
        return self.images[self._rank - 1] if self.keeps_a_rate and self.images and not self.zones else None

    @property
    def _rank(self) -> int:
        if self.confidence:
            return _sure_rank(self.n, self.rate / self.shares, share_confidence(self.confidence, self.shares))
        return _rank(self.n, self.rate, self.shares)

    @property
    def unlike(self) -> Sequence[tuple[str, float]]:
        """Name and score of the fitted images that look least like the others, by folds; none without."""
        if self.chosen_by != "k-fold" or self.n < FEWEST_JUDGED or not self.images:
            return ()
        return list(zip(self.images, self.image_scores, strict=True))[: -UNLIKE - 1 : -1]

    def say_unlike(self) -> str:
        """Name those images in a sentence; nothing without any."""
        if not self.unlike:
            return ""
        named = ", ".join(f"{name} ({score:.6g})" for name, score in self.unlike)
        return (
            f"{named} look least like the other training images, half of which score at most "
            f"{statistics.median_low(self.image_scores):.6g}: see whether they are good."
        )

    def explain(self) -> list[str]:
        """Return sentences: which image sets the threshold, whether it lies far from the others, and what helps then.

        If all good images lie above the threshold, they say that instead.

        Far is farther above the next score than that is above the median of those below. By chance, about 4 in n
        calibrations have such an image if scores have the tail of an exponential distribution, and with 20 normally
        distributed scores, 6 in 100.
        """
        name, rank = self.threshold_image, self._rank
        if self.n and self._count_above() == self.n:
            return [f"Warning: all {self.n} good images lie above it, so that images like them are called defects."]
        if name is None:
            return []
        place = f"the largest of {self.n}" if rank == self.n else f"number {self.n + 1 - rank} from the top of {self.n}"
        sentences = [f"The image that sets the threshold is {name}: its score is {place}."]
        if self._is_rough:
            sentences.append(
                f"The threshold lies above that score by {self.rounding[0]:.2g}, since rounding moves scores by as "
                "much from one batch size to another."
            )
        below = self.image_scores[: rank - 1]
        if not self._is_far:
            return sentences
        return [
            *sentences,
            f"It lies far from the others: its score is {self.image_scores[rank - 1]:.6g}, the next is "
            f"{below[-1]:.6g}, and half of the scores below are at most {statistics.median_low(below):.6g}.",
            self._remedy(),
        ]

    @property
    def _is_rough(self) -> bool:
        """Tell whether rounding is visible next to the range of the scores."""
        return self.rounding[0] > VISIBLE * (self.image_scores[-1] - self.image_scores[0])

    @property
    def _is_far(self) -> bool:
        rank = self._rank
        if rank < FEWEST_JUDGED:
            return False
        below, score = self.image_scores[: rank - 1], self.image_scores[rank - 1]
        gap = score - below[-1]
        return gap > max(below[-1] - statistics.median_low(below), self.rounding[0])

    def _remedy(self) -> str:
        # Rounded up, by less than 1 in n + 1: 2 in 21 is a little more than 0.095.
        digits = 10 ** (len(str(self.n)) + 1)
        rate = math.ceil(self._rate_of_next() * digits) / digits
        folds = "" if self.method == "k-fold" else ", or train with --calibration 5-fold if the model fits in one pass"
        return (
            "Look at that image: if it is not good, remove it and train again. If it is, defects below its score are "
            f"missed: calibrate with more good images{folds}, or take the next score with --false-alarm-rate {rate:g}."
        )

    def _rate_of_next(self) -> Fraction:
        """Return the rate that makes the next lower score the threshold."""
        if self.confidence:
            return Fraction(bound_rate(self._from_top + 1, self.n, self.confidence))
        return Fraction(self._from_top + 1, self.n + 1)

    def _too_few(self) -> str:
        asked = _in_words(Fraction(str(self.rate)))
        if self.confidence:
            needed = _count_needed(self.rate / self.shares, share_confidence(self.confidence, self.shares))
            kept = f" with {100 * self.confidence:.6g}% confidence"
        else:
            needed, kept = math.ceil(self.shares / Fraction(str(self.rate))) - 1, ""
        return "" if self.n >= needed else f"; {asked}{kept} would need {needed} of them"

    def _share_above(self) -> str:
        if not self.n or self.image_threshold is None:
            return ""
        goods = _MADE_BY.get(self.chosen_by, "good images").replace("image", self.unit)
        return f" ({self._count_above()} of {self.n} {goods} lie above it)"

    def _count_above(self) -> int:
        threshold = math.inf if self.image_threshold is None else self.image_threshold
        return sum(score > threshold for score in self.image_scores)

    @cached_property
    def digest(self) -> str:
        """What tells this calibration from any other, whatever number it has in its history."""
        return digest_of(self._content())

    def to_json(self) -> str:
        """Return JSON that carries its own digest."""
        return json.dumps({"number": self.number, **self._content(), "digest": self.digest}, indent=1) + "\n"

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
            "images": list(self.images),
            "digests": list(self.digests),
            "rounding": list(self.rounding),
            "chosen_by": self.chosen_by,
            "weights": self.weights,
            **({} if self.given is None else {"given": self.given}),
            **({"confidence": self.confidence} if self.confidence else {}),
            **({"zones": {name: self._describe_zone(zone) for name, zone in self.zones.items()}} if self.zones else {}),
            **({} if self.parts is None else {"parts": {**asdict(self.parts), "others": list(self.others)}}),
        }

    def _describe_zone(self, zone: ZoneScores) -> dict[str, Any]:
        # For those who read the graph of an export without adcli.
        threshold = None if self.image_threshold is None else zone.find_score(self.image_threshold)
        return {
            "image_scores": list(zone.image_scores),
            "map_maxima": list(zone.map_maxima),
            "rounding": list(zone.rounding),
            "image_threshold": threshold,
            "pixel_threshold": zone.pixel_threshold,
        }

    @classmethod
    def from_json(cls, text: str, *, source: Path) -> "Calibration":
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: it was changed since, or is none, and the message names ``source`` and the field.
        """
        file = Artefact(source, RunError)
        return make_calibration(file.parse(parse_json, text), file)


def make_calibration(content: Any, file: Artefact) -> Calibration:
    """Return the calibration that the values in a file stand for; raises as :meth:`Calibration.from_json`."""
    file.check_digest(content, besides=("number",))
    stored = file.check(content, _Stored)
    made = Calibration(
        method=stored["method"],
        rate=stored["rate"],
        image_scores=tuple(stored["image_scores"]),
        map_maxima=tuple(stored["map_maxima"]),
        image_threshold=stored["image_threshold"],
        pixel_threshold=stored["pixel_threshold"],
        given=stored.get("given"),
        map_range=(stored["map_range"][0], stored["map_range"][1]),
        images=tuple(stored["images"]),
        digests=tuple(stored["digests"]),
        rounding=(stored["rounding"][0], stored["rounding"][1]),
        chosen_by=stored["chosen_by"],
        weights=stored["weights"],
        number=stored["number"],
        confidence=stored.get("confidence", 0.0),
        zones={name: _make_zone(zone) for name, zone in stored.get("zones", {}).items()},
        **_make_parts(stored.get("parts")),
    )
    fault = _find_fault(made)
    if fault:
        raise file.wrong(fault)
    return made


def _make_parts(stored: _StoredParts | None) -> dict[str, Any]:
    if stored is None:
        return {}
    return {"parts": PartRule(stored["pattern"], stored["views"]), "others": tuple(stored["others"])}


def _make_zone(stored: _StoredZone) -> ZoneScores:
    first, second = stored["rounding"]
    scores, maxima = tuple(stored["image_scores"]), tuple(stored["map_maxima"])
    return ZoneScores(scores, maxima, (first, second), stored["pixel_threshold"])


def find_span(zones: "Iterable[Calibration]") -> tuple[float, float]:
    """Return a colour scale for all zones."""
    lows, highs = zip(*(zone.map_range for zone in zones), strict=True)
    return min(lows), max(highs)


def _find_fault(made: Calibration) -> str:
    """Return what does not go together, or nothing."""
    lists = [("image_scores", made.image_scores), ("map_maxima", made.map_maxima)]
    for name, zone in made.zones.items():
        lists += [(f"zones.{name}.image_scores", zone.image_scores), (f"zones.{name}.map_maxima", zone.map_maxima)]
        if len(zone.image_scores) != made.n:
            return f"zones.{name}.image_scores is a list of {len(zone.image_scores)}, not of {made.n} as image_scores"
    for name, values in lists:
        if any(left > right for left, right in pairwise(values)):
            return f"{name} is not ascending"
    for name, texts in (("images", made.images), ("digests", made.digests)):
        if len(texts) not in (0, made.n):
            return f"{name} is a list of {len(texts)}, not of {made.n} as image_scores"
    if (made.image_threshold is None) != (made.method == "none"):
        return f"image_threshold is {made.image_threshold}, which method '{made.method}' does not have"
    return "map_range is not ascending" if made.map_range[0] > made.map_range[1] else ""


def conformal_threshold(ascending: tuple[float, ...], rate: float, confidence: float = 0.0) -> float | None:
    """Return the order statistic ceil((n + 1)(1 - rate)) of n good scores; the largest where n is too small for it.

    With a confidence, return the lowest one above which, with it, at most the rate of good images lies.
    """
    if not ascending:
        return None
    n = len(ascending)
    return ascending[(_sure_rank(n, rate, confidence) if confidence else _rank(n, rate)) - 1]


def _rank(n: int, rate: float, shares: int = 1) -> int:
    return math.ceil((n + 1) * (1 - _achievable(n, rate, shares) / shares))


def bound_rate(from_top: int, n: int, confidence: float) -> float:
    """Return what the share of good images above one of n good scores does not exceed, with a confidence.

    Args:
        from_top: the rank of that score from the largest, which has 1.
        n: number of scores.
        confidence: between 0 and 1.
    """
    from adcli.metrics import upper_bound

    # As many of n new ones above it would have the same bound.
    return upper_bound(from_top - 1, n, confidence)


def share_confidence(confidence: float, shares: int) -> float:
    """Return the confidence that each of several bounds needs so that all hold with a confidence; 0 if that is 0."""
    return 1 - (1 - confidence) / shares if confidence else 0.0


def _sure_rank(n: int, rate: float, confidence: float) -> int:
    """Return the rank of the lowest of n scores above which, with a confidence, at most a rate lies; n without one.

    The k-th score from the top is such a one if fewer than k of n new ones would lie above a threshold of that rate
    with a probability of at most 1 - confidence. To predict, this must not import what computes the bound.
    """
    from_top, fewer = 0, 0.0
    while from_top < n:
        fewer += _binomial(from_top, n, rate)
        if fewer > 1 - confidence:
            break
        from_top += 1
    return n + 1 - max(from_top, 1)


def _count_needed(rate: float, confidence: float) -> int:
    """Return how many good images it takes for a rate with a confidence: their largest score is the threshold then."""
    count = max(math.ceil(math.log1p(-confidence) / math.log1p(-rate)), 1)
    # Rounding may have been the wrong way.
    while count > 1 and _binomial(0, count - 1, rate) <= 1 - confidence:
        count -= 1
    while _binomial(0, count, rate) > 1 - confidence:
        count += 1
    return count


def _binomial(count: int, n: int, rate: float) -> float:
    """Return the probability that so many of n are of a kind that has that rate."""
    ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
    return math.exp(ways + count * math.log(rate) + (n - count) * math.log1p(-rate))


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


def _achievable(n: int, rate: float, shares: int = 1) -> Fraction:
    # Exact arithmetic: (n + 1)(1 - 0.01) in floating point can round a whole number up.
    return max(Fraction(str(rate)), Fraction(shares, n + 1))


def _in_words(rate: Fraction) -> str:
    return f"1 in {rate.denominator}" if rate.numerator == 1 else f"{float(rate):.3g} of all"


def say_at_most(rate: float) -> str:
    """Return a rate in words, rounded up."""
    if rate > 1 / 4:
        return f"{math.ceil(rate * 100) / 100:g} of all"
    return f"1 in {math.floor(1 / rate + 1e-9)}" if rate > 0 else "none"
