"""Kernels for GPUs, in Triton: what operations of torch take several times as long for."""
# ruff: noqa: N803 - what kernels are compiled for is in capitals, as in Triton's own

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor


@triton.jit(do_not_specialize=["positions", "height", "width"])  # type: ignore[untyped-decorator]
def _average(  # type: ignore[no-untyped-def]
    maps,
    averages,
    positions,
    height,
    width,
    channels,
    CENTRE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write the averages at some positions of the maps, for some channels."""
    position = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    # Channels-last: a position's channels follow each other, and a row's positions.
    here = position.to(tl.int64)[:, None] * channels + channel[None, :]
    valid = (position < positions)[:, None] & (channel < channels)[None, :]
    y, x = position // width % height, position % width
    total = CENTRE * tl.load(maps + here, mask=valid, other=0.0)
    for down in tl.static_range(-1, 2):
        for across in tl.static_range(-1, 2):
            inside = (y + down >= 0) & (y + down < height) & (x + across >= 0) & (x + across < width)
            there = here + (down * width + across) * channels
            total += tl.load(maps + there, mask=valid & inside[:, None], other=0.0)
    tl.store(averages + here, total / (9 + CENTRE), mask=valid)


def average_on_gpu(maps: Tensor, centre: int) -> Tensor:
    """Average maps (N, C, H, W), channels-last, over 3 x 3 neighbourhoods, zeros beyond the border.

    torch takes nearly ten times as long as the memory needs. ``centre`` is how often more the centre counts, 0 or 1.
    """
    count, channels, height, width = maps.shape
    averages = torch.empty_like(maps, memory_format=torch.channels_last)
    positions = count * height * width
    grid = triton.cdiv(positions, 16), triton.cdiv(channels, 128)
    # Triton starts kernels on the present GPU, whichever holds the tensors.
    with torch.cuda.device_of(maps):  # type: ignore[no-untyped-call]
        _average[grid](maps, averages, positions, height, width, channels, CENTRE=centre, POSITIONS=16, CHANNELS=128)
    return averages
