"""Pieces of a report that a notebook shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from adcli._showing import Markup, join_blocks, list_facts, show_image
from adcli.data.samples import say_label
from adcli.metrics.words import describe_level, describe_ranking, known, unseen, verdict_lines
from adcli.pictures.cards import DRAWN_SIDE
from adcli.report.gallery import Shown

FEW = 3
"""Images of each class that are shown, at most."""


def show_metrics(metrics: Mapping[str, Any]) -> Markup:
    """Return the metrics of an evaluation: of images, of pixels, and what the threshold does."""
    ranked = {describe_level(metrics, level): describe_ranking(metrics, level) for level in ("image", "pixel")}
    rates = {"verdicts": "; ".join(verdict_lines(metrics))}
    return join_blocks(list_facts({**ranked, **rates}), unseen(metrics), known(metrics))


def show_some(shown: Sequence[Shown]) -> Markup:
    """Return pictures of a few images: of each class those that are most on the wrong side of the threshold."""
    chosen = [
        one
        for is_defect in (True, False)
        for one in [one for one in shown if (one.sample.label == "defect") == is_defect][:FEW]
    ]
    return Markup("".join(map(_show, chosen)))


def _show(shown: Shown) -> str:
    said = f"{say_label(shown.sample)}, said: {shown.prediction.verdict or 'no verdict'}"
    picture = show_image(shown.picture.to_drawing(), shown.sample.image.name)
    caption = join_blocks(shown.sample.image.name, f"{said}, score {shown.prediction.score:.4g}")
    style = f"display:inline-block;vertical-align:top;margin:0 12px 12px 0;max-width:{DRAWN_SIDE}px"
    return f'<div style="{style}">{picture}{caption}</div>'
