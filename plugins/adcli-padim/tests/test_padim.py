"""PaDiM's mathematics, against scipy and plain transcriptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from adcli import TrainingError
from adcli.nn import Batches
from adcli.testing import assert_defect_is_found, fit_model, stack_images, textured_batches
from adcli_padim import PadimOptions
from adcli_padim.model import Padim

SIZE = (64, 48)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Thirty textured images."""
    return textured_batches(tmp_path, 30, SIZE, batch_size=7)


def fitted(batches: Batches, **options: object) -> Padim:
    """Fit with random weights."""
    parsed = PadimOptions.parse({"backbone": "random:resnet18", "dimensions": 20, **options})
    return fit_model(Padim, parsed, batches)


def plain_embedding(model: Padim, images: Tensor) -> Tensor:
    """Return all channels repeated on the finest grid, (N, C, h, w)."""
    maps = model.backbone(images)
    return torch.cat([part.repeat_interleave(2**i, 2).repeat_interleave(2**i, 3) for i, part in enumerate(maps)], dim=1)


def directions(model: Padim) -> Tensor:
    """Return what reduces the channels of all maps, the finest first, to those of the embedding, (C, D)."""
    found = [reduction.directions for reduction in model.reductions]
    return torch.cat(found) if model.options.reduction == "pca" else torch.block_diag(*found)


@torch.inference_mode()
def test_random_channels_are_drawn_from_all_maps_together(batches: Batches) -> None:
    model = fitted(batches)
    images = stack_images(batches)[:3]
    chosen = directions(model)
    assert chosen.shape == (448, 20)
    assert (chosen.sum(dim=0) == 1).all()
    assert (chosen.sum(dim=1) <= 1).all()
    maps = model.embed(images)[::-1]
    repeated = [part.repeat_interleave(2**i, 2).repeat_interleave(2**i, 3) for i, part in enumerate(maps)]
    expected = plain_embedding(model, images)[:, chosen.argmax(dim=0)]
    torch.testing.assert_close(torch.cat(repeated, dim=1), expected)


@torch.inference_mode()
@pytest.mark.parametrize("reduction", ["random", "pca"])
def test_distances_are_scipys_mahalanobis_with_the_papers_covariance(batches: Batches, reduction: str) -> None:
    model = fitted(batches, sigma=0, reduction=reduction)
    reduce = directions(model)
    new = torch.rand(2, 3, *SIZE)
    embedding, others = (
        torch.einsum("nchw,cd->ndhw", plain_embedding(model, images), reduce).double().numpy()
        for images in (stack_images(batches), new)
    )
    height, width = embedding.shape[2:]
    expected = np.empty((2, 1, height, width))
    for y in range(height):
        for x in range(width):
            rows = embedding[:, :, y, x]
            inverse = np.linalg.inv(np.cov(rows, rowvar=False) + 0.01 * np.eye(20))
            for i in range(2):
                expected[i, 0, y, x] = mahalanobis(others[i, :, y, x], rows.mean(axis=0), inverse)
    found = model.gaussians(model.embed(new)).sqrt()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
def test_the_map_is_the_distances_interpolated_and_the_score_its_maximum(batches: Batches) -> None:
    model = fitted(batches, sigma=0)
    images = torch.rand(1, 3, *SIZE)
    distances = model.gaussians(model.embed(images)).sqrt()
    scores = model(images)
    torch.testing.assert_close(scores.map, F.interpolate(distances, size=SIZE, mode="bilinear"), rtol=1e-4, atol=1e-4)
    assert scores.image[0] == scores.map.max()


@torch.inference_mode()
def test_pca_finds_the_directions_of_scikit_learn(batches: Batches) -> None:
    model = fitted(batches, reduction="pca", dimensions=6)
    rows = plain_embedding(model, stack_images(batches)).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    expected = PCA(6).fit(rows).components_
    agreement = np.abs(np.sum(expected * directions(model).T.numpy(), axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-3)


def test_no_more_dimensions_are_kept_than_there_are_channels(batches: Batches) -> None:
    assert directions(fitted(batches, layers="1", dimensions=500)).shape == (64, 64)


@torch.inference_mode()
def test_a_map_of_which_no_channel_is_drawn_is_left_out(batches: Batches) -> None:
    model = fitted(batches, dimensions=1)
    assert len(model.embed(stack_images(batches)[:1])) == 1
    assert model(stack_images(batches)[:1]).map.shape == (1, 1, *SIZE)


@torch.inference_mode()
@pytest.mark.parametrize("reduction", ["random", "pca"])
def test_the_map_peaks_inside_a_planted_defect(batches: Batches, reduction: str) -> None:
    model = fitted(batches, reduction=reduction, sigma=2, layers="1,2")
    assert_defect_is_found(model, stack_images(batches)[:1], slice(28, 40), slice(20, 32))


def test_a_single_image_is_refused(batches: Batches) -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted(Batches(batches.items[:1], batches.source))
