"""How well maps locate defects: exact up to a stated number of pixels, and in bounded memory beyond it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adcli.metrics.curves import Counts, Flags, Floats, area, aupro, auroc
from adcli.metrics.strips import STRIP, Rows, bands, strips
from adcli.metrics.table import compute_all

EXACT = 2**25
"""Pixels that are kept as they are; beyond them, values are sorted into bins."""

DROPPED_BITS = 10
"""Trailing bits of a value that bins leave out: a bin is 2^-13 of a value wide."""

BINS = 1 << (32 - DROPPED_BITS)

KEPT = 1024
"""Pixels of an image's defects that AUPIMO looks at beyond :data:`EXACT`, evenly spread over their ranks."""

MERGED = 16
"""Images whose defective pixels are merged together, beyond :data:`EXACT`."""

PIMO_LOW, PIMO_HIGH = 1e-5, 1e-4
"""False-positive rates that AUPIMO averages over."""

Keys = NDArray[np.uint32]

ONE = np.int32(1)
"""Of the same type as what it is added to, which is thirty times as fast."""

UNSEEN = np.uint32(0)
"""The key of what was not looked at; those of all finite numbers are higher, in bins too."""


class Spots(NamedTuple):
    """Defective pixels: their keys (D,), how many there are of each, and which shares of their regions they are."""

    keys: Keys
    number: Floats
    overlap: Floats

    def merged(self) -> "Spots":
        """Return the same with each key once, in ascending order."""
        keys, index = np.unique(self.keys, return_inverse=True)
        number, overlap = (np.bincount(index, weights=part, minlength=len(keys)) for part in self[1:])
        return Spots(keys, number.astype(np.float64), overlap.astype(np.float64))


def joined(parts: Iterable[Spots]) -> Spots:
    """Return all pixels of several."""
    return Spots(*map(np.concatenate, zip(*parts, strict=True))).merged()


@dataclass
class Kind:
    """The defects of one kind, so far.

    Attributes:
        spots: defective pixels, merged from time to time.
        images: the keys of each image's defective pixels, ascending, for AUPIMO.
        regions: how many regions there are.
    """

    spots: list[Spots] = field(default_factory=list)
    images: list[Keys] = field(default_factory=list)
    regions: int = 0


class Good(Protocol):
    """The good pixels of all images."""

    @property
    def total(self) -> int:
        """How many there are."""

    def below(self, keys: Keys) -> tuple[Floats, Floats]:
        """Return how many are below each of some keys (T,), and how many equal it."""
        ...


@dataclass(frozen=True)
class Kept:
    """Good pixels as they are, their keys ascending."""

    keys: Keys

    @property
    def total(self) -> int:
        return len(self.keys)

    def below(self, keys: Keys) -> tuple[Floats, Floats]:
        lower, upper = (np.searchsorted(self.keys, keys, side=side) for side in ("left", "right"))
        return lower.astype(np.float64), (upper - lower).astype(np.float64)


@dataclass(frozen=True)
class Binned:
    """Good pixels in bins: how many are below each, and below all, (B + 1,)."""

    cumulated: NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.cumulated[-1])

    def below(self, keys: Keys) -> tuple[Floats, Floats]:
        lower, upper = self.cumulated[keys], self.cumulated[keys + np.uint32(1)]
        return lower.astype(np.float64), (upper - lower).astype(np.float64)


@dataclass(frozen=True)
class Pimo:
    """The shared false-positive rate of images without a defect, at their highest values.

    Attributes:
        keys: distinct values, descending, (K,).
        rate: mean over the images of the share of pixels that are as high or higher, (K,).
    """

    keys: Keys
    rate: Floats

    def areas(self, images: Iterable[Keys], defects_first: bool | None = None) -> Floats:
        """Return each image's area; ties are resolved for or against the defects, or go half and half."""
        x = np.log(self.rate)
        low, high = np.log(PIMO_LOW), np.log(PIMO_HIGH)
        areas = []
        for keys in images:
            above, reached = (1 - np.searchsorted(keys, self.keys[1:], side=side) / len(keys) for side in _SIDES)
            start = reached if defects_first is True else above
            end = above if defects_first is False else reached
            areas.append(area(x, start, end, low, high) / (high - low))
        return np.array(areas)


_SIDES: tuple[Literal["right"], Literal["left"]] = ("right", "left")
"""Of all keys that are equal, those that count as lower: all of them, or none."""


