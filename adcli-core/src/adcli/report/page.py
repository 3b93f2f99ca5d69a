"""The page of a run or an evaluation: one HTML file that needs no network, to look at, send on, or print."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adcli import __version__
from adcli.metrics.curves import Flags, Floats
from adcli.metrics.words import interval, ranking, unseen, verdict_lines
from adcli.report import plots
from adcli.report.cards import Picture
from adcli.report.colours import gradient
from adcli.scoring.calibration import Calibration


@dataclass(frozen=True)
class Card:
    """An image in the gallery: what is known of it, what is said of it, and its picture.

    Attributes:
        name: path of the image, relative to the folder of all.
        label: ``"good"``, ``"defect"`` or None.
        kind: the kind of defect, or None.
        score: its image score.
        p_value: share of good images that score at least as high; None without calibration.
        is_defect: the verdict; None without a threshold.
        picture: what it looks like.
    """

    name: str
    label: str | None
    kind: str | None
    score: float
    p_value: float | None
    is_defect: bool | None
    picture: Picture


@dataclass(frozen=True)
class Group:
    """Cards under one heading, in the order in which they are shown."""

    title: str
    meaning: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        title: the run's name.
        subtitle: what was evaluated.
        facts: what was run, a few words each.
        calibration: threshold, and the scores of the good images that set it.
        metrics: what ``metrics.json`` holds; empty where nothing was tested.
        scores: image scores of labelled test images, (N,).
        is_defect: their labels, (N,).
        cards: the gallery's images, in any order.
        tested: number of test images, of which the gallery may show a part.
        details: every setting and record of the run, by name.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str]
    calibration: Calibration
    metrics: Mapping[str, Any]
    scores: Floats
    is_defect: Flags
    cards: Sequence[Card]
    tested: int
    details: Mapping[str, str]


def render(page: Page) -> str:
    """Return the page as HTML, self-contained."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("adcli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        page=page,
        version=__version__,
        image=ranking(page.metrics, "image"),
        pixel=ranking(page.metrics, "pixel"),
        unseen=unseen(page.metrics),
        verdicts=list(verdict_lines(page.metrics)),
        warning=broken_promise(page.calibration, page.metrics),
        drawings=list(_drawings(page)),
        kinds=_kinds(page.metrics),
        groups=list(grouped(page.cards)),
        interval=interval,
        scale=gradient(),
    )


def broken_promise(calibration: Calibration, metrics: Mapping[str, Any]) -> str:
    """Say so where more good test images were rejected than chance explains; empty where not."""
    low, _ = (metrics.get("image") or {}).get("false_alarm_rate_interval", (0.0, 1.0))
    if not calibration.keeps_a_rate or low <= calibration.achievable_rate:
        return ""
    return (
        f"More good test images were rejected than the {calibration.achievable_rate:.1%} of the threshold allows: they "
        "differ from the good images that set it, in lot, light or camera perhaps. 'adcli calibrate RUN --data DIR' "
        "sets it anew from good images of today."
    )


def _drawings(page: Page) -> Iterator[tuple[str, str]]:
    """Yield what each plot shows, in words, and the plot."""
    held_out, threshold = np.array(page.calibration.image_scores), page.calibration.image_threshold
    if len(page.scores) or len(held_out):
        described = "Histogram of image scores: good and defective test images, and the threshold"
        yield described, plots.histogram(page.scores, page.is_defect, held_out, threshold)
    if page.is_defect.any() and not page.is_defect.all():
        yield "Receiver operating characteristic", plots.roc(page.scores, page.is_defect, threshold)
        yield "Precision against recall", plots.precision_recall(page.scores, page.is_defect, threshold)


_KIND_COLUMNS = {
    "auroc": "image AUROC",
    "average_precision": "image AP",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "aupimo": "AUPIMO",
}


def _kinds(metrics: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, Any]]]:
    """Return the columns that any kind of defect has a value for, and the kinds, those found least often first."""
    defects: Mapping[str, Mapping[str, Any]] = metrics.get("defects") or {}
    columns = {key: name for key, name in _KIND_COLUMNS.items() if any(key in kind for kind in defects.values())}
    rate = {kind: values.get("detection_rate", values.get("auroc", 0)) for kind, values in defects.items()}
    return columns, {kind: defects[kind] for kind in sorted(defects, key=lambda kind: (rate[kind], kind))}


GROUPS: tuple[tuple[str | None, bool, str, str], ...] = (
    ("good", True, "False alarms", "Good images above the threshold, the highest score first."),
    ("defect", False, "Misses", "Defective images not above the threshold, the lowest score first."),
    ("defect", True, "Defects found", "Defective images above the threshold, the highest score first."),
    (None, True, "Called defective", "Images without a label above the threshold."),
    (None, False, "Called good", "Images without a label not above the threshold."),
    ("good", False, "Good and passed", "Good images not above the threshold, the highest score first."),
)
"""Label, verdict, heading and meaning, in the order of the page: errors first."""


def grouped(cards: Sequence[Card]) -> Iterator[Group]:
    """Yield false alarms and misses first, then what is left, the highest scores first; misses from the lowest up."""
    falling = sorted(cards, key=lambda card: (-card.score, card.name))
    if all(card.is_defect is None for card in cards):
        if cards:
            yield Group("Images by score", "No threshold was set, so there are no verdicts.", falling)
        return
    for label, verdict, title, meaning in GROUPS:
        chosen = [card for card in falling if (card.label, card.is_defect) == (label, verdict)]
        if chosen:
            yield Group(title, meaning, chosen[::-1] if title == "Misses" else chosen)
