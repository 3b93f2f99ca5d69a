"""DFM's mathematics, against scikit-learn and scipy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from adcli import OptionError, Silent, TrainingError
from adcli.nn import Batches, Session, rotate
from adcli.testing import assert_defect_is_found, fit_model, stack_images, textured_batches
from adcli_dfm import DfmOptions
from adcli_dfm.model import Dfm

SIZE = (64, 64)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Thirty textured images."""
    return textured_batches(tmp_path, 30, SIZE, batch_size=7)


def fitted(batches: Batches, **options: object) -> Dfm:
    """Fit with random weights."""
    parsed = DfmOptions.parse({"backbone": "random:resnet18", **options})
    return fit_model(Dfm, parsed, batches)


def references(model: Dfm, batches: Batches, share: float) -> PCA:
    return PCA(share, svd_solver="full").fit(model.features(stack_images(batches)).double().numpy())


@torch.inference_mode()
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_as_many_components_are_kept_as_the_share_needs(batches: Batches, share: float) -> None:
    model = fitted(batches, variance=share)
    assert model.directions.shape[1] == references(model, batches, share).n_components_


@torch.inference_mode()
@pytest.mark.parametrize("pooling", [0, 2])
def test_reconstruction_errors_are_scikit_learns(batches: Batches, pooling: int) -> None:
    model = fitted(batches, pooling=pooling)
    pca = references(model, batches, 0.97)
    images = torch.rand(4, 3, *SIZE)
    features = model.features(images).double().numpy()
    expected = np.square(features - pca.inverse_transform(pca.transform(features))).sum(axis=1)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
def test_likelihoods_are_scipys(batches: Batches) -> None:
    model = fitted(batches, score="nll", variance=0.9)
    pca = references(model, batches, 0.9)
    images = stack_images(batches)[:5] * 0.9
    coefficients = pca.transform(model.features(images).double().numpy())
    expected = -multivariate_normal(np.zeros(pca.n_components_), np.diag(pca.explained_variance_)).logpdf(coefficients)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=1e-3)