@dataclass(frozen=True)
class _Image:
    """An image's map and its truth, taken a few rows at a time.

    Attributes:
        anomaly_map: values; whatever they are where nothing was seen.
        mask: the truth.
        seen: where the image was looked at; None for everywhere.
        dropped: trailing bits that keys are without.
    """

    anomaly_map: Rows
    mask: Flags
    seen: Flags | None
    dropped: int

    @cached_property
    def marked(self) -> Flags:
        """In which rows there is a defect, (H,)."""
        return np.asarray(self.mask.any(axis=1))

    def count_good(self) -> int:
        """Return how many good pixels were looked at."""
        if self.seen is None:
            return self.mask.size - int(np.count_nonzero(self.mask))
        return int(np.count_nonzero(self.seen)) - int(np.count_nonzero(self.seen & self.mask))

    def good(self) -> Iterator[Keys]:
        """Yield the keys of good pixels that were looked at, row by row."""
        for rows in strips(self.mask.shape):
            values, counted = self.anomaly_map[rows], None if self.seen is None else self.seen[rows]
            if counted is None or counted.all():
                counted = None
            elif not counted.any():
                continue
            if not np.isfinite(values if counted is None else values[counted]).all():
                raise ValueError("the map holds values that are no finite numbers")
            keys = self._keys(values)
            if self.marked[rows].any():
                keys = keys[~self.mask[rows] if counted is None else counted & ~self.mask[rows]]
            elif counted is not None:
                keys = keys[counted]
            yield keys.ravel()

    def regions(self) -> Iterator[tuple[Keys, NDArray[np.int32], int]]:
        """Yield the keys of defective pixels row by row, which region of several each is in, and how many these are."""
        for band in bands(self.mask):
            inside = band.labels > 0
            keys = self._keys(np.ascontiguousarray(self.anomaly_map[band.rows][:, band.columns])[inside])
            if self.seen is not None:
                keys[~self.seen[band.rows, band.columns][inside]] = UNSEEN
            yield keys, band.labels[inside], band.found

    def _keys(self, values: NDArray[np.float32]) -> Keys:
        keys = ordered_keys(values)
        keys >>= np.uint32(self.dropped)
        return keys


