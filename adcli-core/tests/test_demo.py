"""The demo data: the same everywhere, honest, and not to be solved by comparing pixels."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from adcli.data import demo
from adcli.data.decoding import read_image, read_mask
from adcli.data.demo.drawing import DEFECTS, draw
from adcli.data.demo.large import HEIGHT, LARGE_DEFECTS, LARGEST, SMALLEST, WIDTH, draw_large
from adcli.data.samples import Splits
from adcli.errors import AdcliError, StorageError
from adcli.options import Options


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """The demo data in a cache of its own; drawn in five seconds on two free cores, which a test cannot ask for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADCLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        start = time.perf_counter()
        drawn = demo.load(Options(), None)
        assert time.perf_counter() - start < 20
        start = time.perf_counter()
        assert demo.load(Options(), None) == drawn
        assert time.perf_counter() - start < 0.5
    return drawn


def test_it_has_the_numbers_and_masks_that_are_documented(splits: Splits) -> None:
    assert len(splits.train) == 100
    kinds = [sample.defect for sample in splits.test]
    assert kinds.count(None) == 30
    assert {kind: kinds.count(kind) for kind in DEFECTS} == dict.fromkeys(DEFECTS, 12)
    for sample in splits.test:
        assert (sample.mask is None) == (sample.label == "good")


def test_drawing_is_deterministic_and_no_two_images_are_alike() -> None:
    first, again, other = draw(3)[0], draw(3)[0], draw(4)[0]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 3


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_changes_the_image_within_its_mask_alone(defect: str) -> None:
    for seed in range(500, 506):
        good, nothing = draw(seed)
        damaged, mask = draw(seed, defect)
        assert not nothing.any()
        changed = (good != damaged).any(axis=2)
        assert not (changed & ~mask).any()
        assert (changed & mask).sum() > 0.4 * mask.sum()
        assert 20 < mask.sum() < 0.05 * mask.size


def test_the_mean_image_does_not_find_the_defects(splits: Splits) -> None:
    train = np.stack([read_image(sample.image) for sample in splits.train]).astype(np.float32)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 4
    labels, largest, average = [], [], []
    for sample in splits.test:
        difference = np.abs(read_image(sample.image) - mean) / deviation
        labels.append(sample.label == "defect")
        largest.append(difference.max())
        average.append(difference.mean())
    assert roc_auc_score(labels, largest) < 0.75
    assert roc_auc_score(labels, average) < 0.75


def test_masks_have_the_size_of_their_image(splits: Splits) -> None:
    for sample in splits.test:
        if sample.mask is not None:
            assert read_mask(sample.mask).shape == read_image(sample.image).shape[:2] == (256, 256)


def test_what_a_killed_drawing_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path))
    series = replace(demo.SERIES[None], train=1, good=0, per_defect=0)
    left, mine = tmp_path / f".{series.folder}-0123abcd", tmp_path / "mine"
    for folder in (left / "train/good", mine):
        folder.mkdir(parents=True)
    demo._draw_all(tmp_path / series.folder, series)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", series.folder}


def test_a_category_and_a_cache_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdcliError, match="no category 'bottle'"):
        demo.load(Options(), "bottle")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="ADCLI_CACHE"):
        demo.load(Options(), None)


QUARTER = WIDTH // 4


def test_large_boards_are_drawn_alike_again_and_no_two_are_alike() -> None:
    first, again, other = (draw_large(seed, width=QUARTER)[0] for seed in (3, 3, 4))
    assert first.shape == (HEIGHT // 4, QUARTER, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 3


@pytest.mark.thorough
@pytest.mark.parametrize("defect", LARGE_DEFECTS)
def test_a_defect_of_a_large_board_is_small_and_changes_it_within_its_mask_alone(defect: str) -> None:
    for seed in range(500, 504):
        good, nothing = draw_large(seed, width=QUARTER)
        damaged, mask = draw_large(seed, defect, QUARTER)
        assert not nothing.any()
        changed = (good != damaged).any(axis=2)
        assert not (changed & ~mask).any()
        assert (changed & mask).sum() > 0.4 * mask.sum()
        # Edges are blurred by what a lens of a pixel's sharpness blurs.
        sides = [np.ptp(places) + 1 for places in mask.nonzero()]
        assert SMALLEST / 4 <= max(sides) <= LARGEST / 4 + 4


@pytest.mark.thorough
def test_large_boards_are_photographs_of_12_megapixels_as_many_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path))
    large = demo.SERIES["large"]
    assert (large.draw, WIDTH * HEIGHT) == (draw_large, 12_000_000)
    monkeypatch.setitem(demo.SERIES, "large", replace(large, draw=partial(draw_large, width=80)))
    splits = demo.load(Options(), "large")
    kinds = [sample.defect for sample in splits.test]
    assert (len(splits.train), kinds.count(None)) == (40, 20)
    assert {kind: kinds.count(kind) for kind in LARGE_DEFECTS} == dict.fromkeys(LARGE_DEFECTS, 6)
    for sample in splits.test:
        assert sample.image.suffix == ".jpg"
        assert sample.mask is None or read_mask(sample.mask).shape == read_image(sample.image).shape[:2] == (60, 80)
