"""PaDiM's mathematics, against scipy and plain transcriptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import mahalanobis
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from adcli.data.batches import Batches
from adcli.data.images import ImageSource
from adcli.errors import TrainingError
from adcli_padim import PadimOptions
from adcli_padim.model import FACTORED, Padim, whitening

SIZE = (64, 48)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Thirty textured images."""
    random = np.random.default_rng(0)
    for i in range(30):
        image = 128 + 20 * np.sin(np.arange(48) / 4 + random.uniform(0, 6)) + random.normal(0, 8, SIZE)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    return Batches(sorted(tmp_path.glob("*.png")), ImageSource(SIZE), batch_size=7)


def fitted(batches: Batches, **options: object) -> Padim:
    """Fit with random weights; the same seed gives the same model."""
    torch.manual_seed(0)
    parsed = PadimOptions.parse({"backbone": "random:resnet18", "dimensions": 20, **options})
    model = Padim(parsed, image_size=SIZE)
    model.fit(batches)
    return model.eval()


def all_images(batches: Batches) -> Tensor:
    return torch.cat(list(batches))


def plain_embedding(model: Padim, images: Tensor) -> Tensor:
    """Return all channels repeated on the finest grid, (N, C, h, w)."""
    maps = model.backbone(images)
    return torch.cat([part.repeat_interleave(2**i, 2).repeat_interleave(2**i, 3) for i, part in enumerate(maps)], dim=1)


@torch.inference_mode()
def test_the_embedding_keeps_channels_of_the_repeated_maps(batches: Batches) -> None:
    model = fitted(batches)
    images = all_images(batches)[:3]
    chosen = model.directions.argmax(dim=0)
    assert len(set(chosen.tolist())) == 20
    assert (model.directions.sum(dim=0) == 1).all()
    torch.testing.assert_close(model.embed(images), plain_embedding(model, images)[:, chosen])


@torch.inference_mode()
def test_distances_are_scipys_mahalanobis_with_the_papers_covariance(batches: Batches) -> None:
    model = fitted(batches, sigma=0)
    embedding = model.embed(all_images(batches)).double().numpy()
    new = model.embed(torch.rand(2, 3, *SIZE)).double().numpy()
    height, width = embedding.shape[2:]
    expected = np.empty((2, height, width))
    for y in range(height):
        for x in range(width):
            rows = embedding[:, :, y, x]
            inverse = np.linalg.inv(np.cov(rows, rowvar=False) + 0.01 * np.eye(20))
            for i in range(2):
                expected[i, y, x] = mahalanobis(new[i, :, y, x], rows.mean(axis=0), inverse)
    whitened = torch.bmm(
        model.whitening, torch.from_numpy(new).float().flatten(2).permute(2, 1, 0) - model.mean[:, :, None]
    )
    found = torch.linalg.vector_norm(whitened, dim=1).T.reshape(2, height, width)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@torch.inference_mode()
def test_the_map_is_the_distances_interpolated_and_the_score_its_maximum(batches: Batches) -> None:
    model = fitted(batches, sigma=0)
    images = torch.rand(1, 3, *SIZE)
    rows = model.embed(images).flatten(2)[0].T
    differences = torch.einsum("pij,pj->pi", model.whitening, rows - model.mean)
    distances = differences.norm(dim=1).reshape(1, 1, 16, 12)
    scores = model(images)
    torch.testing.assert_close(scores.map, F.interpolate(distances, size=SIZE, mode="bilinear"), rtol=1e-4, atol=1e-4)
    assert scores.image[0] == scores.map.max()


def test_the_sums_do_not_depend_on_the_batches(batches: Batches) -> None:
    others = Batches(batches.paths, batches.source, batch_size=30)
    first, second = fitted(batches), fitted(others)
    torch.testing.assert_close(first.mean, second.mean)
    torch.testing.assert_close(first.whitening, second.whitening, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_pca_finds_the_directions_of_scikit_learn(batches: Batches) -> None:
    model = fitted(batches, reduction="pca", dimensions=6)
    rows = plain_embedding(model, all_images(batches)).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    expected = PCA(6).fit(rows).components_
    agreement = np.abs(np.sum(expected * model.directions.T.numpy(), axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-3)


def test_no_more_dimensions_are_kept_than_there_are_channels(batches: Batches) -> None:
    assert fitted(batches, layers="1", dimensions=500).directions.shape == (64, 64)


@torch.inference_mode()
@pytest.mark.parametrize("reduction", ["random", "pca"])
def test_the_map_peaks_inside_a_planted_defect(batches: Batches, reduction: str) -> None:
    model = fitted(batches, reduction=reduction, sigma=2, layers="1,2")
    image = all_images(batches)[:1].clone()
    clean = model(image)
    image[:, :, 28:40, 20:32] = 0
    scores = model(image)
    assert scores.image > 2 * clean.image
    row, column = divmod(int(scores.map.argmax()), SIZE[1])
    assert 28 <= row < 40
    assert 20 <= column < 32


def test_a_single_image_is_refused(batches: Batches) -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted(Batches(batches.paths[:1], batches.source))


@pytest.mark.parametrize("size", [1, FACTORED, FACTORED + 1, 100])
def test_whitening_is_the_inverse_of_the_cholesky_factor(size: int) -> None:
    rows = torch.randn(3, 2 * size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    covariances = rows.mT @ rows + 0.01 * torch.eye(size, dtype=torch.float64)
    expected = torch.linalg.inv(torch.linalg.cholesky(covariances))
    torch.testing.assert_close(whitening(covariances), expected, rtol=1e-8, atol=1e-10)