class PixelMetrics:
    """Pixel AUROC, average precision, F1-max, AUPRO and AUPIMO, accumulated image by image.

    Up to :data:`EXACT` pixels, all values are kept, and the metrics are exact. From there on values are sorted into
    2^22 bins by the leading bits of their floating-point representation, whose order is that of the values, so that no
    range has to be known beforehand. Values in one bin count as ties; ``error`` then says how far each metric can be
    from the exact one, from the two orders in which the bins could hold them. (Maps that differ only far behind a large
    common offset, such as 1000.00 and 1000.01, fall into one bin; the error says so.)

    AUPIMO: Bertoldo et al., AUPIMO, BMVC 2024, arXiv 2401.01984. For each defective image, the share of its defective
    pixels that is found, averaged over the logarithm of the false-positive rate from 1e-5 to 1e-4; the rate is the mean
    of those of the images without any defect. Left out where these have too few pixels to have a rate of 1e-5.
    """

    def __init__(self, exact: int = EXACT) -> None:
        self.exact = exact
        self.pixels = 0
        # Defective pixels, and those of them where the image was not looked at.
        self.defective = 0
        self.unseen = 0
        self._kinds: dict[str, Kind] = {}
        # Good pixels of images without and with defects: as they are, or counted.
        self._normal: list[Keys] = []
        self._beside: list[Keys] = []
        self._histogram: NDArray[np.int64] | None = None
        # Each image without a defect weighs one: its pixels weigh 1 / area.
        self._normal_shares: Floats = np.empty(0)
        # Of one image, while it is counted.
        self._counts_of_one: NDArray[np.int32] = np.empty(0, np.int32)
        self._normal_images = 0
        self._sorted: Good | None = None

    def update(self, anomaly_map: Rows, mask: Flags, kind: str | None = None, seen: Flags | None = None) -> None:
        """Count an anomaly map (H, W) against its ground truth (H, W), True where defective, of some kind of defect.

        Where an image was not looked at, good pixels do not count, and defective ones are missed: they are below all
        others. The map is taken a few rows at a time, and so may be one that is computed when it is asked for.

        Args:
            anomaly_map: values; whatever they are where nothing was seen.
            mask: the truth.
            kind: of the defect.
            seen: where the image was looked at, (H, W); None for everywhere.

        Raises:
            ValueError: they differ in size, or a value is no finite number; nothing can be counted after the latter.
        """
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"map {anomaly_map.shape} and mask {mask.shape} differ in size")
        self.pixels += mask.size
        self._sorted = None
        if self.pixels > self.exact and self._histogram is None:
            self._bin()
        image = _Image(anomaly_map, mask, seen, 0 if self._histogram is None else DROPPED_BITS)
        is_defective = bool(image.marked.any())
        if is_defective:
            self.unseen += 0 if seen is None else int((mask & ~seen).sum())
            self.defective += int(np.count_nonzero(mask))
            self._add_defects(image, self._kinds.setdefault(kind or "defect", Kind()))
        self._add_good(image, of_normal=not is_defective)

    def _add_good(self, image: "_Image", *, of_normal: bool) -> None:
        """Count the good pixels of an image, which is without any defect or not."""
        number = image.count_good()
        if not number:
            return
        self._normal_images += of_normal
        if self._histogram is None:
            kept, filled = np.empty(number, np.uint32), 0
            for keys in image.good():
                kept[filled : filled + len(keys)] = keys
                filled += len(keys)
            (self._normal if of_normal else self._beside).append(kept)
            return
        self._count(image.good(), number if of_normal else 0)

    def _count(self, parts: Iterable[Keys], area: int) -> None:
        """Count an image's good pixels; ``area`` is how many there are if it has no defect, and else 0."""
        assert self._histogram is not None
        if not area:
            for keys in parts:
                np.add.at(self._histogram, keys, 1)
            return
        # Counted by themselves first: adding 1 / area again and again would add up its rounding.
        lowest, highest = BINS, 0
        for keys in parts:
            np.add.at(self._counts_of_one, keys, ONE)
            lowest, highest = min(lowest, int(keys.min())), max(highest, int(keys.max()))
        for start in range(lowest, highest + 1, STRIP):
            some = slice(start, min(start + STRIP, highest + 1))
            self._histogram[some] += self._counts_of_one[some]
            self._normal_shares[some] += self._counts_of_one[some] * (1 / area)
        self._counts_of_one[lowest : highest + 1] = 0

    def _add_defects(self, image: "_Image", kind: Kind) -> None:
        parts = []
        for keys, labels, count in image.regions():
            areas = np.bincount(labels)
            parts.append(Spots(keys, np.ones(len(keys)), 1 / areas[labels]))
            kind.regions += count
        spots = Spots(*map(np.concatenate, zip(*parts, strict=True)))
        kind.images.append(np.sort(spots.keys))
        if self._histogram is not None:
            kind.images[-1] = spread(kind.images[-1])
            # Of a large region little is left.
            spots = spots.merged()
        kind.spots.append(spots)
        if self._histogram is not None and len(kind.spots) >= MERGED:
            kind.spots = [joined(kind.spots)]

    def _bin(self) -> None:
        """Sort what was kept into bins."""
        self._histogram, self._normal_shares = np.zeros(BINS, np.int64), np.zeros(BINS)
        self._counts_of_one = np.zeros(BINS, np.int32)
        drop = np.uint32(DROPPED_BITS)
        for images, is_normal in ((self._normal, True), (self._beside, False)):
            for keys in images:
                keys >>= drop
                self._count([keys], len(keys) if is_normal else 0)
        self._normal, self._beside = [], []
        for kind in self._kinds.values():
            kind.images = [spread(keys >> drop) for keys in kind.images]
            kind.spots = [joined(part._replace(keys=part.keys >> drop) for part in kind.spots)]

    def result(self) -> dict[str, float | dict[str, float]]:
        """Return the metrics; empty where no pixel is good or none is defective."""
        counts = self._counts(list(self._kinds.values()), self._good())
        if counts is None:
            return {}
        found: dict[str, float | dict[str, float]] = {**compute_all("pixel", counts)}
        images = [keys for kind in self._kinds.values() for keys in kind.images]
        pimo = self._pimo()
        if pimo is not None:
            found["aupimo"] = float(pimo.areas(images).mean())
        if self.unseen:
            found["unseen"] = self.unseen / self.defective
        if self._histogram is not None:
            extremes = [compute_all("pixel", counts.split(defects_first=first)) for first in (True, False)]
            middle = compute_all("pixel", counts)
            error = {key: _spread_of(value, (extreme[key] for extreme in extremes)) for key, value in middle.items()}
            if pimo is not None:
                both = (float(pimo.areas(images, defects_first=first).mean()) for first in (True, False))
                error["aupimo"] = _spread_of(float(pimo.areas(images).mean()), both) + 1 / KEPT
            found["error"] = error
        return found

    def by_kind(self) -> dict[str, dict[str, float]]:
        """Return AUROC, AUPRO and AUPIMO of each kind of defect, against all good pixels."""
        good, pimo = self._good(), self._pimo()
        described: dict[str, dict[str, float]] = {}
        for name, kind in self._kinds.items():
            counts = self._counts([kind], good)
            if counts is not None:
                described[name] = {"pixel_auroc": auroc(counts), "aupro": aupro(counts, 0.3)}
                if pimo is not None:
                    described[name]["aupimo"] = float(pimo.areas(kind.images).mean())
        return described

    def _good(self) -> Good:
        # Sorting takes seconds; all kinds of defect are compared with the same pixels.
        if self._sorted is None and self._histogram is not None:
            self._sorted = Binned(np.concatenate([[0], np.cumsum(self._histogram)]))
        elif self._sorted is None:
            parts = [*self._normal, *self._beside]
            self._sorted = Kept(np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint32))
        return self._sorted

    def _counts(self, kinds: list[Kind], good: Good) -> Counts | None:
        """Return the counts at each value of a defect, and of the good ones between two of them, in descending order.

        Good ones between the same two defects have no defect to be compared with, so no metric tells them apart.
        """
        if not kinds or not good.total:
            return None
        spots = joined(part for kind in kinds for part in kind.spots)
        below, tied = good.below(spots.keys[::-1])
        counts = np.zeros((3, 2 * len(below) + 1))
        counts[0, 1::2] = tied
        counts[0, 0::2] = -np.diff(np.concatenate([[good.total], below, [0]])) - np.concatenate([tied, [0]])
        counts[1, 1::2] = spots.number[::-1]
        counts[2, 1::2] = spots.overlap[::-1] / sum(kind.regions for kind in kinds)
        return Counts(*counts)

    def _pimo(self) -> Pimo | None:
        """Return the highest values of images without a defect, and their shared false-positive rate."""
        if not self._normal_images:
            return None
        if self._histogram is not None:
            keys = np.flatnonzero(self._normal_shares)[::-1].astype(np.uint32)
            shares = self._normal_shares[keys]
        else:
            keys, shares = _highest(self._normal)
        rate = np.cumsum(shares) / self._normal_images
        if not rate[0] <= PIMO_LOW * (1 + 1e-9):
            return None
        last = int(np.searchsorted(rate, PIMO_HIGH)) + 1
        return Pimo(keys[:last], rate[:last])


