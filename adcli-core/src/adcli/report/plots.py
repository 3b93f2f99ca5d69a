"""Plots as SVG, drawn by matplotlib in the page's own colours, so that they follow its light or dark mode."""

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from adcli.metrics.curves import Counts, Flags, Floats, auroc, average_precision, tabulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"ink": "#010101", "faint": "#020202", "good": "#030303", "defect": "#040404", "held": "#050505"}
"""What stands in the drawing for each of the page's colours, which are CSS variables."""

BINS = 40
FAR = 8
"""Scores whose largest is this many times their median are drawn on a logarithmic axis."""

DOTS = 2000
"""Scores of a stream that are drawn, at most."""

BELOW, RIGHT, ABOVE = 0.5, 0.2, 0.3
"""Inches beside the axes, for labels and a title."""

SHARES, VALUES = 0.65, 0.9
"""Inches left of the axes, where they show shares, and where they show values of up to seven characters."""

THRESHOLD = "threshold"
"""What shows the threshold in a drawing; its identifier ends so, and the page's script moves it."""

_METADATA = ("Date", "Creator", "Format", "Type")

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adcli",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": COLOURS["faint"],
    "ytick.color": COLOURS["faint"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
}


def histogram(scores: Floats, is_defect: Flags, held_out: Floats, threshold: float | None, unit: str = "image") -> str:
    """Return a histogram of scores by class, with the threshold.

    Args:
        scores: of labelled test images, (N,).
        is_defect: their labels, (N,).
        held_out: scores of the good images that set the threshold, (C,).
        threshold: above it lies a defect; None where there is none.
        unit: what has a score, ``"image"`` or ``"part"``.
    """
    from matplotlib.ticker import MaxNLocator

    everything = np.concatenate([scores, held_out, [] if threshold is None else [threshold]])
    low, high = everything.min(), everything.max()
    logarithmic = low > 0 and high > FAR * np.median(everything)
    edges = (np.geomspace(low, high, BINS + 1) if logarithmic else np.histogram_bin_edges(everything, BINS)).tolist()

    def draw(axes: "Axes") -> None:
        classes = (("good", "good", ~is_defect), ("defective", "defect", is_defect))
        for label, colour, chosen in classes:
            if chosen.any():
                counts = np.histogram(scores[chosen], edges)[0]
                label = f"{label}, {chosen.sum()} tested"
                axes.stairs(counts, edges, fill=True, color=COLOURS[colour], alpha=0.65, label=label)
        if len(held_out):
            label = f"good, {len(held_out)} that set the threshold"
            axes.stairs(np.histogram(held_out, edges)[0], edges, color=COLOURS["held"], linewidth=1.4, label=label)
        if threshold is not None:
            line = axes.axvline(threshold, color=COLOURS["ink"], linestyle="--", linewidth=1.2, label="threshold")
            line.set_gid(THRESHOLD)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel(f"{unit} score, logarithmic" if logarithmic else f"{unit} score")
        axes.set_ylabel(f"{unit}s")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _put_legend_above(axes, columns=2)

    return _drawn("histogram", draw, (5.9, 3.4))


def roc(scores: Floats, is_defect: Flags, threshold: float | None, unit: str = "image") -> str:
    """Return the receiver operating characteristic of scores (N,), with the point of the threshold."""
    counts = tabulate(scores, is_defect)
    false_positives, true_positives = _cumulated(counts)

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=COLOURS["faint"], linestyle=":", linewidth=1)
        axes.plot(false_positives, true_positives, color=COLOURS["good"], linewidth=1.8)
        if threshold is not None:
            called = scores > threshold
            _mark(axes, called[~is_defect].mean(), called[is_defect].mean())
            axes.plot([], [], "o", color=COLOURS["defect"], label="threshold")
            axes.legend(loc="lower right")
        _unit(axes, f"share of good {unit}s rejected", f"share of defective {unit}s found")
        axes.set_title(f"ROC, area {auroc(counts):.3f}", fontsize=11)

    return _drawn("roc", draw, (3.6, 3.4), SHARES)


def precision_recall(scores: Floats, is_defect: Flags, threshold: float | None, unit: str = "image") -> str:
    """Return the precision-recall curve of scores (N,), with the point of the threshold."""
    counts = tabulate(scores, is_defect)
    hits, calls = np.cumsum(counts.defect), np.cumsum(counts.good + counts.defect)

    def draw(axes: "Axes") -> None:
        axes.axhline(is_defect.mean(), color=COLOURS["faint"], linestyle=":", linewidth=1)
        # In steps: the average precision is the area under these, and not under lines between the points.
        axes.step(np.append(0, hits / hits[-1]), np.append(1, hits / calls), color=COLOURS["good"], linewidth=1.8)
        called = scores > threshold if threshold is not None else np.zeros(len(scores), bool)
        if called.any():
            _mark(axes, called[is_defect].mean(), is_defect[called].mean())
        _unit(axes, f"recall: share of defective {unit}s found", "precision: defective among rejected")
        axes.set_title(f"Precision and recall, AP {average_precision(counts):.3f}", fontsize=11)

    return _drawn("precision", draw, (3.6, 3.4), SHARES)


