"""Print how often the bound of a threshold holds that ``adcli`` states with 95 % confidence, as a Markdown table.

    python benchmarks/confidence.py [--n N...] [--calibrations N] [--rate RATE]

Scores are drawn from a distribution whose true rates are known: a threshold is set on n of them by adcli's own code,
and the true rate above it is compared with the bound. Exact coverage is 95 %.

Parts have three photographs whose scores correlate by 0.7. Calibrated on the largest score of each part, the bound is
one of parts, and holds. Calibrated on as many photographs, as if each were independent of all others, the bound fails:
there are fewer units than it counts.

An audit bounds the share of defective parts among those that a threshold accepts. For a threshold that was there
before the parts were drawn, that is exact; for one that the good ones among them set, the table says how it holds.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from adcli.scoring.audits import Audit
from adcli.scoring.calibration import Calibration

VIEWS = 3
CORRELATION = 0.7

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

_REFERENCE = 4_000_000
"""Draws that tell the true rates of what no formula gives."""


def draw_images(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw scores of single photographs."""
    return rng.standard_normal(shape)


def draw_views(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw scores of parts, each with its correlated photographs along a last axis."""
    common, own = rng.standard_normal((*shape, 1)), rng.standard_normal((*shape, VIEWS))
    return math.sqrt(CORRELATION) * common + math.sqrt(1 - CORRELATION) * own


def draw_parts(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw scores of parts: the largest of their photographs'."""
    return draw_views(rng, shape).max(axis=-1)


def draw_loose_views(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw the scores of photographs as if they were independent: all views of a third as many parts."""
    *lead, n = shape
    views = draw_views(rng, (*lead, math.ceil(n / VIEWS)))
    return views.reshape(*lead, -1)[..., :n]


def sample_truth(draw: Draw, count: int = _REFERENCE) -> Floats:
    """Return a large sample, ascending, which stands for the truth."""
    return np.sort(draw(np.random.default_rng(1), (count,)))


def cover(draw: Draw, truth: Floats, n: int, calibrations: int, rate: float, confidence: float = 0.0) -> float:
    """Return the share of calibrations whose bound the true rate above their threshold does not exceed.

    Args:
        draw: scores of good units that calibrate.
        truth: scores of the units that verdicts are passed on, ascending, as many as tell their rates.
        n: units that calibrate.
        calibrations: how many.
        rate: the false-alarm rate asked for.
        confidence: what ``--confidence`` is given; 0 for nothing.
    """
    held = 0
    for scores in draw(np.random.default_rng([n, calibrations]), (calibrations, n)):
        made = Calibration.conformal(scores, None, rate, "held-out", confidence)
        true_rate = 1 - np.searchsorted(truth, made.image_threshold, side="right") / len(truth)
        held += bool(true_rate <= (made.bound or 0.0))
    return held / calibrations


def cover_audit(parts: int, share: float, shift: float, audits: int) -> tuple[float, float]:
    """Return how often the bound on defective parts among the accepted holds: of a fixed threshold, and of a new one.

    Args:
        parts: drawn at random, each time.
        share: of them that is defective.
        shift: by how much defective ones score higher, in standard deviations of good ones.
        audits: how often they are drawn.
    """
    rng, held = np.random.default_rng([parts, audits]), np.zeros(2)
    for _ in range(audits):
        defective = rng.binomial(parts, share)
        good, bad = rng.standard_normal(parts - defective), rng.normal(shift, 1, defective)
        new = Calibration.conformal(good, None, 0.01, "folder").image_threshold or 0.0
        for i, threshold in enumerate((2.0, new)):
            audit = Audit(threshold, len(good), defective, int((good > threshold).sum()), int((bad <= threshold).sum()))
            missed, passed = share * ndtr(threshold - shift), (1 - share) * ndtr(threshold)
            held[i] += missed / (missed + passed) <= audit.at_most
    return float(held[0] / audits), float(held[1] / audits)


CASES: dict[str, tuple[Draw, Draw]] = {
    "single images": (draw_images, draw_images),
    "parts of three photographs, by their largest scores": (draw_parts, draw_parts),
    "their photographs as if independent, for verdicts on parts": (draw_loose_views, draw_parts),
    "their photographs as if independent, for verdicts on photographs": (draw_loose_views, draw_images),
}
"""What calibrates, and what verdicts are passed on."""


def lines(sizes: Sequence[int], calibrations: int, rate: float) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| units | {' | '.join(f'n = {n}' for n in sizes)} |"
    yield f"|---|{'---|' * len(sizes)}"
    for name, (draw, judged) in CASES.items():
        truth = sample_truth(judged)
        cells = [f"{cover(draw, truth, n, calibrations, rate):.1%}" for n in sizes]
        yield f"| {name} | {' | '.join(cells)} |"


def audit_lines(sizes: Sequence[int], audits: int) -> Iterator[str]:
    """Yield the lines of the table of audits."""
    yield "| parts drawn | share defective | threshold that was there | threshold that they set |"
    yield "|---|---|---|---|"
    for parts in sizes:
        for share in (0.02, 0.1, 0.3):
            there, new = cover_audit(parts, share, 2.0, audits)
            yield f"| {parts} | {share:.0%} | {there:.1%} | {new:.1%} |"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", nargs="*", type=int, default=[20, 43, 100, 300])
    parser.add_argument("--calibrations", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=0.01)
    arguments = parser.parse_args()
    for line in lines(arguments.n, arguments.calibrations, arguments.rate):
        print(line, flush=True)
    print()
    for line in audit_lines(arguments.n, arguments.calibrations):
        print(line, flush=True)


if __name__ == "__main__":
    main()