@torch.inference_mode()
def test_the_map_holds_the_error_of_each_position(batches: Batches) -> None:
    model = fitted(batches, sigma=0)
    images = torch.rand(2, 3, *SIZE)
    features = model.features(images)
    error = (features - model.mean) - (features - model.mean) @ model.directions @ model.directions.T
    grid = error.square().reshape(2, 256, 2, 2).sum(dim=1)
    scores = model(images)
    # A bilinear map of 2 x 2 values holds each of them in its corner.
    torch.testing.assert_close(scores.map[:, 0, ::63, ::63], grid, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores.image, grid.sum(dim=(1, 2)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_beyond_its_memory_the_pca_is_randomised_to_nearly_the_same_scores(batches: Batches) -> None:
    exact, randomised = fitted(batches), fitted(batches, memory=0)
    images = torch.rand(6, 3, *SIZE)
    assert randomised.directions.shape == exact.directions.shape
    torch.testing.assert_close(randomised.variances, exact.variances, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(randomised(images).image, exact(images).image, rtol=1e-2, atol=1e-6)


def test_a_share_that_is_not_reached_is_said(batches: Batches) -> None:
    progress = Silent()
    limited = Batches(batches.items, batches.source, session=Session(progress))
    model = fitted(limited, memory=0, components=3)
    assert model.directions.shape[1] == 3
    (note,) = progress.notes
    assert "3 components retain" in note
    assert "97.0% asked for" in note


@torch.inference_mode()
def test_the_map_peaks_inside_a_planted_defect(batches: Batches) -> None:
    model = fitted(batches, layers="2", pooling=1)
    assert_defect_is_found(model, stack_images(batches)[:1], slice(24, 40), slice(32, 48))


@torch.inference_mode()
def test_a_small_defect_raises_the_peak_more_than_the_sum(batches: Batches) -> None:
    images = stack_images(batches)[:2].clone()
    images[1] = images[0]
    images[1, :, 24:32, 32:40] = 0
    rise = {}
    for score in ("fre", "peak"):
        scores = fitted(batches, score=score, layers="2", pooling=1)(images)
        clean, defective = scores.image.tolist()
        rise[score] = defective / clean
        if score == "peak":
            torch.testing.assert_close(scores.image, scores.map.amax(dim=(1, 2, 3)))
    assert rise["peak"] > 2 * rise["fre"] > 2


def test_a_single_image_is_refused(batches: Batches) -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted(Batches(batches.items[:1], batches.source))


PATCHES = {"features": "patch", "pooling": "1", "sigma": "0"}


def patches(model: Dfm, images: torch.Tensor) -> np.ndarray:
    """Return what each position of layers 2 and 3 holds, coarser maps repeated between their centres, (N P, C)."""
    first, second = model.backbone(images)
    second = torch.nn.functional.interpolate(second, size=first.shape[2:], mode="bilinear")
    return torch.cat([first, second], dim=1).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()


@torch.inference_mode()
@pytest.mark.parametrize("share", [0.8, 0.99])
def test_residuals_of_patches_are_scikit_learns(batches: Batches, share: float) -> None:
    model = fitted(batches, **PATCHES, layers="2,3", variance=share)
    pca = PCA(share, svd_solver="full").fit(patches(model, stack_images(batches)))
    assert model.directions.shape[1] == pca.n_components_
    images = torch.rand(3, 3, *SIZE)
    rows = patches(model, images)
    errors = np.square(rows - pca.inverse_transform(pca.transform(rows))).sum(axis=1).reshape(3, -1)
    np.testing.assert_allclose(model(images).image.numpy(), errors.sum(axis=1), rtol=1e-3)
    np.testing.assert_allclose(model(images).map.mean(dim=(1, 2, 3)).numpy(), errors.mean(axis=1), rtol=2e-2)


@torch.inference_mode()
@pytest.mark.parametrize("features", ["image", "patch"])
def test_the_mean_of_the_largest_hundredth_is_that_of_the_sorted_map(batches: Batches, features: str) -> None:
    model = fitted(batches, features=features, score="mean_top1p", layers="2", pooling=1)
    scores = model(torch.rand(3, 3, *SIZE))
    ordered = np.sort(scores.map.numpy().reshape(3, -1), axis=1)
    np.testing.assert_allclose(scores.image.numpy(), ordered[:, -(SIZE[0] * SIZE[1] // 100) :].mean(axis=1), rtol=1e-5)


@torch.inference_mode()
def test_rotated_references_are_modelled_with_the_others(batches: Batches) -> None:
    model = fitted(batches, **PATCHES, layers="2", rotations=4)
    turned = torch.cat([rotate(stack_images(batches), 90 * i) for i in range(4)])
    features = model.features(turned).double().numpy()
    np.testing.assert_allclose(model.mean.numpy(), features.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert model.directions.shape[1] == PCA(0.97, svd_solver="full").fit(features).n_components_


@torch.inference_mode()
def test_a_whole_images_features_are_learnt_in_all_orientations(batches: Batches) -> None:
    turned = torch.cat([rotate(stack_images(batches), 90 * i) for i in range(4)])
    for memory in (1024, 0):
        model = fitted(batches, rotations=4, memory=memory)
        expected = model.features(turned).mean(dim=0)
        torch.testing.assert_close(model.mean, expected, rtol=1e-4, atol=1e-5)


def test_the_likelihood_of_patches_is_refused(batches: Batches) -> None:
    with pytest.raises(OptionError, match="score nll is of whole images"):
        fitted(batches, features="patch", score="nll")


@torch.inference_mode()
def test_a_patchs_map_peaks_inside_a_planted_defect(batches: Batches) -> None:
    model = fitted(batches, **PATCHES, layers="2,3")
    assert_defect_is_found(model, stack_images(batches)[:1], slice(24, 40), slice(32, 48))
