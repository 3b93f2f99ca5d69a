"""The demo data: the same everywhere, honest, and not to be solved by comparing pixels."""

import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from adcli.data import demo
from adcli.data.decoding import read_image, read_mask
from adcli.data.demo.drawing import DEFECTS, draw
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
    monkeypatch.setattr(demo, "_list_tasks", lambda: [("train/good/000", 0, None)])
    left, mine = tmp_path / f".demo-{demo.VERSION}-0123abcd", tmp_path / "mine"
    for folder in (left / "train/good", mine):
        folder.mkdir(parents=True)
    demo._draw_all(tmp_path / f"demo-{demo.VERSION}")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", f"demo-{demo.VERSION}"}


def test_a_category_and_a_cache_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdcliError, match="no categories"):
        demo.load(Options(), "bottle")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADCLI_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="ADCLI_CACHE"):
        demo.load(Options(), None)
