"""How well scores rank and maps locate defects; nothing here grows with the number of images or pixels.

AUROC, average precision and F1-max follow scikit-learn's definitions. AUPRO is the area under the per-region overlap
curve (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.2).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

KEY_BITS = 22
FPR_LIMIT = 0.3


def image_metrics(scores: Floats, is_defect: Flags) -> dict[str, float]:
    """Return AUROC, average precision and F1-max of image scores; counts alone where one of the classes is missing.

    Raises:
        ValueError: a score is no number.
    """
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    counts = {"n_good": int((~is_defect).sum()), "n_defect": int(is_defect.sum())}
    if not counts["n_good"] or not counts["n_defect"]:
        return {**counts}
    values, index = np.unique(scores, return_inverse=True)
    good = np.bincount(index, weights=~is_defect, minlength=len(values)).astype(np.float64)
    defect = np.bincount(index, weights=is_defect, minlength=len(values)).astype(np.float64)
    return {**_ranking(good, defect), "f1_max": _f1_max(good, defect), **counts}


def rates(scores: Floats, is_defect: Flags, threshold: float) -> dict[str, float]:
    """Return what a threshold does: shares of good images rejected and of defects found, and the four counts."""
    called = scores > threshold
    counts = {
        "true_positives": int((called & is_defect).sum()),
        "false_positives": int((called & ~is_defect).sum()),
        "true_negatives": int((~called & ~is_defect).sum()),
        "false_negatives": int((~called & is_defect).sum()),
    }
    shares = {}
    if (~is_defect).any():
        shares["false_alarm_rate"] = counts["false_positives"] / int((~is_defect).sum())
    if is_defect.any():
        shares["detection_rate"] = counts["true_positives"] / int(is_defect.sum())
    return {**shares, **counts}


def _ranking(good: Floats, defect: Floats) -> dict[str, float]:
    """Return AUROC and average precision from counts per ascending score."""
    below = np.cumsum(good) - good
    auroc = float((defect * (below + good / 2)).sum() / (good.sum() * defect.sum()))
    hits, calls = np.cumsum(defect[::-1]), np.cumsum((good + defect)[::-1])
    precision = hits / np.maximum(calls, 1)
    return {"auroc": auroc, "average_precision": float((precision * defect[::-1]).sum() / defect.sum())}


def _f1_max(good: Floats, defect: Floats) -> float:
    hits, calls = np.cumsum(defect[::-1]), np.cumsum((good + defect)[::-1])
    return float((2 * hits / (calls + defect.sum())).max())


class PixelMetrics:
    """Pixel AUROC, average precision and AUPRO, accumulated image by image in fixed memory.

    Map values are sorted into 2^22 bins by the leading bits of their floating-point representation, whose order is
    that of the values; so no range has to be known beforehand, and a bin is 2^-13 of a value wide. Values in one bin
    count as ties, which moves AUROC by at most half the share of tied pairs: ``auroc_error_bound`` states it for the
    maps at hand. Maps that differ only far behind a large common offset, such as 1000.00 and 1000.01, fall into one
    bin; the bound then says so.
    """

    def __init__(self) -> None:
        bins = 1 << KEY_BITS
        self._good = np.zeros(bins, np.int64)
        self._defect = np.zeros(bins, np.int64)
        # Each region weighs one: its pixels weigh 1 / area.
        self._overlap = np.zeros(bins, np.float64)
        self._regions = 0

    def update(self, anomaly_map: NDArray[np.float32], mask: Flags) -> None:
        """Count an anomaly map (H, W) against its ground truth (H, W), True where defective."""
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"map {anomaly_map.shape} and mask {mask.shape} differ in size")
        keys = _keys(anomaly_map)
        if not mask.any():
            _count(self._good, keys.ravel())
            return
        from scipy.ndimage import label

        regions, found = label(mask, structure=np.ones((3, 3), int))
        self._regions += found
        _count(self._good, keys[~mask])
        defective, area = keys[mask], np.bincount(regions.ravel())
        _count(self._defect, defective)
        np.add.at(self._overlap, defective, 1.0 / area[regions[mask]])

    def result(self) -> dict[str, float]:
        """Return the metrics; empty where no pixel is good or none is defective."""
        used = np.flatnonzero(self._good + self._defect)
        good, defect = self._good[used].astype(np.float64), self._defect[used].astype(np.float64)
        if not good.sum() or not defect.sum():
            return {}
        ties = float((good * defect).sum() / (good.sum() * defect.sum()))
        aupro = _area_under_overlap(good, self._overlap[used] / self._regions)
        return {**_ranking(good, defect), "aupro": aupro, "auroc_error_bound": ties / 2}


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return integers of :data:`KEY_BITS` bits in the order of the values."""
    # Adding zero makes -0.0 and 0.0, which are equal, the same bits.
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.int32)
    # Negative numbers are ordered backwards in their bits, and must come before all positive ones: all of a negative
    # number's bits are turned, of a positive one's only the sign.
    turned = bits >> 31
    turned |= np.int32(-(2**31))
    turned ^= bits
    return turned.view(np.uint32) >> np.uint32(32 - KEY_BITS)


def _count(histogram: NDArray[np.int64], keys: NDArray[np.uint32]) -> None:
    if not keys.size:
        return
    lowest = int(keys.min())
    counts = np.bincount(keys - np.uint32(lowest))
    histogram[lowest : lowest + len(counts)] += counts


def _area_under_overlap(good: Floats, overlap: Floats, limit: float = FPR_LIMIT) -> float:
    """Integrate mean overlap over false-positive rate up to a limit, and divide by the limit."""
    from scipy.integrate import trapezoid

    rate = np.concatenate([[0.0], np.cumsum(good[::-1]) / good.sum()])
    mean_overlap = np.concatenate([[0.0], np.cumsum(overlap[::-1])])
    inside = rate <= limit
    at_limit = np.interp(limit, rate, mean_overlap)
    x, y = np.append(rate[inside], limit), np.append(mean_overlap[inside], at_limit)
    return float(trapezoid(y, x) / limit)


def summarise(
    scores: Floats, is_defect: Flags, defects: Sequence[str | None], threshold: float | None, pixels: PixelMetrics
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds.

    Args:
        scores: image scores, shape (N,).
        is_defect: labels, shape (N,).
        defects: kinds of defect, N of them; None for good images.
        threshold: the calibrated threshold, or None where there is none.
        pixels: the accumulated maps.
    """
    image = image_metrics(scores, is_defect)
    if threshold is not None:
        image |= rates(scores, is_defect, threshold)
    summary: dict[str, Any] = {"image": image}
    located = pixels.result()
    if located:
        summary["pixel"] = located
    kinds = np.array([kind or "defect" for kind in defects])
    summary["defects"] = {
        str(kind): _of_kind(scores, is_defect, (kinds == kind) & is_defect, threshold)
        for kind in np.unique(kinds[is_defect])
    }
    return summary


def _of_kind(scores: Floats, is_defect: Flags, chosen: Flags, threshold: float | None) -> dict[str, float]:
    """Return metrics of one kind of defect against all good images."""
    compared = chosen | ~is_defect
    metrics = image_metrics(scores[compared], is_defect[compared])
    described: dict[str, float] = {"n": int(chosen.sum())}
    if "auroc" in metrics:
        described["auroc"] = metrics["auroc"]
    if threshold is not None:
        described["detection_rate"] = float((scores[chosen] > threshold).mean())
    return described
