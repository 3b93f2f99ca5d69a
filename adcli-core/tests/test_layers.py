"""Layers equal what they are named after."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from adcli.nn import layers
from adcli.nn.components import collect_rows, principal_components, principal_directions, randomised_components
from adcli.nn.layers import gaussian_blur, patch_embedding, rotate, upsample, upsample_and_blur


@pytest.mark.parametrize("sigma", [0.5, 1.7, 4.0])
@pytest.mark.parametrize("size", [(40, 56), (9, 5), (1, 3)])
def test_the_blur_is_scipys_whatever_the_size(sigma: float, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = scipy.ndimage.gaussian_filter(maps.double().numpy(), (0, 0, sigma, sigma))
    np.testing.assert_allclose(gaussian_blur(maps, sigma).numpy(), expected, atol=1e-5)


def test_no_sigma_is_no_blur() -> None:
    maps = torch.randn(1, 1, 4, 4)
    assert gaussian_blur(maps, 0) is maps


@pytest.mark.parametrize("sigma", [0, 0.5, 4.0])
@pytest.mark.parametrize(("before", "size"), [((16, 12), (64, 48)), ((7, 5), (40, 56)), ((9, 4), (9, 4))])
def test_interpolation_and_blur_at_once_are_one_after_the_other(
    before: tuple[int, int], size: tuple[int, int], sigma: float
) -> None:
    maps = torch.randn(2, 3, *before, generator=torch.Generator().manual_seed(0))
    expected = gaussian_blur(upsample(maps, size), sigma)
    torch.testing.assert_close(upsample_and_blur(maps, size, sigma), expected, rtol=1e-5, atol=1e-5)


def official_embedding(maps: list[Tensor], dimensions: int) -> Tensor:
    """Transcribe the official procedure: unfold 3 x 3 patches, align grids, pool adaptively per layer and in all."""
    grid = maps[0].shape[-2:]
    layers = []
    for feature_map in maps:
        count, channels, height, width = feature_map.shape
        patches = F.unfold(feature_map, 3, padding=1).reshape(count, channels * 9, height, width)
        if (height, width) != grid:
            patches = F.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
        flat = patches.permute(0, 2, 3, 1).reshape(-1, 1, channels * 9)
        layers.append(F.adaptive_avg_pool1d(flat, dimensions)[:, 0])
    joined = torch.stack(layers, dim=1).flatten(1)[:, None]
    pooled = F.adaptive_avg_pool1d(joined, dimensions)[:, 0]
    return pooled.reshape(maps[0].shape[0], *grid, dimensions).permute(0, 3, 1, 2)


def test_the_closed_form_is_the_official_embedding_for_wide_resnet50() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 512, 6, 8, generator=generator), torch.randn(2, 1024, 3, 4, generator=generator)]
    torch.testing.assert_close(patch_embedding(maps, 1024), official_embedding(maps, 1024), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (3, 130, 1, 4), (1, 128, 16, 1), (2, 200, 9, 8)])
@pytest.mark.parametrize("centre", [0, 1])
def test_the_kernel_for_gpus_averages_the_same(
    shape: tuple[int, ...], centre: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    expected = layers._average(maps, centre)
    monkeypatch.setattr(layers, "can_compile_kernels", lambda device: True)
    found = layers._average(maps, centre)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)


def test_only_what_the_kernel_takes_is_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(2, 3, 5, 7)
    others = [maps, maps.double().to(memory_format=torch.channels_last), maps.transpose(2, 3)]
    learnt = maps.to(memory_format=torch.channels_last).requires_grad_()
    expected = [layers._average(part, 1) for part in others]
    monkeypatch.setattr(layers, "can_compile_kernels", lambda device: True)
    for part, known in zip(others, expected, strict=True):
        assert torch.equal(layers._average(part, 1), known)
    layers._average(learnt, 1).sum().backward()
    assert learnt.grad is not None


def test_channels_are_never_repeated_and_never_more_than_asked_for() -> None:
    maps = [torch.randn(1, 32, 8, 8), torch.randn(1, 96, 4, 4)]
    assert patch_embedding(maps, 1024).shape == (1, 128, 8, 8)
    assert patch_embedding(maps).shape == (1, 128, 8, 8)
    assert patch_embedding(maps, 100).shape == (1, 82, 8, 8)
    assert patch_embedding(maps, 64).shape == (1, 64, 8, 8)


def test_upsampling_keeps_means_of_constant_maps() -> None:
    torch.testing.assert_close(upsample(torch.full((1, 1, 3, 5), 2.5), (7, 9)), torch.full((1, 1, 7, 9), 2.5))


@pytest.mark.parametrize("shape", [(20, 300), (300, 20)])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.999])
def test_principal_components_are_scikit_learns(share: float, shape: tuple[int, int]) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, shape[1]) + 5
    found, expected = principal_components(rows, share), PCA(share, svd_solver="full").fit(rows.double().numpy())
    np.testing.assert_allclose(found.mean.numpy(), expected.mean_, rtol=1e-5)
    np.testing.assert_allclose(found.variances.numpy(), expected.explained_variance_, rtol=1e-4)
    assert found.retained == pytest.approx(expected.explained_variance_ratio_.sum(), rel=1e-5)
    agreement = np.abs(np.sum(expected.components_ * found.directions.T.numpy(), axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-4)


@pytest.mark.parametrize("count", [30, 3000])
def test_directions_without_variance_are_left_out(count: int) -> None:
    rows = torch.randn(count, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 100)
    assert principal_components(rows, 1.0).directions.shape == (100, 4)
    assert principal_components(rows, 1.0, count=2).directions.shape == (100, 2)


def test_randomised_components_come_close_and_measure_against_all_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 400, generator=generator) * (0.8 ** torch.arange(400)) + 2
    exact = principal_components(rows, 0.99)
    found = randomised_components(lambda: rows.split(32), 0.99, limit=50)
    assert found.directions.shape == exact.directions.shape
    np.testing.assert_allclose(found.variances.numpy(), exact.variances.numpy(), rtol=1e-2)
    assert found.retained == pytest.approx(exact.retained, abs=1e-3)
    few = randomised_components(lambda: rows.split(32), 0.99, limit=3)
    assert few.directions.shape[1] == 3
    assert few.retained == pytest.approx(float(exact.variances[:3].sum() / rows.var(dim=0).sum()), abs=1e-3)


def test_principal_directions_read_rows_in_any_parts() -> None:
    rows = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 13) + 100
    whole, parts = principal_directions([rows], 3), principal_directions(rows.split(70), 3)
    torch.testing.assert_close(whole, parts)
    agreement = np.abs(np.sum(PCA(3).fit(rows.numpy()).components_ * whole.T.numpy(), axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-3)


def test_gathered_rows_are_those_that_came_in_their_order() -> None:
    rows = torch.randn(50, 3)
    torch.testing.assert_close(collect_rows(iter(rows.split(7)), 50), rows, rtol=0, atol=0)
    torch.testing.assert_close(collect_rows(iter(rows.split(7)), 60), rows, rtol=0, atol=0)


@torch.inference_mode()
def test_images_are_turned_in_place_and_their_corners_reflected() -> None:
    images = torch.rand(2, 3, 24, 24)
    for quarter in (1, 2, 3):
        torch.testing.assert_close(
            rotate(images, 90 * quarter), torch.rot90(images, quarter, (2, 3)), atol=1e-4, rtol=0
        )
    assert rotate(images, 0) is images
    # A white image stays white to its corners.
    torch.testing.assert_close(rotate(torch.ones(1, 3, 20, 33), 45), torch.ones(1, 3, 20, 33))
    # A dot right of the centre goes up, in pixels that are square.
    dot = torch.zeros(1, 1, 41, 81)
    dot[0, 0, 20, 50] = 1
    assert rotate(dot, 90)[0, 0].argmax() == 10 * 81 + 40
