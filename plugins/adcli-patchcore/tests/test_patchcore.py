"""PatchCore's mathematics, against plain transcriptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from adcli.nn import Batches
from adcli.testing import assert_defect_is_found, fit_model, stack_images, textured_batches
from adcli_patchcore import PatchcoreOptions
from adcli_patchcore.model import PatchCore

SIZE = (64, 80)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Eight textured images."""
    return textured_batches(tmp_path, 8, SIZE, batch_size=3)


def fitted(batches: Batches, **options: object) -> PatchCore:
    """Fit with random weights."""
    parsed = PatchcoreOptions.parse({"backbone": "random:resnet18", **options})
    return fit_model(PatchCore, parsed, batches)


def rows(model: PatchCore, images: Tensor) -> Tensor:
    """Return the embeddings of all patches, (N, positions, D)."""
    return (model.embed(images) / model.scale.view(1, -1, 1, 1)).flatten(2).transpose(1, 2)


@torch.inference_mode()
def test_scores_are_squared_distances_to_the_nearest_member(batches: Batches) -> None:
    model = fitted(batches)
    images = stack_images(batches)
    distances = cdist(rows(model, images).flatten(0, 1).double(), model.bank.double(), "sqeuclidean").min(axis=1)
    expected = distances.reshape(len(images), -1).max(axis=1)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
def test_several_neighbours_are_averaged(batches: Batches) -> None:
    model = fitted(batches, neighbours=4)
    images = stack_images(batches)[:2]
    distances = cdist(rows(model, images).flatten(0, 1).double(), model.bank.double(), "sqeuclidean")
    expected = np.sort(distances, axis=1)[:, :4].mean(axis=1).reshape(2, -1).max(axis=1)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
def test_a_large_bank_is_searched_in_blocks_to_the_same_result(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(batches, neighbours=3, reweight=5)
    whole = model(stack_images(batches))
    monkeypatch.setattr("adcli_patchcore.model.BANK_BLOCK", 7)
    blocks = model(stack_images(batches))
    torch.testing.assert_close(blocks.image, whole.image)
    torch.testing.assert_close(blocks.map, whole.map)


@torch.inference_mode()
def test_the_whole_bank_scores_its_own_images_zero(batches: Batches) -> None:
    model = fitted(batches, coreset=1.0)
    alone = torch.cat([model(images[None]).image for images in stack_images(batches)])
    reference = model(stack_images(batches) * 0.5).image
    assert alone.max() < 1e-4 * reference.min()


@torch.inference_mode()
def test_reweighting_is_equation_7(batches: Batches) -> None:
    plain, model = fitted(batches), fitted(batches, reweight=3)
    images = stack_images(batches)[:3]
    bank = model.bank.double().numpy()
    for image, before, after in zip(rows(model, images), plain(images).image, model(images).image, strict=True):
        to_bank = cdist(image.double(), bank)
        worst = to_bank.min(axis=1).argmax()
        member = to_bank[worst].argmin()
        around = np.argsort(cdist(bank[[member]], bank)[0])[:3]
        weight = 1 - np.exp(to_bank[worst, member]) / np.exp(to_bank[worst, around]).sum()
        assert float(after) == pytest.approx(float(before) * weight, rel=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"crop": 0.75}])
def test_the_map_peaks_inside_a_planted_defect(batches: Batches, options: dict[str, object]) -> None:
    model = fitted(batches, sigma=2, **options)
    assert_defect_is_found(model, stack_images(batches)[:1], slice(28, 40), slice(40, 52))


@torch.inference_mode()
def test_what_the_crop_leaves_out_is_not_looked_at(batches: Batches) -> None:
    model = fitted(batches, crop=0.75)
    image = stack_images(batches)[:1].clone()
    clean = model(image)
    image[:, :, :6] = 0
    torch.testing.assert_close(model(image).image, clean.image)
    assert (clean.map[:, :, :8] == 0).all()


def test_the_coreset_has_the_share_asked_for_and_is_a_subset(batches: Batches) -> None:
    everything, model = fitted(batches, coreset=1.0), fitted(batches, coreset=0.1)
    assert len(model.bank) == round(0.1 * len(everything.bank))
    assert torch.cdist(model.bank.double(), everything.bank.double()).amin(dim=1).max() < 1e-5


def test_standardised_channels_have_unit_deviation_but_for_the_all_but_constant(batches: Batches) -> None:
    deviation = fitted(batches, coreset=1.0, standardise=True).bank.std(dim=0)
    assert deviation.max() < 1.001
    assert (deviation > 0.999).float().mean() > 0.7


def test_a_bound_on_patches_is_kept_and_told_where_it_limits_the_bank(batches: Batches) -> None:
    everything, bounded = fitted(batches, coreset=0.05), fitted(batches, coreset=0.05, patches=300)
    assert len(bounded.bank) == len(everything.bank)
    assert batches.session.progress.notes == []
    limited = fitted(batches, coreset=0.9, patches=300)
    assert len(limited.bank) <= 150
    assert "patches=300" in batches.session.progress.notes[0]
    whole = fitted(batches, coreset=1.0).bank
    assert torch.cdist(bounded.bank.double(), whole.double()).amin(dim=1).max() < 1e-5
