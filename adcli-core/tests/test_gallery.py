"""A report shows the images worth seeing, and holds no more of them than it may."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adcli.data.framing import Framing
from adcli.data.photograph import Photograph
from adcli.data.samples import Sample
from adcli.report import gallery as gallery_module
from adcli.report.gallery import Gallery
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction


def predict(score: float, pixels: np.ndarray, **keywords: object) -> Prediction:
    """Return a prediction of a photograph, with a score."""
    photograph = Photograph("a.png", pixels, "", Path("a.png"))
    calibration = replace(Calibration.none(), image_threshold=0.5, pixel_threshold=0.5)
    return Prediction(photograph, score, keywords.get("hot"), calibration, keywords.get("framing", Framing()))  # type: ignore[arg-type]


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(limit=20)


def shown(gallery: Gallery, good: np.ndarray, defective: np.ndarray) -> dict[str, list[float]]:
    """Show images of these scores in random order; return the scores of those that are kept, ascending."""
    scores = [(score, "good") for score in good] + [(score, "defect") for score in defective]
    for i in np.random.default_rng(0).permutation(len(scores)):
        score, label = scores[i]
        gallery.add(predict(score, np.zeros((8, 8, 3), np.uint8)), Sample(Path("a.png"), label))  # type: ignore[arg-type]
    kept: dict[str, list[float]] = {"good": [], "defect": []}
    for sample, prediction, _ in gallery.shown():
        kept[str(sample.label)].append(prediction.score)
    return {label: sorted(found) for label, found in kept.items()}


def test_all_are_shown_where_they_fit(gallery: Gallery) -> None:
    kept = shown(gallery, np.arange(13.0), np.arange(7.0))
    assert kept == {"good": list(range(13)), "defect": list(range(7))}


def test_of_too_many_the_highest_good_and_the_lowest_defective_ones_are_shown(gallery: Gallery) -> None:
    kept = shown(gallery, np.arange(50.0), np.arange(40.0))
    assert kept == {"good": list(range(40, 50)), "defect": list(range(10))}


def test_places_that_one_class_leaves_go_to_the_other(gallery: Gallery) -> None:
    kept = shown(gallery, np.arange(3.0), np.arange(40.0))
    assert kept == {"good": list(range(3)), "defect": list(range(17))}


def test_an_image_that_is_not_kept_is_not_even_drawn(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    shown(gallery, np.arange(20.0), np.empty(0))
    monkeypatch.setattr(gallery_module, "picture", lambda *_, **__: pytest.fail("it was drawn"))
    gallery.add(predict(-1.0, np.zeros((8, 8, 3), np.uint8)), Sample(Path("b.png"), "good"))
    assert len(gallery.shown()) == 20


def test_a_region_is_outlined_where_it_is_in_the_photograph(gallery: Gallery) -> None:
    hot = np.zeros((8, 8), np.float32)
    hot[2:6, 2:6] = 1
    framing = Framing(region=(80, 0, 80, 80))
    gallery.add(predict(1.0, np.zeros((80, 160, 3), np.uint8), hot=hot, framing=framing), Sample(Path("a.png"), "good"))
    ((_, _, drawn),) = gallery.shown()
    corner = re.match(r"M(\d+) (\d+)", drawn.predicted)
    assert corner
    x, y = (int(number) / 2 for number in corner.groups())
    assert 98 <= x <= 142
    assert 18 <= y <= 62
