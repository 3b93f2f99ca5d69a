"""Where synthetic defects lie: Perlin noise above a threshold."""

import math

import torch
from torch import Tensor

from adcli.data import Size

LARGEST = 5
"""A mask has 2 ** k cells along each axis, with k from 0 to this (official code)."""


def draw_masks(count: int, size: Size, threshold: float) -> Tensor:
    """Return masks of places, (count, 1, h, w), bool; half of them, by chance, are empty (paper, section 3.2)."""
    masks = torch.zeros(count, 1, *size, dtype=torch.bool)
    for mask in masks:
        rows, columns = (
            min(2**k, side) for k, side in zip(torch.randint(LARGEST + 1, (2,)).tolist(), size, strict=True)
        )
        if torch.rand(()) < 0.5:
            mask[0] = perlin_noise(size, (rows, columns)) > threshold
    return masks


def perlin_noise(size: Size, cells: tuple[int, int]) -> Tensor:
    """Return gradient noise (h, w) between -1 and 1 (Perlin, Improving Noise, SIGGRAPH 2002).

    Each corner of a cell has a random unit vector. A position's value is the mean of the products of these vectors with
    the position's distances to the corners, weighted by a polynomial of the distances that is flat at the corners.

    Args:
        size: height and width.
        cells: number of cells along each.
    """
    angles = 2 * math.pi * torch.rand(cells[0] + 1, cells[1] + 1)
    places = [torch.arange(side) * (count / side) for side, count in zip(size, cells, strict=True)]
    (row, y), (column, x) = ((place.long(), place - place.floor()) for place in places)
    noise = torch.zeros(size)
    for down in (0, 1):
        for across in (0, 1):
            angle = angles[row + down][:, column + across]
            product = angle.sin() * (y - down)[:, None] + angle.cos() * (x - across)
            noise += product * _weigh(y, down)[:, None] * _weigh(x, across)
    return math.sqrt(2) * noise


def _weigh(place: Tensor, corner: int) -> Tensor:
    """Return the weight of the lower (0) or upper (1) corner of a cell at places from 0 to 1 in it."""
    upper = place**3 * (place * (6 * place - 15) + 10)
    return upper if corner else 1 - upper
