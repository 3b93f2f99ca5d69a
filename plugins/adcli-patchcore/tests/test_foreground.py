"""The foreground: an object before a background is found, and where there is none, nothing is left out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor

from adcli import Silent
from adcli.testing import fit_model, stack_images, textured_batches
from adcli_patchcore import PatchcoreOptions
from adcli_patchcore.foreground import Foreground, close, dilate, find_threshold
from adcli_patchcore.model import PatchCore

GRID = (16, 20)


def features(places: Tensor, count: int = 6) -> Tensor:
    """Return noisy features (N, 5, h, w) that differ where ``places`` (h, w) is true."""
    random = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(count, 5, *places.shape, generator=random)
    return noise + places * torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0])[:, None, None] + 3


def place(rows: slice, columns: slice) -> Tensor:
    places = torch.zeros(GRID, dtype=torch.bool)
    places[rows, columns] = True
    return places


def learnt(embedding: Tensor) -> tuple[Foreground, list[str]]:
    """Return what was learnt, and what was said."""
    foreground, progress = Foreground(), Silent()
    foreground.learn(lambda: embedding.split(2), progress)
    return foreground, progress.notes


def test_an_object_in_the_centre_is_found_and_its_mask_dilated_and_closed() -> None:
    places = place(slice(4, 11), slice(6, 14))
    # A gap of one position, and a lone position, as noise makes them.
    places[6, 8], places[1, 1] = False, True
    embedding = features(places)
    foreground, notes = learnt(embedding)
    square = np.ones((3, 3), bool)
    grown = ndimage.binary_dilation(places.numpy(), square)
    expected = ndimage.binary_closing(np.pad(grown, 1), square)[1:-1, 1:-1]
    assert notes == []
    for mask in foreground(embedding):
        np.testing.assert_array_equal(mask[0].numpy() > 0, expected)


def test_the_direction_is_scikit_learns_first_component() -> None:
    embedding = features(place(slice(4, 11), slice(6, 14)))
    foreground, _ = learnt(embedding)
    component = PCA(1).fit(embedding.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()).components_[0]
    assert abs(float(foreground.direction.double() @ torch.from_numpy(component))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (place(slice(2, 14), slice(2, 18)), "takes up"),
        (place(slice(0, 0), slice(0, 0)), "nothing tells an object"),
        (torch.rand(GRID, generator=torch.Generator().manual_seed(1)) < 0.02, "since "),
        (place(slice(0, 16), slice(1, None, 7)), "as well as in the centre"),
    ],
)
def test_all_patches_are_looked_at_where_no_small_object_stands_before_a_background(places: Tensor, words: str) -> None:
    embedding = features(places)
    foreground, notes = learnt(embedding)
    (note,) = notes
    assert words in note
    assert note.startswith("-o foreground=true: all patches are looked at")
    assert (foreground(embedding) == 1).all()
    assert (foreground(-10 * embedding) == 1).all()


def test_the_threshold_is_the_best_single_split() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0, 1, 3000), random.normal(6, 2, 900)])
    threshold, separation = find_threshold(torch.from_numpy(values))
    split = DecisionTreeRegressor(max_depth=1).fit(values[:, None], values).tree_.threshold[0]
    assert float(threshold) == pytest.approx(split, rel=1e-6)
    low, high = values[values <= float(threshold)], values[values > float(threshold)]
    within = (len(low) * low.var() + len(high) * high.var()) / len(values)
    assert separation == pytest.approx(1 - within / values.var(), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (13, 9)])
def test_masks_grow_and_close_as_scipys(shape: tuple[int, int]) -> None:
    mask = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(2)) < 0.2
    square = np.ones((3, 3), bool)
    for one in mask:
        plain = one[0].numpy()
        np.testing.assert_array_equal(
            dilate(one[None].float())[0, 0].numpy() > 0, ndimage.binary_dilation(plain, square)
        )
        closed = ndimage.binary_erosion(ndimage.binary_dilation(plain, square), square, border_value=1)
        np.testing.assert_array_equal(close(one[None].float())[0, 0].numpy() > 0, closed)


@torch.inference_mode()
def test_what_lies_in_the_background_is_neither_learnt_nor_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = textured_batches(tmp_path, 8, (64, 80), batch_size=3)
    mask = torch.zeros(1, 1, 8, 10)
    mask[:, :, 2:6, 3:7] = 1
    monkeypatch.setattr(Foreground, "learn", lambda self, passes, progress: None)
    monkeypatch.setattr(Foreground, "forward", lambda self, embedding: mask.expand(len(embedding), -1, -1, -1))
    options = {"backbone": "random:resnet18", "coreset": 1.0, "foreground": True}
    model = fit_model(PatchCore, PatchcoreOptions.parse(options), batches)
    images = stack_images(batches)
    kept = model.embed(images)[:, :, 2:6, 3:7].permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.cdist(model.bank.double(), kept.double()).amin(dim=1).max() < 1e-5
    assert len(model.bank) == len(kept)
    plain = fit_model(PatchCore, PatchcoreOptions.parse({**options, "foreground": False}), batches)
    plain.bank = model.bank
    damaged = torch.rand(2, 3, 64, 80)
    everywhere = plain._nearest(plain.embed(damaged).permute(0, 2, 3, 1).flatten(0, 2), 1)[1].reshape(2, 8, 10)
    torch.testing.assert_close(model(damaged).image, everywhere[:, 2:6, 3:7].amax(dim=(1, 2)))
