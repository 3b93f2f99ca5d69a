"""A report shows the images worth seeing, and holds no more of them than it may."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.framing import Framing
from adcli.data.samples import Sample
from adcli.data.source import ImageSource
from adcli.report.gallery import Gallery
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import ScoredImage, Scorer


def runtime(images: np.ndarray) -> tuple[np.ndarray, None]:
    return images.mean(axis=(1, 2, 3)), None


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    source = ImageSource((8, 8), workers=0)
    return Gallery(Scorer(runtime, source, Calibration.none(), (0.0, 1.0), 4), limit=20)


def shown(gallery: Gallery, folder: Path, good: np.ndarray, defective: np.ndarray) -> dict[str, list[float]]:
    """Show images of these scores in random order; return the scores of those that are kept, ascending."""
    path = folder / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    scores = [(score, "good") for score in good] + [(score, "defect") for score in defective]
    for i in np.random.default_rng(0).permutation(len(scores)):
        score, label = scores[i]
        gallery.add(ScoredImage(path, score, None, (8, 8)), Sample(path, label))  # type: ignore[arg-type]
    kept: dict[str, list[float]] = {"good": [], "defect": []}
    for sample, score, _ in gallery.shown():
        kept[str(sample.label)].append(score)
    return {label: sorted(found) for label, found in kept.items()}


def test_all_are_shown_where_they_fit(gallery: Gallery, tmp_path: Path) -> None:
    kept = shown(gallery, tmp_path, np.arange(13.0), np.arange(7.0))
    assert kept == {"good": list(range(13)), "defect": list(range(7))}


def test_of_too_many_the_highest_good_and_the_lowest_defective_ones_are_shown(gallery: Gallery, tmp_path: Path) -> None:
    kept = shown(gallery, tmp_path, np.arange(50.0), np.arange(40.0))
    assert kept == {"good": list(range(40, 50)), "defect": list(range(10))}


def test_places_that_one_class_leaves_go_to_the_other(gallery: Gallery, tmp_path: Path) -> None:
    kept = shown(gallery, tmp_path, np.arange(3.0), np.arange(40.0))
    assert kept == {"good": list(range(3)), "defect": list(range(17))}


def test_an_image_that_is_not_kept_is_not_even_read(gallery: Gallery, tmp_path: Path) -> None:
    shown(gallery, tmp_path, np.arange(20.0), np.empty(0))
    missing = tmp_path / "missing.png"
    gallery.add(ScoredImage(missing, -1.0, None, (8, 8)), Sample(missing, "good"))
    assert len(gallery.shown()) == 20


def test_a_region_is_outlined_where_it_is_in_the_photograph(gallery: Gallery, tmp_path: Path) -> None:
    Image.new("RGB", (160, 80)).save(tmp_path / "a.png")
    hot = np.zeros((8, 8), np.float32)
    hot[2:6, 2:6] = 1
    calibration = replace(gallery.scorer.calibration, pixel_threshold=0.5)
    gallery.scorer = replace(gallery.scorer, calibration=calibration)
    framing = Framing(region=(80, 0, 80, 80))
    scored = ScoredImage(tmp_path / "a.png", 1.0, hot, (80, 160), framing)
    gallery.add(scored, Sample(tmp_path / "a.png", "good"))
    ((_, _, drawn),) = gallery.shown()
    corner = re.match(r"M(\d+) (\d+)", drawn.predicted)
    assert corner
    x, y = (int(number) / 2 for number in corner.groups())
    assert 98 <= x <= 142
    assert 18 <= y <= 62
