"""Layers equal what they are named after."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.layers import gaussian_blur, patch_embedding, upsample


@pytest.mark.parametrize("sigma", [0.5, 1.7, 4.0])
@pytest.mark.parametrize("size", [(40, 56), (9, 5), (1, 3)])
def test_the_blur_is_scipys_whatever_the_size(sigma: float, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = scipy.ndimage.gaussian_filter(maps.double().numpy(), (0, 0, sigma, sigma))
    np.testing.assert_allclose(gaussian_blur(maps, sigma).numpy(), expected, atol=1e-5)


def test_no_sigma_is_no_blur() -> None:
    maps = torch.randn(1, 1, 4, 4)
    assert gaussian_blur(maps, 0) is maps


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


def test_channels_are_never_repeated_and_never_more_than_asked_for() -> None:
    maps = [torch.randn(1, 32, 8, 8), torch.randn(1, 96, 4, 4)]
    assert patch_embedding(maps, 1024).shape == (1, 128, 8, 8)
    assert patch_embedding(maps).shape == (1, 128, 8, 8)
    assert patch_embedding(maps, 100).shape == (1, 82, 8, 8)
    assert patch_embedding(maps, 64).shape == (1, 64, 8, 8)


def test_upsampling_keeps_means_of_constant_maps() -> None:
    torch.testing.assert_close(upsample(torch.full((1, 1, 3, 5), 2.5), (7, 9)), torch.full((1, 1, 7, 9), 2.5))
