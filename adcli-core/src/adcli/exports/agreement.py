"""How far an exported graph is from the model it was made from: scores, maps, verdicts, speed."""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Pixels, Size, resize
from adcli.data.samples import Label
from adcli.errors import ExportError
from adcli.metrics import image_metrics
from adcli.metrics.curves import Flags, Floats
from adcli.scoring.runtime import Runtime, cores

BATCH = 16
ROUNDS = 5
ROUND_SECONDS = 0.05
"""A round of timing lasts at least this long; the two runtimes take turns, so that a busy machine slows both."""

MAPS = 10
"""How much more than scores maps may differ: the worst of millions of their values is compared."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported graph may be from its run.

    Attributes:
        scores: largest difference of an image score, relative to the range of good ones.
        auroc_drop: how much lower the image AUROC may be. Where this is given, and labels are known, scores of defects
            are free to differ as long as they rank as well: those far out are where lower precisions differ most, and
            where it matters least. None compares all scores.
    """

    scores: float
    auroc_drop: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What two runtimes say of the same images.

    Attributes:
        original: image scores of the run's model, shape (N,).
        exported: image scores of the exported graph, shape (N,).
        map_difference: largest difference of a map value; None for models without maps.
        map_range: largest minus smallest map value of the run's model.
        labels: of the images, N of them.
    """

    original: Floats
    exported: Floats
    map_difference: float | None
    map_range: float
    labels: Sequence[Label | None]

    @property
    def defective(self) -> Flags:
        """Tell which images are defects, shape (N,)."""
        return np.array([label == "defect" for label in self.labels], bool)

    @property
    def can_rank(self) -> bool:
        """Tell whether every image has a label, and both kinds are there."""
        return set(self.labels) == {"good", "defect"}


def compare(
    original: Runtime, exported: Runtime, images: Iterable[tuple[Pixels, Label | None]], size: Size
) -> Comparison:
    """Score images (H, W, 3), each of its own size, with both; the graph resizes them itself.

    Args:
        original: takes images of ``size``.
        exported: takes images of any size.
        images: as they are in their files, with their labels.
        size: height and width of the model's input.
    """
    pairs: list[tuple[float, float]] = []
    labels: list[Label | None] = []
    differences: list[float] = []
    lowest, highest = np.inf, -np.inf
    for pixels, label in images:
        labels.append(label)
        (score,), maps = original(resize(pixels, size)[None])
        (found,), found_maps = exported(pixels[None])
        pairs.append((float(score), float(found)))
        if shape(maps) != shape(found_maps):
            raise ExportError(f"the exported graph's maps have shape {shape(found_maps)}, the run's {shape(maps)}.")
        if maps is not None and found_maps is not None:
            differences.append(float(np.abs(maps - found_maps).max()))
            lowest, highest = min(lowest, float(maps.min())), max(highest, float(maps.max()))
    scores = np.array(pairs, np.float64).reshape(-1, 2)
    # max() of Python would let a NaN pass.
    map_difference = float(np.max(differences)) if differences else None
    return Comparison(scores[:, 0], scores[:, 1], map_difference, highest - lowest, labels)


def shape(maps: NDArray[np.float32] | None) -> tuple[int, ...] | None:
    """Return the shape of maps, or None where there are none."""
    return None if maps is None else maps.shape


def judge(
    comparison: Comparison,
    good_range: float,
    threshold: float | None,
    exported_threshold: float | None,
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Return differences relative to ranges, how well both rank, and how many verdicts agree.

    Args:
        comparison: what both say.
        good_range: largest minus smallest score of good images; where that is zero, that of all compared images.
        threshold: of the run; None where it gives no verdicts.
        exported_threshold: of the export, from the same images.
        tolerance: what is allowed; an image so close to either threshold may change its verdict.
    """
    original, exported = comparison.original, comparison.exported
    spread = good_range if good_range > 0 else max(float(np.ptp(original)), 1e-12)
    judged: dict[str, Any] = {
        "images": len(original),
        "tolerance": tolerance.scores,
        "range": spread,
        "score_difference": _score_difference(comparison, tolerance) / spread,
    }
    if comparison.can_rank and np.isfinite(exported).all():
        run, export = (image_metrics(scores, comparison.defective)["auroc"] for scores in (original, exported))
        judged["auroc"] = {"run": run, "export": export, "allowed_drop": tolerance.auroc_drop}
    if comparison.map_difference is not None:
        judged["map_difference"] = comparison.map_difference / max(comparison.map_range, 1e-12)
    if threshold is not None and exported_threshold is not None:
        margin = tolerance.scores * spread
        near = (np.abs(original - threshold) <= margin) | (np.abs(exported - exported_threshold) <= margin)
        unequal = (original > threshold) != (exported > exported_threshold)
        judged["verdicts"] = {
            "equal": int((~near & ~unequal).sum()),
            "unequal": int((~near & unequal).sum()),
            "near_threshold": int(near.sum()),
        }
    return judged


