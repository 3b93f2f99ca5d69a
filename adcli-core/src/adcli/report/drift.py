"""The page of ``adcli drift``: scores in the order of time, and images to compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adcli import __version__
from adcli.report._templates import fill_template
from adcli.report.plots import course, evidence
from adcli.scoring.drift import Change

GENERATOR = "adcli drift"
"""What a page says near its beginning, so that it may be written over."""


class Shown(NamedTuple):
    """An image on the page.

    Attributes:
        number: which one it is in the order of time, from 1.
        name: of the image.
        score: of the image.
        picture: a data URI; empty if its file is gone.
    """

    number: int
    name: str
    score: float
    picture: str


@dataclass(frozen=True)
class DriftPage:
    """What a page shows.

    Attributes:
        title: what was looked at.
        run: what scored it.
        lines: what was found, as facts with names.
        scores: in the order of time.
        statistics: R after each.
        between: the value of R that is an alarm.
        threshold: above it lies a defect; None where there is none.
        calibrating: scores of the good images that the stream began with.
        change: where the stream changed; None if it did not.
        usual: images from before a change, with scores in the middle.
        shown: images from after it that show it most.
    """

    title: str
    run: str
    lines: Sequence[tuple[str, str]]
    scores: Sequence[float]
    statistics: Sequence[float]
    between: float
    threshold: float | None
    calibrating: Sequence[float]
    change: Change | None
    usual: Sequence[Shown]
    shown: Sequence[Shown]


def render_drift(page: DriftPage) -> str:
    """Return the page as HTML, self-contained."""
    change = page.change
    span = None if change is None else (change.first, change.earliest, change.latest)
    scores, calibrating = np.array(page.scores, np.float64), np.array(page.calibrating, np.float64)
    plots = [
        course(scores, calibrating, page.threshold, span),
        evidence(np.array(page.statistics, np.float64), page.between, span),
    ]
    return fill_template("drift.html", page=page, plots=plots, version=__version__, generator=GENERATOR)
