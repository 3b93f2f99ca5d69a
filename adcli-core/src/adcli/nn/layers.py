"""What several models share on the way from feature maps to anomaly maps.

Everything here is traced by ``torch.export`` with a dynamic batch and converts to OpenVINO.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.data.decoding import Size
from adcli.nn.devices import can_compile_kernels


class Cover(NamedTuple):
    """Which pixels of an image the positions of a map stand for, along both axes.

    Position i stands for the pixels from ``offset + i * stride`` to ``offset + (i + 1) * stride``. A grid may so reach
    beyond the image, if the network continues it, or end before its border.

    Attributes:
        stride: pixels of the image per position.
        offset: where the first position begins, in pixels.
    """

    stride: float
    offset: float = 0.0

    def fills(self, grid: Sequence[int], size: Sequence[int]) -> bool:
        """Tell whether a grid of positions covers an image of a size exactly."""
        return self.offset == 0 and all(
            positions * self.stride == side for positions, side in zip(grid, size, strict=True)
        )

    def on(self, finer: "Cover") -> "Cover":
        """Return the cover in positions of another map instead of pixels."""
        return Cover(self.stride / finer.stride, (self.offset - finer.offset) / finer.stride)


def upsample(maps: Tensor, size: Size, cover: Cover | None = None, *, align_corners: bool = False) -> Tensor:
    """Interpolate maps (N, C, h, w) bilinearly to images (N, C, H, W).

    Args:
        maps: of any number of channels.
        size: height and width of the images.
        cover: which pixels the positions stand for; None if the grid covers the image exactly. Beyond the outermost
            positions, their values continue.
        align_corners: put the first and the last position on the first and the last pixel that the grid covers, as
            some official codes do, instead of half a position further in.
    """
    if cover is None or cover.fills(maps.shape[2:], size):
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
    down, across = (
        _placing_matrix(before, length, cover, maps, align_corners)
        for before, length in zip(maps.shape[2:], size, strict=True)
    )
    return down @ (maps @ across.T)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps (N, C, H, W) with a Gaussian cut off at four sigma, as ``scipy.ndimage.gaussian_filter`` does.

    Borders are continued by reflection about the edge of the outermost pixels; a sigma of 0 changes nothing. Each axis
    is one matrix product: for maps of one channel that is six times as fast as a convolution.
    """
    if sigma == 0:
        return maps
    down, across = (_blur_matrix(length, sigma, maps) for length in maps.shape[2:])
    return down @ maps @ across.T


def upsample_and_blur(maps: Tensor, size: Size, sigma: float, cover: Cover | None = None) -> Tensor:
    """Interpolate maps (N, C, h, w) to (N, C, H, W), then blur them, as :func:`upsample` and :func:`gaussian_blur` do.

    One matrix for each axis does both, so that most of the work is done at the small size.
    """
    down, across = (
        _interpolation_matrix(before, length, cover, maps) for before, length in zip(maps.shape[2:], size, strict=True)
    )
    if sigma != 0:
        down, across = _blur_matrix(size[0], sigma, maps) @ down, _blur_matrix(size[1], sigma, maps) @ across
    return down @ (maps @ across.T)


def _interpolation_matrix(before: int, length: int, cover: Cover | None, like: Tensor) -> Tensor:
    """Return the matrix (length, before) whose product with a line is the line that :func:`upsample` makes of it."""
    if cover is not None and not cover.fills((before,), (length,)):
        return _placing_matrix(before, length, cover, like)
    identity = torch.eye(before, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=length, mode="linear", align_corners=False)[0].T


def _placing_matrix(before: int, length: int, cover: Cover, like: Tensor, align_corners: bool = False) -> Tensor:
    """Return the same matrix for a grid of positions that does not cover the line exactly."""
    pixels = torch.arange(length, device=like.device).to(like.dtype) - cover.offset
    if align_corners:
        places = pixels * ((before - 1) / (before * cover.stride - 1))
    else:
        places = (pixels + 0.5) / cover.stride - 0.5
    positions = torch.arange(before, device=like.device).to(like.dtype)
    return (1 - (places.clamp(0, before - 1)[:, None] - positions).abs()).clamp(min=0)