def _score_difference(comparison: Comparison, tolerance: Tolerance) -> float:
    differences = np.abs(comparison.original - comparison.exported)
    if tolerance.auroc_drop is None or not comparison.can_rank or not np.isfinite(differences).all():
        return float(differences.max())
    return float(differences[~comparison.defective].max())


def disagreement(judged: dict[str, Any]) -> str:
    """Return in words what exceeds the tolerance, and the option that allows more; empty if nothing does."""
    tolerance = judged["tolerance"]
    for key, what, allowed in (
        ("score_difference", "scores", tolerance),
        ("map_difference", "maps", MAPS * tolerance),
    ):
        difference = judged.get(key, 0.0)
        # A comparison with NaN is false.
        if not difference <= allowed:
            times = "" if what == "scores" else f", {MAPS} times that for maps"
            return (
                f"its {what} differ by up to {_beyond(difference, allowed)} of their range, above {allowed:g} "
                f"(-o tolerance={tolerance:g}{times})"
            )
    auroc = judged.get("auroc", {})
    drop = auroc.get("allowed_drop")
    if drop is not None and auroc["run"] - auroc["export"] > drop:
        return (
            f"its image AUROC falls from {auroc['run']:.6f} to {auroc['export']:.6f}, by "
            f"{_beyond(auroc['run'] - auroc['export'], drop)}, above {drop:g} (-o auroc_drop={drop:g})"
        )
    unequal = judged.get("verdicts", {}).get("unequal", 0)
    if not unequal:
        return ""
    return (
        f"{unequal} of {judged['images']} images get another verdict, though their scores are further from the "
        f"threshold than {tolerance:g} of the range (-o tolerance={tolerance:g})"
    )


def _beyond(value: float, limit: float) -> str:
    """Return a value with two digits, or as many as show that it lies beyond a limit."""
    texts = (f"{value:.{digits}g}" for digits in range(2, 17))
    return next((text for text in texts if float(text) > limit), f"{value:.17g}")


def speeds(original: Runtime, exported: Runtime, pixels: Sequence[Pixels]) -> dict[str, Any]:
    """Return images per second of both at batch 1 and 16, on decoded images of the model's size, and their ratio."""
    batch = np.stack([pixels[i % len(pixels)] for i in range(BATCH)])
    speed: dict[str, Any] = {"threads": cores()}
    for count in (1, BATCH):
        images = batch[:count]
        run, export = _rates(original, exported, images)
        speed[f"batch_{count}"] = {"run": round(run, 2), "export": round(export, 2), "ratio": round(export / run, 2)}
    return speed


def _rates(original: Runtime, exported: Runtime, images: Pixels) -> tuple[float, float]:
    for runtime in (original, exported):
        runtime(images)
    rounds = [(_rate(original, images), _rate(exported, images)) for _ in range(ROUNDS)]
    return statistics.median(run for run, _ in rounds), statistics.median(export for _, export in rounds)


def _rate(runtime: Runtime, images: Pixels) -> float:
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < ROUND_SECONDS:
        runtime(images)
        calls += 1
    return calls * len(images) / (time.perf_counter() - start)