def course(scores: Floats, calibrating: Floats, threshold: float | None, span: tuple[int, int, int] | None) -> str:
    """Return the scores of a stream in the order of time, with their running median.

    Args:
        scores: of the stream, (M,).
        calibrating: scores of the good images that it began with, (C,); the middle nine tenths of them are a band.
        threshold: above it lies a defect; None where there is none.
        span: the first image after a change, and between which ones it may have been; None without a change.
    """
    numbers = np.arange(1, len(scores) + 1)
    first = len(scores) if span is None else span[0]
    # A dot more would be seen in no drawing, and all would be slow to open.
    shown = np.linspace(0, len(scores) - 1, min(len(scores), DOTS)).astype(int)

    def draw(axes: "Axes") -> None:
        if len(calibrating):
            low, high = np.quantile(calibrating, [0.05, 0.95])
            axes.axhspan(low, high, color=COLOURS["held"], alpha=0.15, linewidth=0, label="90 % of what calibrates")
        for label, colour, part in (
            ("image", "good", shown[shown < first]),
            ("after the change", "defect", shown[shown >= first]),
        ):
            if len(part):
                axes.plot(
                    numbers[part], scores[part], ".", color=COLOURS[colour], markersize=3.5, alpha=0.7, label=label
                )
        middle = _running_median(scores)
        axes.plot(numbers[shown], middle[shown], color=COLOURS["ink"], linewidth=1.4, label="running median")
        if threshold is not None:
            axes.axhline(threshold, color=COLOURS["ink"], linestyle="--", linewidth=1.2, label="threshold")
        _show_span(axes, span)
        if scores.min() > 0 and scores.max() > FAR * np.median(scores):
            axes.set_yscale("log")
        axes.set(xlabel="image", ylabel="image score", xlim=(0.5, len(scores) + 0.5))
        _put_legend_above(axes, columns=3)

    return _drawn("course", draw, (9.0, 3.4))


def evidence(statistics: Floats, alarm: float, span: tuple[int, int, int] | None) -> str:
    """Return the statistic R of a stream (M,) in the order of time, with the value that is an alarm."""

    def draw(axes: "Axes") -> None:
        axes.plot(np.arange(1, len(statistics) + 1), statistics, color=COLOURS["good"], linewidth=1.6, label="R")
        axes.axhline(alarm, color=COLOURS["ink"], linestyle="--", linewidth=1.2, label="alarm")
        _show_span(axes, span)
        axes.set_yscale("log")
        axes.set(xlabel="image", ylabel="R, logarithmic", xlim=(0.5, len(statistics) + 0.5))
        _put_legend_above(axes, columns=3)

    return _drawn("evidence", draw, (9.0, 2.6))


def _put_legend_above(axes: "Axes", columns: int) -> None:
    """Put a legend over the axes, and leave room for its rows."""
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)
    figure = axes.figure
    rows = math.ceil(len(legend.get_texts()) / columns)
    figure.subplots_adjust(top=1 - (0.12 + 0.2 * rows) * figure.dpi / figure.bbox.height)


def _show_span(axes: "Axes", span: tuple[int, int, int] | None) -> None:
    """Mark where a change was, and where it may have been: before images with these indices."""
    if span is not None:
        axes.axvspan(span[1] + 0.5, span[2] + 0.5, color=COLOURS["defect"], alpha=0.15, linewidth=0)
        axes.axvline(span[0] + 0.5, color=COLOURS["defect"], linewidth=1.2, label="change")


def _running_median(scores: Floats) -> Floats:
    """Return the median of each score and its neighbours (M,)."""
    half = min(max(len(scores) // 40, 5), 100)
    return np.array([np.median(scores[max(i - half, 0) : i + half + 1]) for i in range(len(scores))])


def _cumulated(counts: Counts) -> tuple[Floats, Floats]:
    """Return false- and true-positive rates from the highest threshold to the lowest, both from 0 to 1."""
    return tuple(np.append(0, np.cumsum(part) / part.sum()) for part in (counts.good, counts.defect))  # type: ignore[return-value]


def _mark(axes: "Axes", across: float, up: float) -> None:
    axes.plot(across, up, "o", color=COLOURS["defect"], clip_on=False, gid=THRESHOLD)


def _unit(axes: "Axes", across: str, up: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up, aspect="equal")


def _drawn(name: str, draw: Callable[["Axes"], None], inches: tuple[float, float], left: float = VALUES) -> str:
    """Return a figure as an SVG element, whose identifiers begin with ``name`` and whose colours are the page's."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        # Matplotlib's own layouts draw everything twice more to find margins that hardly differ.
        figure = Figure(figsize=inches)
        width, height = inches
        figure.subplots_adjust(left / width, BELOW / height, 1 - RIGHT / width, 1 - ABOVE / height)
        axes = figure.add_subplot()
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    for start in ('id="', "url(#", 'href="#'):
        svg = svg.replace(start, f"{start}{name}-")
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("<svg", f"<svg {_scales(axes, inches[1])}", 1)


def _scales(axes: "Axes", height: float) -> str:
    """Return where values lie in a finished drawing, as attributes: for each axis two values and their places."""
    from matplotlib.transforms import Affine2D

    points = 72 / axes.figure.dpi
    box = axes.get_window_extent().transformed(Affine2D().scale(points))
    across, up = axes.get_xlim(), axes.get_ylim()
    x = (*across, box.x0, box.x1)
    y = (*up, 72 * height - box.y0, 72 * height - box.y1)
    name = axes.get_xscale()
    return f'data-x="{_listed(x)}" data-y="{_listed(y)}" data-scale="{name}"'


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.8g}" for value in values)
