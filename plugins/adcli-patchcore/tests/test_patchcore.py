"""PatchCore's mathematics, against plain transcriptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from adcli import OptionError
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


@torch.inference_mode()
def test_the_cosine_distance_is_one_minus_scipys_similarity(batches: Batches) -> None:
    model = fitted(batches, distance="cosine", coreset=1.0)
    everything = fitted(batches, coreset=1.0).bank
    images = torch.rand(2, 3, *SIZE)
    nearest = cdist(rows(model, images).flatten(0, 1).double(), everything.double(), "cosine").min(axis=1)
    np.testing.assert_allclose(model(images).image.numpy(), nearest.reshape(2, -1).max(axis=1), rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 80), (96, 128)])
def test_the_mean_of_the_largest_hundredth_is_that_of_the_sorted_patch_scores(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    several = textured_batches(tmp_path, 4, size, batch_size=2)
    model = fitted(several, score="mean_top1p", layers="1,2")
    images = torch.rand(2, 3, *size)
    distances = cdist(rows(model, images).flatten(0, 1).double(), model.bank.double(), "sqeuclidean").min(axis=1)
    ordered = np.sort(distances.reshape(2, -1), axis=1)
    count = ordered.shape[1] // 100
    assert count == size[0] * size[1] // 1600
    np.testing.assert_allclose(model(images).image.numpy(), ordered[:, -count:].mean(axis=1), rtol=1e-4)


def test_reweighting_the_mean_of_several_patches_is_refused(batches: Batches) -> None:
    with pytest.raises(OptionError, match="reweight is of the largest patch score"):
        fitted(batches, reweight=3, score="mean_top1p")


@torch.inference_mode()
def test_rotated_references_are_those_of_images_turned_before(batches: Batches) -> None:
    plain, model = fitted(batches, coreset=1.0), fitted(batches, coreset=1.0, rotations=4)
    assert len(model.bank) == 4 * len(plain.bank)
    turned = torch.rot90(torch.nn.functional.pad(stack_images(batches), (0, 0, 8, 8), mode="reflect"), 2, (2, 3))
    expected = rows(model, turned[:, :, 8:-8]).flatten(0, 1)
    assert torch.cdist(expected[::7].double(), model.bank.double()).amin(dim=1).max() < 1e-3
    assert torch.cdist(expected[::7].double(), plain.bank.double()).amin(dim=1).median() > 1e-2


@torch.inference_mode()
@pytest.mark.parametrize("neighbourhood", [1, 5])
def test_a_neighbourhood_is_a_mean_over_a_square(batches: Batches, neighbourhood: int) -> None:
    model = fitted(batches, neighbourhood=neighbourhood, layers="1", dimensions=64)
    image = stack_images(batches)[:1]
    (features,) = model.backbone(image)
    margin = neighbourhood // 2
    padded = np.pad(features[0].double().numpy(), ((0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (neighbourhood, neighbourhood), axis=(1, 2))
    np.testing.assert_allclose(model.embed(image)[0].numpy(), windows.mean(axis=(3, 4)), atol=1e-5)


OTHER = "random:mobilenetv3_small_050"
PAIR = {"backbone": f"{OTHER}+random:resnet18", "layers": "3,2+1,2"}


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"neighbours": 3, "standardise": True}, {"distance": "cosine"}])
def test_distances_to_the_banks_of_two_backbones_are_added_on_one_scale(
    batches: Batches, options: dict[str, object]
) -> None:
    model = fitted(batches, **PAIR, **options)
    images = torch.rand(2, 3, *SIZE)
    metric = "cosine" if "distance" in options else "sqeuclidean"
    assert [bank.shape[1] for bank in model.banks] == model.widths == [64 + 128, 16 + 24]

    def distances(some: Tensor, count: int, least: float = -1.0) -> list[np.ndarray]:
        found = []
        for part, bank in zip(rows(model, some).flatten(0, 1).split(model.widths, dim=1), model.banks, strict=True):
            each = cdist(part.double(), bank.double(), metric)
            found.append(np.sort(np.where(each > least, each, np.inf), axis=1)[:, :count].mean(axis=1))
        return found

    # What is in a bank is at distance zero of itself.
    first, second = (each.std(ddof=1) for each in distances(stack_images(batches), 1, 1e-9))
    assert float(model.weight[0]) == 1
    assert float(model.weight[1]) == pytest.approx(first / second, rel=1e-3)
    near, far = distances(images, model.options.neighbours)
    expected = (near + float(model.weight[1]) * far).reshape(2, -1).max(axis=1)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=1e-3)


@torch.inference_mode()
def test_each_of_two_backbones_has_the_bank_that_it_has_alone(batches: Batches) -> None:
    pair = fitted(batches, **PAIR, coreset=1.0)
    for bank, (name, layers) in zip(pair.banks, (("random:resnet18", "1,2"), (OTHER, "2,3")), strict=True):
        alone = fitted(batches, backbone=name, layers=layers, coreset=1.0)
        # Random weights of the second backbone come from other random numbers.
        assert bank.shape[1] == alone.bank.shape[1]
        assert len(bank) == SIZE[0] * SIZE[1] // 16 * 8


def test_reweighting_by_two_banks_is_refused(batches: Batches) -> None:
    with pytest.raises(OptionError, match="reweight is for a single bank"):
        fitted(batches, **PAIR, reweight=3)


@torch.inference_mode()
@pytest.mark.parametrize("options", [{"distance": "cosine", "standardise": True}, {"rotations": 2}, PAIR])
def test_an_update_brings_members_of_the_new_images_to_every_bank(batches: Batches, options: dict[str, object]) -> None:
    model = fitted(batches, coreset=0.5, **options)
    before = [len(bank) for bank in model.banks]
    model.update(batches)
    assert [len(bank) for bank in model.banks] == [2 * count for count in before]
    held = list(model._embed_all(batches))
    known = (torch.cat(held) / model.scale).split(model.widths, dim=1)
    for bank, part in zip(model.banks, known, strict=True):
        expected = torch.nn.functional.normalize(part, dim=1) if "distance" in options else part
        assert float(torch.cdist(bank, expected).amin(dim=1).max()) < 1e-2
