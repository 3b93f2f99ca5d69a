"""DFKDE's mathematics, against scipy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA

from adcli import TrainingError
from adcli.nn import Batches
from adcli.testing import fit_model, stack_images, textured_batches
from adcli_dfkde import DfkdeOptions
from adcli_dfkde.model import Dfkde

SIZE = (64, 64)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Forty textured images."""
    return textured_batches(tmp_path, 40, SIZE, batch_size=7)


def fitted(batches: Batches, **options: object) -> Dfkde:
    """Fit with random weights."""
    parsed = DfkdeOptions.parse({"backbone": "random:resnet18", **options})
    return fit_model(Dfkde, parsed, batches)


@torch.inference_mode()
@pytest.mark.parametrize("size", [4, 16])
def test_scores_are_scipys_log_density_of_scikit_learns_components(batches: Batches, size: int) -> None:
    model = fitted(batches, components=size)
    pca = PCA(size, svd_solver="full").fit(model.features(stack_images(batches)).double().numpy())
    density = gaussian_kde(pca.transform(model.features(stack_images(batches)).double().numpy()).T)
    images = stack_images(batches)[:8] * 0.97
    expected = -density.logpdf(pca.transform(model.features(images).double().numpy()).T)
    np.testing.assert_allclose(model(images).image.numpy(), expected, rtol=2e-3)


@torch.inference_mode()
def test_images_far_from_all_good_ones_keep_their_order(batches: Batches) -> None:
    model = fitted(batches)
    direction = torch.zeros(16)
    direction[0] = 1
    scores = []
    for length in (10.0, 100.0, 1000.0, 1e5):
        model.features = lambda images, length=length: (  # type: ignore[method-assign]
            model.mean + length * torch.linalg.pinv(model.whitening).T @ direction
        )[None]
        scores.append(float(model(torch.zeros(1, 3, *SIZE)).image))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 10).all()


def test_a_wider_kernel_is_flatter(batches: Batches) -> None:
    images = stack_images(batches)[:10]
    narrow, wide = (fitted(batches, bandwidth=factor)(images * 0.9).image for factor in (0.5, 2.0))
    assert wide.std() < narrow.std()


def test_the_number_of_kernels_is_limited(batches: Batches) -> None:
    assert fitted(batches, limit=25).kernels.shape == (25, 16)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_too_few_images_are_refused_with_the_number_needed(batches: Batches, count: int) -> None:
    with pytest.raises(TrainingError, match=rf"at least 17 good images to fit on, there are {count} good"):
        fitted(Batches(batches.items[:count], batches.source))


def test_copies_of_one_image_do_not_count(batches: Batches) -> None:
    with pytest.raises(TrainingError, match="that differ"):
        fitted(Batches(batches.items[:3] * 10, batches.source))
