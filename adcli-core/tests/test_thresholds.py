"""From the scores of good images to thresholds: what rounding does, names, and copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from adcli.data.source import ImageSource, Item, items_of
from adcli.progress import Silent
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime, Scored
from adcli.scoring.thresholds import CalibrationPlan, calibrate

SIZE = (8, 8)


def write_images(folder: Path, levels: Sequence[int], *, alike: bool = False) -> list[Item]:
    """Write grey images; those of one level have equal pixels, and equal bytes only if they are to be alike."""
    folder.mkdir(exist_ok=True)
    for i, level in enumerate(levels):
        text = PngImagePlugin.PngInfo()
        text.add_text("number", "" if alike else str(i))
        Image.fromarray(np.full((*SIZE, 3), level, np.uint8)).save(folder / f"{i:02}.png", pnginfo=text)
    return items_of(sorted(folder.iterdir()))


def rounding(by: dict[int, float], scale: float = 0.0) -> Runtime:
    """Return a runtime whose scores depend on the images a little, and on the size of the batch."""

    def score(images: np.ndarray) -> Scored:
        noise = by.get(len(images), 0.0)
        scores = images[:, 0, 0, 0].astype(np.float32) * scale + np.float32(noise)
        return scores, np.repeat(scores, 16).reshape(-1, 4, 4)

    return score


def calibrated(items: list[Item], runtime: Runtime, batch_size: int, *, folds: bool = False) -> Calibration:
    source = ImageSource(SIZE, workers=0)
    if folds:
        plan = CalibrationPlan(method="k-fold", rate=0.1, fit=items, folds=[items[::2], items[1::2]], counted=items)
    else:
        plan = CalibrationPlan(method="held-out", rate=0.1, good=items)
    return calibrate(plan, runtime, source, refit=lambda _: runtime, batch_size=batch_size, progress=Silent())


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_verdict_on_an_image_that_calibrated_does_not_depend_on_the_batch_size(
    tmp_path: Path, scale: float, batch_size: int, count: int, folds: bool
) -> None:
    noise = {1: 7e-5, 2: 1e-5, 4: 3e-5}
    items = write_images(tmp_path / "images", [100] * count if scale == 0 else range(100, 100 + count))
    calibration = calibrated(items, rounding(noise, scale), batch_size, folds=folds and count > 1)
    largest = float(scale * (99 + count))
    assert calibration.n == count
    for moved in (0.0, *noise.values()):
        assert calibration.is_defect(largest + moved) is False
        assert calibration.p_value(largest + moved) == pytest.approx(2 / (count + 1) if scale else 1)
        assert calibration.pixel_threshold is not None
        assert calibration.pixel_threshold >= largest + moved
    assert calibration.is_defect(largest + 0.01) is True
    assert any("rounding" in sentence for sentence in calibration.explain()) == (scale == 0 or count == 1)


def test_a_threshold_is_raised_by_next_to_nothing_if_rounding_does_nothing(tmp_path: Path) -> None:
    items = write_images(tmp_path / "images", range(100, 120))
    calibration = calibrated(items, rounding({}, 1.0), 16)
    assert calibration.image_threshold is not None
    assert 0 < calibration.image_threshold - sorted(calibration.image_scores)[18] < 1e-3
    assert len(calibration.explain()) == 1


def test_images_have_the_names_of_their_files_and_copies_in_a_fold_count_once(tmp_path: Path) -> None:
    levels = [50, 40, 50, 30, 40, 60]
    items = write_images(tmp_path / "images", levels, alike=True)
    plan = CalibrationPlan(
        method="k-fold",
        rate=0.3,
        fit=items,
        folds=[[items[0], items[2]], [items[1], items[4]], [items[3], items[5]]],
        counted=items,
    )
    runtime = rounding({}, 1.0)
    source = ImageSource(SIZE, workers=0)
    calibration = calibrate(plan, runtime, source, refit=lambda _: runtime, batch_size=4, progress=Silent())
    assert calibration.images == ("03.png", "01.png", "00.png", "05.png")
    assert calibration.image_scores == (30, 40, 50, 60)
    assert len(set(calibration.digests)) == 4
    assert calibration.threshold_image == "05.png"
