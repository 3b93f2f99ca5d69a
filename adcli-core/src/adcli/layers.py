"""What several models share on the way from feature maps to anomaly maps.

Everything here is traced by ``torch.export`` with a dynamic batch and converts to OpenVINO.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.data.decoding import Size


def upsample(maps: Tensor, size: Size) -> Tensor:
    """Interpolate maps (N, C, h, w) bilinearly to (N, C, H, W), with half-pixel centres."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps (N, C, H, W) with a Gaussian cut off at four sigma, as ``scipy.ndimage.gaussian_filter`` does.

    Borders are continued by reflection about the edge of the outermost pixels; a sigma of 0 changes nothing.
    """
    if sigma == 0:
        return maps
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels, height, width = maps.shape[1:]
    planes = maps.reshape(-1, 1, height, width)
    planes = planes[:, :, _reflected(height, radius, maps.device)]
    planes = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = planes[:, :, :, _reflected(width, radius, maps.device)]
    planes = F.conv2d(planes, kernel.view(1, 1, 1, -1))
    return planes.reshape(-1, channels, height, width)


def _reflected(length: int, radius: int, device: torch.device) -> Tensor:
    """Return the indices of a line continued by ``radius`` on both sides: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    position = torch.arange(-radius, length + radius, device=device) % (2 * length)
    return torch.where(position < length, position, 2 * length - 1 - position)


def patch_embedding(maps: Sequence[Tensor], dimensions: int | None = None) -> Tensor:
    """Join feature maps into one map of locally aware patch features (PatchCore, arXiv 2106.08265, section 3.1).

    Each map is averaged over 3 x 3 neighbourhoods (zeros beyond the border counted), interpolated to the first map's
    grid, and concatenated. With ``dimensions``, each of L maps contributes min(C, dimensions / L) channels.

    For wide ResNet-50's second and third layer and 1024 dimensions this equals, in closed form and a ninth of the
    memory, what the official code does by unfolding neighbourhoods and pooling them adaptively, twice. Where a map has
    fewer channels than its share, the official code repeats them, at no gain; here they stay as they are.

    Args:
        maps: (N, C_i, H_i, W_i), the finest first.
        dimensions: channels of the result at most, or None for all.

    Returns:
        The embedding (N, D, H_1, W_1).
    """
    grid = (maps[0].shape[2], maps[0].shape[3])
    share = None if dimensions is None else max(dimensions // len(maps), 1)
    parts = [_averaged(feature_map, share, len(maps)) for feature_map in maps]
    return torch.cat([parts[0], *(upsample(part, grid) for part in parts[1:])], dim=1)


def _averaged(feature_map: Tensor, share: int | None, count: int) -> Tensor:
    average = F.avg_pool2d(feature_map, 3, stride=1, padding=1)
    channels = feature_map.shape[1]
    if share is None or channels < share:
        return average
    if channels == share:
        # The official pooling splits each channel's 9 values into two windows of 5, which share the centre.
        return (9 * average + feature_map) / 10 if count == 2 else average
    return _pool_channels(average, share)


def _pool_channels(maps: Tensor, channels: int) -> Tensor:
    """Average adjacent channels adaptively: (N, C, H, W) to (N, channels, H, W)."""
    _, before, height, width = maps.shape
    if before % channels == 0:
        return maps.reshape(-1, channels, before // channels, height, width).mean(dim=2)
    lines = maps.flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(lines, channels).transpose(1, 2).reshape(-1, channels, height, width)
