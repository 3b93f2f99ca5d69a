"""The page of a run or an evaluation: one HTML file that needs no network, to look at, send on, or print."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adcli import __version__
from adcli.metrics.curves import Flags, Floats
from adcli.metrics.words import interval, known, ranking, unseen, verdict_lines
from adcli.pictures.cards import Picture
from adcli.pictures.colours import gradient
from adcli.report import plots
from adcli.report._templates import fill_template
from adcli.report.trying import count_verdicts, list_scores
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
        zones: names of the zones that are found defective.
    """

    name: str
    label: str | None
    kind: str | None
    score: float
    p_value: float | None
    is_defect: bool | None
    picture: Picture
    zones: Sequence[str] = ()


@dataclass(frozen=True)
class Group:
    """Cards under one heading, in the order in which they are shown.

    Attributes:
        title: the heading.
        meaning: which images these are, and in what order.
        word: the verdict that each card carries; empty without a threshold.
        tone: ``"wrong"``, ``"found"`` or ``"good"``, for its colour.
        key: initial of the label and the verdict, as in ``"d0"`` for misses; empty without a threshold.
        cards: may be none, of a group that another threshold would fill.
    """

    title: str
    meaning: str
    word: str
    tone: str
    key: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Cause:
    """The good image whose score is the threshold.

    Attributes:
        name: of the image.
        score: its score.
        below: the next lower score of a good image; None if there is none.
        sentences: what can be said of it, and what helps.
        picture: what it looks like, as a data URI; empty if there is none.
    """

    name: str
    score: float
    below: float | None
    sentences: Sequence[str]
    picture: str = ""