def _blur_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """Return the matrix (length, length) whose product with a line is the blurred line."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=like.device)
    kernel = torch.exp(-0.5 * (offsets.to(like.dtype) / sigma) ** 2)
    # A line continues as ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    position = (torch.arange(length, device=like.device)[:, None] + offsets) % (2 * length)
    source = torch.where(position < length, position, 2 * length - 1 - position)
    return like.new_zeros(length, length).scatter_add(1, source, (kernel / kernel.sum()).expand(length, -1))


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Turn images (N, C, H, W) anticlockwise about their centre, in pixels of the same size.

    Corners that lie outside the image are filled with its reflection, as black ones would be learnt as good.
    """
    if degrees % 360 == 0:
        return images
    height, width = images.shape[2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y = torch.arange(height, device=images.device, dtype=images.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    # Where each pixel comes from, in halves of the image's sides.
    places = torch.stack([(cosine * x - sine * y) * 2 / width, (sine * x + cosine * y) * 2 / height], dim=2)
    grid = places.expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _join(maps: Sequence[Tensor], covers: Sequence[Cover] | None = None) -> Tensor:
    """Concatenate maps (N, C_i, H_i, W_i), those after the first interpolated to its grid."""
    first, *others = maps
    if covers is None:
        return torch.cat([first, *(upsample(part, _grid(first)) for part in others)], dim=1)
    placed = (upsample(part, _grid(first), cover.on(covers[0])) for part, cover in zip(others, covers[1:], strict=True))
    return torch.cat([first, *placed], dim=1)


def _grid(maps: Tensor) -> Size:
    return maps.shape[2], maps.shape[3]


def patch_embedding(
    maps: Sequence[Tensor],
    dimensions: int | None = None,
    covers: Sequence[Cover] | None = None,
    neighbourhood: int = 3,
) -> Tensor:
    """Join feature maps into one map of locally aware patch features (PatchCore, arXiv 2106.08265, section 3.1).

    Each map is averaged over 3 x 3 neighbourhoods (zeros beyond the border counted), interpolated to the first map's
    grid, and concatenated. With ``dimensions``, each of L maps contributes min(C, dimensions / L) channels.

    The official code unfolds neighbourhoods and pools them adaptively, twice. For the second and third layer of a wide
    ResNet-50 and 1024 dimensions this gives the same, with a ninth of the memory. If a map has fewer channels than its
    share, the official code repeats them, at no gain; here they stay as they are.

    Args:
        maps: (N, C_i, H_i, W_i), the finest first.
        dimensions: channels of the result at most, or None for all.
        covers: which pixels the positions of each map stand for; None if all grids cover the image exactly.
        neighbourhood: positions along each side of what is averaged, an odd number; 1 for none.

    Returns:
        The embedding (N, D, H_1, W_1).
    """
    share = None if dimensions is None else max(dimensions // len(maps), 1)
    return _join([_average_patches(part, share, len(maps), neighbourhood) for part in maps], covers)


def _average_patches(feature_map: Tensor, share: int | None, count: int, neighbourhood: int) -> Tensor:
    """Average a map over neighbourhoods and down to its share of the channels; ``count`` is the number of maps."""
    channels = feature_map.shape[1]
    if neighbourhood == 3:
        # The official pooling splits each channel's 9 values into two windows of 5, which share the centre.
        average = _average(feature_map, centre=1 if channels == share and count == 2 else 0)
    else:
        margin = neighbourhood // 2
        average = F.avg_pool2d(feature_map, neighbourhood, stride=1, padding=margin) if margin else feature_map
    return average if share is None or channels <= share else _pool_channels(average, share)


def _average(maps: Tensor, centre: int) -> Tensor:
    """Average maps over 3 x 3 neighbourhoods, zeros beyond the border; count the centre once more, or not (1, 0)."""
    if (
        can_compile_kernels(maps.device)
        and maps.dtype == torch.float32
        and maps.is_contiguous(memory_format=torch.channels_last)
        and not (maps.requires_grad and torch.is_grad_enabled())
    ):
        from adcli.nn._kernels import average_on_gpu

        return average_on_gpu(maps, centre)
    average = F.avg_pool2d(maps, 3, stride=1, padding=1)
    return (9 * average + maps) / 10 if centre else average


def _pool_channels(maps: Tensor, channels: int) -> Tensor:
    """Average adjacent channels adaptively: (N, C, H, W) to (N, channels, H, W)."""
    _, before, height, width = maps.shape
    if before % channels == 0:
        # Groups of equal size: a mean. Interpolating it would take a GPU thirty times as long if not channels-last.
        mean = maps.reshape(-1, channels, before // channels, height, width).mean(dim=2)
        return mean.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    # Else groups overlap, as torch's adaptive pooling has them along its last axis: one line of channels a position.
    lines = maps.flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(lines, channels).transpose(1, 2).reshape(-1, channels, height, width)
