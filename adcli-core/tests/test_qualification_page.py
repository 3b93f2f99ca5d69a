"""The record of ``adcli qualify`` as a page: what it says of numbers, at every width, in light and dark."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Shown, launched

from adcli.data.defects import KINDS, Measured
from adcli.report.qualification import Example, QualificationPage, render_qualification, shrink_ground
from adcli.scoring.detection import Count, Detection, Draw, Drawn, Missed, Real
from adcli.scoring.repeats import find_agreement

CONTRASTS, SIZES = (12.0, 30.0, 75.0), (3, 10, 30)


def one_drawn(kind: str, contrast: float, size: int, number: int) -> Drawn:
    random = np.random.default_rng([number, size])
    middle = (float(random.uniform()), float(random.uniform()))
    return Drawn(Draw(kind, contrast, size, number), 0, (20, 30), (size, size), middle, 2.0, size * contrast > 300)


def make_page(run: str = "a <b> run") -> QualificationPage:
    detections, drawn = [], []
    for kind in KINDS:
        for contrast in CONTRASTS:
            of_one = [one_drawn(kind, contrast, size, number) for size in SIZES for number in range(10)]
            first = tuple(Count(size, sum(one.found for one in of_one if one.draw.size == size), 10) for size in SIZES)
            found = contrast == 75
            tests = (Count(10, 110, 110),) if found else (Count(30, 26, 30),) if contrast == 30 else ()
            detections.append(Detection(kind, contrast, 10 if found else None, tests, first))
            drawn += of_one
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    record = {
        "time": "2026-11-27T22:50:26Z",
        "command": "adcli qualify 'a <b> run'",
        "opened": "run",
        "run": run,
        "weights": "f" * 64,
        "calibration": {"number": 1, "digest": "e" * 64, "threshold": 1.5, "promise": "at most 1 in 43"},
        "settings": {"sizes": list(SIZES), "contrasts": list(CONTRASTS), "draws": 110, "confidence": 0.95, "seed": 0},
        "data": {
            "source": "good photographs",
            "images": [["</script>.png", "d" * 64]],
            "photographs": 60,
            "rejected_without_defect": ["x.png"],
            "unreadable": 0,
            "drawn_defects": len(drawn),
            "background": 0.35,
        },
    }
    missed = [
        Missed("crack", (Real(True, Measured(20, 31.0)), Real(False, Measured(60, 12.0)), Real(False, None))),
        Missed("dent", (Real(False, None),)),
    ]
    agreement = find_agreement(1.5, {"p1": [1.0, 1.1, 1.2], "p2": [1.4, 1.6], "alone": [3.0]})
    return QualificationPage(
        record,
        detections,
        drawn,
        missed,
        agreement,
        [Example.of(drawn[0], pixels, 255 - pixels)],
        shrink_ground(pixels),
    )


def words_of(page: QualificationPage) -> str:
    visible = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", render_qualification(page), flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", visible)))


@pytest.mark.parametrize(
    "sentence",
    [
        "What a <b> run would miss",
        "These defects are drawn, not real.",
        "from 10 px 110 of 110 found",
        "not shown to 30 px 26 of 30 found at 30 px",
        "of which at most 1 may be missed",
        "1 that are rejected without any defect",
        "crack 1 of 3 33.3 % (0.8 % to 90.6 %) 60 px (20 to 60)",
        "dent 0 of 1 0.0 % (0.0 % to 97.5 %) no masks",
        "the same verdict for 1 of 2 parts",
        "3 of 4 pairs",
        "35 % of what is looked at",
    ],
)
def test_the_page_says(sentence: str) -> None:
    assert sentence in words_of(make_page())


def test_no_name_ends_the_record_early() -> None:
    page = render_qualification(make_page())
    (kept,) = re.findall(r'<script type="application/json" id="record">(.*?)</script>', page, flags=re.S)
    assert "\\u003c/script>.png" in kept


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_the_page_fits_every_width_and_asks_for_nothing(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    (tmp_path / "a.html").write_text(render_qualification(make_page("a" * 200)), encoding="utf-8")
    shown = Shown(browser, tmp_path / "a.html", width, scheme)
    assert shown.complaints == []
    assert shown.view.evaluate("document.documentElement.scrollWidth") <= width
    paper = shown.view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