@dataclass(frozen=True)
class Unlike:
    """A fitted image that looks unlike the others.

    Attributes:
        name: of the image.
        score: by a model that was fitted without it.
        picture: what it looks like, as a data URI; empty if there is none.
    """

    name: str
    score: float
    picture: str = ""


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        title: what was trained on what.
        run: the run's name.
        command: what begins a command that calibrates the run, as a shell reads it.
        subtitle: what was evaluated.
        facts: what was run, a few words each.
        calibration: threshold, and the scores of the good images that set it.
        metrics: what ``metrics.json`` holds; empty where nothing was tested.
        scores: image scores of labelled test images, (N,).
        is_defect: their labels, (N,).
        cards: the gallery's images, in any order.
        tested: number of test images, of which the gallery may show a part.
        details: every setting and record of the run, by name.
        unreadable: why an image has no verdict, by name.
        made: which of the run's calibrations this is, when and how it was made; empty if that is not known.
        cause: what sets the threshold; None if no good image does.
        unlike: the fitted images that look least like the others, the least first; none without folds.
    """

    title: str
    run: str
    command: str
    subtitle: str
    facts: Mapping[str, str]
    calibration: Calibration
    metrics: Mapping[str, Any]
    scores: Floats
    is_defect: Flags
    cards: Sequence[Card]
    tested: int
    details: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    made: str = ""
    cause: Cause | None = None
    unlike: Sequence[Unlike] = ()


def render(page: Page) -> str:
    """Return the page as HTML, self-contained."""
    groups, threshold = list(grouped(page.cards)), page.calibration.image_threshold
    return fill_template(
        "page.html",
        page=page,
        version=__version__,
        unit=page.metrics.get("unit", "image"),
        image=ranking(page.metrics, "image"),
        pixel=ranking(page.metrics, "pixel"),
        meanings=MEANINGS,
        unseen=unseen(page.metrics),
        verdicts=list(verdict_lines(page.metrics)),
        warnings=list(
            filter(None, (known(page.metrics), broken_promise(page.calibration, page.metrics, page.command)))
        ),
        drawings=list(_drawings(page)),
        kinds=_kinds(page.metrics),
        groups=groups,
        counts=count_verdicts(page.scores, page.is_defect, threshold),
        tried=list_scores(
            page.calibration,
            page.scores,
            page.is_defect,
            [card for g in groups for card in g.cards],
            of_parts=page.metrics.get("unit") == "part",
        ),
        interval=interval,
        scale=gradient(),
    )


def broken_promise(calibration: Calibration, metrics: Mapping[str, Any], command: str) -> str:
    """Say so if more good test images were rejected than chance explains; ``command`` begins one that calibrates."""
    low, _ = (metrics.get("image") or {}).get("false_alarm_rate_interval", (0.0, 1.0))
    bound = calibration.bound
    unit = metrics.get("unit", "image")
    if bound is None or low <= bound or unit != calibration.unit:
        return ""
    return (
        f"More good test {unit}s were rejected than the {bound:.1%} that the threshold allows with "
        f"{100 * calibration.stated_confidence:.6g}% confidence: they differ from the good {unit}s that set it, in "
        f"lot, light or camera perhaps. Set it anew from good images of today: {command} --data DIR"
    )


def _drawings(page: Page) -> Iterator[tuple[str, str]]:
    """Yield what each plot shows, in words, and the plot."""
    held_out, threshold = np.array(page.calibration.image_scores), page.calibration.image_threshold
    unit = page.metrics.get("unit", "image")
    if len(page.scores) or len(held_out):
        described = f"Histogram of {unit} scores: good and defective test {unit}s, and the threshold"
        yield described, plots.histogram(page.scores, page.is_defect, held_out, threshold, unit)
    if page.is_defect.any() and not page.is_defect.all():
        yield "Receiver operating characteristic", plots.roc(page.scores, page.is_defect, threshold, unit)
        yield "Precision against recall", plots.precision_recall(page.scores, page.is_defect, threshold, unit)


MEANINGS = {
    "AUROC": "how often a defective one scores above a good one: 1 is always, 0.5 is chance",
    "AP": "average precision: how pure the highest scores are in defective ones; 1 is perfect",
    "F1-max": "the best balance of defects found and false alarms that any threshold would reach; 1 is perfect",
    "FPR at 95% TPR": "share of good ones rejected by a threshold that finds 95% of the defective ones; 0 is perfect",
    "AUPRO": "share of each defective region found, all alike, while up to 30% of good pixels are marked; 1 is best",
    "AUPRO to 0.05": "the same while up to 5% of good pixels are marked; 1 is best",
    "AUPIMO": "share of each defect found while at most 1 in 10,000 pixels of good images is marked; 1 is best",
}
"""What a metric says, in words, by its label."""

_KIND_COLUMNS = {
    "auroc": ("image", "AUROC"),
    "average_precision": ("image", "AP"),
    "pixel_auroc": ("pixel", "AUROC"),
    "aupro": ("", "AUPRO"),
    "aupimo": ("", "AUPIMO"),
}


def _kinds(metrics: Mapping[str, Any]) -> tuple[Mapping[str, tuple[str, str]], Mapping[str, Mapping[str, Any]]]:
    """Return the columns that any kind of defect has a value for, and the kinds, those found least often first."""
    defects: Mapping[str, Mapping[str, Any]] = metrics.get("defects") or {}
    columns = {key: name for key, name in _KIND_COLUMNS.items() if any(key in kind for kind in defects.values())}
    rate = {kind: values.get("detection_rate", values.get("auroc", 0)) for kind, values in defects.items()}
    return columns, {kind: defects[kind] for kind in sorted(defects, key=lambda kind: (rate[kind], kind))}


GROUPS: tuple[tuple[str | None, bool, str, str, str, str], ...] = (
    ("good", True, "FALSE ALARM", "wrong", "False alarms", "Good images above the threshold, the highest score first."),
    ("defect", False, "MISSED", "wrong", "Misses", "Defective images not above the threshold, the lowest score first."),
    (
        "defect",
        True,
        "DEFECT",
        "found",
        "Defects found",
        "Defective images above the threshold, the highest score first.",
    ),
    (None, True, "DEFECT", "found", "Called defective", "Images without a label above the threshold."),
    (None, False, "GOOD", "good", "Called good", "Images without a label not above the threshold."),
    ("good", False, "GOOD", "good", "Good and passed", "Good images not above the threshold, the highest score first."),
)
"""Label, verdict, word on the card and its tone, heading and meaning, in the order of the page: errors first."""


def grouped(cards: Sequence[Card]) -> Iterator[Group]:
    """Yield false alarms and misses first, then what is left, the highest scores first; misses from the lowest up.

    A group of any label that there is comes along, with no cards if it has none.
    """
    falling = sorted(cards, key=lambda card: (-card.score, card.name))
    unjudged = [card for card in falling if card.is_defect is None]
    if unjudged:
        yield Group("Images by score", "No threshold was set, so there are no verdicts.", "", "", "", unjudged)
    labels = {card.label for card in cards}
    for label, verdict, word, tone, title, meaning in GROUPS:
        chosen = [card for card in falling if (card.label, card.is_defect) == (label, verdict)]
        if label in labels:
            key = f"{(label or 'unknown')[0]}{verdict:d}"
            yield Group(title, meaning, word, tone, key, chosen[::-1] if title == "Misses" else chosen)