def _highest(images: list[Keys]) -> tuple[Keys, Floats]:
    """Return the distinct keys that can lie at rates up to :data:`PIMO_HIGH`, descending, and their images' shares."""
    # The mean rate of n images reaches that at the latest where one of them has n times as much.
    tops, weights = [], []
    for keys in images:
        count = min(len(keys), int(np.ceil(len(keys) * PIMO_HIGH * len(images))) + 1)
        tops.append(np.partition(keys, len(keys) - count)[len(keys) - count :])
        weights.append(np.full(count, 1 / len(keys)))
    distinct, index = np.unique(np.concatenate(tops), return_inverse=True)
    shares = np.bincount(index, weights=np.concatenate(weights)).astype(np.float64)
    return distinct[::-1], shares[::-1]


def ordered_keys(values: NDArray[np.float32]) -> Keys:
    """Return integers in the order of finite floats, of the same shape."""
    # Adding zero makes -0.0 and 0.0, which are equal, the same bits.
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.int32)
    # Negative numbers are ordered backwards in their bits, and must come before all positive ones: all of a negative
    # number's bits are turned, of a positive one's only the sign.
    turned = bits >> 31
    turned |= np.int32(-(2**31))
    turned ^= bits
    keys: Keys = turned.view(np.uint32)
    return keys


def spread(keys: Keys) -> Keys:
    """Return at most :data:`KEPT` of ascending keys, evenly spread over their ranks."""
    if len(keys) <= KEPT:
        return keys
    kept: Keys = keys[((np.arange(KEPT) + 0.5) * len(keys) / KEPT).astype(int)]
    return kept


def _spread_of(reported: float, extremes: Iterable[float]) -> float:
    return max(abs(extreme - reported) for extreme in extremes)
