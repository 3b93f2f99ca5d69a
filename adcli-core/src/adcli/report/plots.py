"""Plots as SVG, drawn by matplotlib in the page's own colours, so that they follow its light or dark mode."""

import io
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


def histogram(scores: Floats, is_defect: Flags, held_out: Floats, threshold: float | None) -> str:
    """Return a histogram of image scores by class, with the threshold.

    Args:
        scores: of labelled test images, (N,).
        is_defect: their labels, (N,).
        held_out: scores of the good images that set the threshold, (C,).
        threshold: above it lies a defect; None where there is none.
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
                axes.hist(
                    scores[chosen], edges, color=COLOURS[colour], alpha=0.65, label=f"{label}, {chosen.sum()} tested"
                )
        if len(held_out):
            label = f"good, {len(held_out)} that set the threshold"
            axes.hist(held_out, edges, histtype="step", color=COLOURS["held"], linewidth=1.4, label=label)
        if threshold is not None:
            line = axes.axvline(threshold, color=COLOURS["ink"], linestyle="--", linewidth=1.2, label="threshold")
            line.set_gid(THRESHOLD)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel("image score, logarithmic" if logarithmic else "image score")
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)

    return _drawn("histogram", draw, (5.9, 3.4))


def roc(scores: Floats, is_defect: Flags, threshold: float | None) -> str:
    """Return the receiver operating characteristic of image scores (N,), with the point of the threshold."""
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
        _unit(axes, "share of good images rejected", "share of defective images found")
        axes.set_title(f"ROC, area {auroc(counts):.3f}", fontsize=11)

    return _drawn("roc", draw, (3.6, 3.4))


def precision_recall(scores: Floats, is_defect: Flags, threshold: float | None) -> str:
    """Return the precision-recall curve of image scores (N,), with the point of the threshold."""
    counts = tabulate(scores, is_defect)
    hits, calls = np.cumsum(counts.defect), np.cumsum(counts.good + counts.defect)

    def draw(axes: "Axes") -> None:
        axes.axhline(is_defect.mean(), color=COLOURS["faint"], linestyle=":", linewidth=1)
        # In steps: the average precision is the area under these, and not under lines between the points.
        axes.step(np.append(0, hits / hits[-1]), np.append(1, hits / calls), color=COLOURS["good"], linewidth=1.8)
        called = scores > threshold if threshold is not None else np.zeros(len(scores), bool)
        if called.any():
            _mark(axes, called[is_defect].mean(), is_defect[called].mean())
        _unit(axes, "recall: share of defective images found", "precision: defective among rejected")
        axes.set_title(f"Precision and recall, AP {average_precision(counts):.3f}", fontsize=11)

    return _drawn("precision", draw, (3.6, 3.4))


def _cumulated(counts: Counts) -> tuple[Floats, Floats]:
    """Return false- and true-positive rates from the highest threshold to the lowest, both from 0 to 1."""
    return tuple(np.append(0, np.cumsum(part) / part.sum()) for part in (counts.good, counts.defect))  # type: ignore[return-value]


def _mark(axes: "Axes", across: float, up: float) -> None:
    axes.plot(across, up, "o", color=COLOURS["defect"], clip_on=False, gid=THRESHOLD)


def _unit(axes: "Axes", across: str, up: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up, aspect="equal")


def _drawn(name: str, draw: Callable[["Axes"], None], inches: tuple[float, float]) -> str:
    """Return a figure as an SVG element, whose identifiers begin with ``name`` and whose colours are the page's."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
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
