"""The Gaussian of nested feature maps at every position, as a chain: each map's channels given those of coarser maps.

The paper repeats coarse maps on the finest grid and estimates one Gaussian of all channels at every position. A coarse
map says the same at all positions of one of its cells, so most entries of these covariance matrices are alike. Let x be
the channels of a fine map at a position, and y those of coarser maps. Then p(x, y) = p(x | y) p(y), and p(y) is the
same all over the cell. So here every map has the Gaussian of its channels, on its own grid, given what coarser maps
hold there (Bishop, Pattern Recognition and Machine Learning, section 2.3). The squared Mahalanobis distance of the
joint Gaussian is exactly the sum of the conditional ones. Of three maps, each half as fine as the one before, only a
fourth of the numbers are summed, factored, kept and multiplied.

Two ways to lay features out are used:

- *rows*, (P, N, D): P positions of a grid, line by line; N images; D channels. One matrix product per position.
- *cells*, (cells, N, s D): the s positions that lie in a cell of a coarser grid stand side by side, since they have
  their coarser channels in common. One matrix product per cell, s times as large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adcli.data import Size
from adcli.nn import distributed, to_float64

CELLS_AT_A_TIME = 64
"""Cells whose covariances are inverted at a time."""

FACTORED = 16
"""Dimensions up to which a covariance is factored at once; larger ones by halves."""


class Rows(NamedTuple):
    """Features at every position of a grid.

    Attributes:
        values: (P, N, D).
        grid: height and width, with P = height x width.
    """

    values: Tensor
    grid: Size

    def squared_lengths(self) -> "Rows":
        """Return the squared lengths of all vectors, (P, N, 1)."""
        return Rows(self.values.square().sum(dim=2, keepdim=True), self.grid)

    def repeat_on(self, grid: Size) -> Tensor:
        """Return the values on a finer grid, (P', N, D)."""
        return self.values if grid == self.grid else self.values[cell_numbers(grid, self.grid, self.values.device)]

    def divide(self, grid: Size) -> "Rows":
        """Return rows whose cells all hold equally many positions of a finer grid.

        They are the rows themselves if the grids' sides divide evenly. Otherwise, as cells would have to differ in
        size, the rows are repeated on the finer grid, where each position is a cell.
        """
        even = grid[0] % self.grid[0] == 0 and grid[1] % self.grid[1] == 0
        return self if even else Rows(self.repeat_on(grid), grid)


def flatten_maps(maps: Tensor) -> Rows:
    """Return maps (N, D, h, w) as rows, without a copy."""
    return Rows(maps.flatten(2).permute(2, 0, 1), (maps.shape[2], maps.shape[3]))


def join_channels(parts: Sequence[Rows]) -> Rows:
    """Join the channels of rows, the coarsest first, on the grid of the last."""
    whole = parts[0]
    for part in parts[1:]:
        whole = Rows(torch.cat([whole.repeat_on(part.grid), part.values], dim=2), part.grid)
    return whole


def cell_numbers(grid: Size, coarser: Size, device: torch.device) -> Tensor:
    """Return the number of the coarser grid's cell that each position of a grid lies in, (P)."""
    down, across = (
        torch.arange(fine, device=device) * coarse // fine for fine, coarse in zip(grid, coarser, strict=True)
    )
    return (down[:, None] * coarser[1] + across).flatten()


def group_by_cell(values: Tensor, grid: Size, cells: Size) -> Tensor:
    """Turn rows (P, N, D) into cells (cells, N, s D)."""
    (height, width), (rows, columns), (count, size) = grid, cells, values.shape[1:]
    blocks = values.reshape(rows, height // rows, columns, width // columns, count, size)
    # From (row of cells, row within, column of cells, column within, N, D) to cells first, then N, then what is within.
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(rows * columns, count, -1)


def ungroup(values: Tensor, grid: Size, cells: Size) -> Tensor:
    """Undo :func:`group_by_cell`: turn cells (cells, N, s D) into rows (P, N, D)."""
    (height, width), (rows, columns), count = grid, cells, values.shape[1]
    blocks = values.reshape(rows, columns, count, height // rows, width // columns, -1)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(height * width, count, -1)


class ConditionalGaussians(nn.Module):
    """At every position of a grid, the Gaussian of one map's D channels given the C channels of coarser maps.

    Coarser channels come whitened: with mean 0, and without correlations. So their covariances with this map's channels
    are the coefficients by which they predict these.

    Buffers, for a grid (h, w) with s positions in each cell of the coarser one:
        mean: of the channels, (h, w, D).
        whitening: W with W' W = the inverse of the conditional covariance, (h w, D, D).
        regression: the coefficients, (cells, s D, C).
    """

    mean: Tensor
    whitening: Tensor
    regression: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "whitening", "regression"):
            self.register_buffer(name, torch.empty(0))

    def forward(self, rows: Rows, coarser: Sequence[Rows]) -> Rows:
        """Whiten rows, given the whitened ones of coarser maps: the result is uncorrelated with these as well."""
        values = rows.values - self.mean.flatten(0, 1)[:, None]
        if coarser:
            context = join_channels(coarser).divide(rows.grid)
            expected = torch.bmm(context.values, self.regression.mT)
            values = values - ungroup(expected, rows.grid, context.grid)
        return Rows(torch.bmm(values, self.whitening.mT), rows.grid)


class NestedGaussians(nn.Module):
    """The joint Gaussian of nested maps at every position of the finest; see the module.

    Args:
        count: of maps, at most.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(ConditionalGaussians() for _ in range(count))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return squared Mahalanobis distances (N, 1, h, w) of maps (N, D_i, h_i, w_i), the coarsest first."""
        whitened: list[Rows] = []
        for level, part in zip(self.levels, maps, strict=False):
            whitened.append(level(flatten_maps(part), whitened))
        total = whitened[0].squared_lengths()
        for rows in whitened[1:]:
            total = Rows(total.repeat_on(rows.grid) + rows.squared_lengths().values, rows.grid)
        return total.values[:, :, 0].T.reshape(-1, 1, *total.grid)

    def estimate(self, moments: "Moments", count: int, regularisation: float) -> None:
        """Set the Gaussians from sums over ``count`` images, the regularisation added to every variance."""
        chain: list[_Conditional] = []
        for level, part in zip(self.levels, moments.parts, strict=False):
            assert isinstance(level, ConditionalGaussians)
            chain.append(_estimate_conditional(part, chain, count, regularisation))
            assert isinstance(level, ConditionalGaussians)
            mean, device = part.origin + part.total / count, level.mean.device
            level.mean = mean.reshape(*part.grid, -1).float().to(device)
            level.whitening = chain[-1].whitening.float().to(device)
            level.regression = chain[-1].regression.float().to(device)


class Moments:
    """Sums over images of the channels of nested maps, and of their products at every position."""

    def __init__(self) -> None:
        self.parts: list[_MapMoments] = []

    def add(self, maps: Sequence[Tensor]) -> None:
        """Add maps (N, D_i, h_i, w_i), the coarsest first."""
        # Contiguous, as matrix products would else copy them.
        rows = [Rows(to_float64(values, torch.contiguous_format), grid) for values, grid in map(flatten_maps, maps)]
        self.parts = self.parts or [_MapMoments(part) for part in rows]
        centred: list[Rows] = []
        for moments, part in zip(self.parts, rows, strict=True):
            centred.append(moments.add(part, centred))

    def reduce(self) -> None:
        """Add up the sums of all processes."""
        for part in self.parts:
            part.total, part.squares, part.products = map(
                distributed.reduce_sum, (part.total, part.squares, part.products)
            )

    def store(self) -> dict[str, Tensor]:
        """Return the sums as tensors on the CPU, by names."""
        return {
            f"{number}.{name}": tensor.cpu()
            for number, part in enumerate(self.parts)
            for name, tensor in part.store().items()
        }

    @classmethod
    def restore(cls, stored: Mapping[str, Tensor]) -> "Moments":
        """Return the sums that :meth:`store` returned, on the device where they are now."""
        moments, number = cls(), 0
        while f"{number}.origin" in stored:
            names = (*_SUMS, *_GRIDS)
            moments.parts.append(_MapMoments.restore({name: stored[f"{number}.{name}"] for name in names}))
            number += 1
        return moments


_SUMS = ("origin", "total", "squares", "products")
_GRIDS = ("grid", "cells")


class _MapMoments:
    """The sums of one map in float64, about a point near the mean, so that variances lose no digits.

    Attributes:
        origin: that point, (P, 1, D).
        total: of the channels, (P, 1, D).
        squares: of their products with each other, (P, D, D).
        products: of their products with the coarser maps' channels, (cells, s D, C).
        grid: of the map.
        cells: the grid of the cells.
    """

    def __init__(self, rows: Rows) -> None:
        # All processes must sum about the same point.
        self.origin = distributed.broadcast(rows.values.mean(dim=1, keepdim=True))
        self.total = torch.zeros_like(self.origin)
        self.squares = self.products = rows.values.new_zeros(0)
        self.grid = self.cells = rows.grid

    def store(self) -> dict[str, Tensor]:
        """Return all of it as tensors, by names."""
        grids = {name: torch.tensor(getattr(self, name)) for name in _GRIDS}
        return {name: getattr(self, name) for name in _SUMS} | grids

    @classmethod
    def restore(cls, stored: Mapping[str, Tensor]) -> "_MapMoments":
        """Return what :meth:`store` returned."""
        moments = cls.__new__(cls)
        for name in _SUMS:
            setattr(moments, name, stored[name])
        for name in _GRIDS:
            height, width = stored[name].tolist()
            setattr(moments, name, (height, width))
        return moments

    def add(self, rows: Rows, coarser: Sequence[Rows]) -> Rows:
        """Add rows, given those of coarser maps about their origins; return them about this map's origin."""
        values = rows.values.sub_(self.origin)
        self.total += values.sum(dim=1, keepdim=True)
        self.squares = _add_products(self.squares, values.mT, values)
        if coarser:
            context = join_channels(coarser).divide(self.grid)
            self.cells = context.grid
            sides = group_by_cell(values, self.grid, self.cells)
            self.products = _add_products(self.products, sides.mT, context.values)
        return Rows(values, self.grid)


def _add_products(sums: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Add products of matrices to their sums, which are empty at first."""
    return sums.baddbmm_(left, right) if sums.numel() else torch.bmm(left, right)


def _covariances(products: Tensor, left: Tensor, right: Tensor, count: int) -> Tensor:
    """Return covariances, with divisor count - 1, from sums of products and the sums (P, 1, D) of the two factors."""
    return torch.baddbmm(products, left.mT, right, beta=1 / (count - 1), alpha=-1 / (count * (count - 1)))


@dataclass(frozen=True)
class _Conditional:
    """What :class:`ConditionalGaussians` has, in float64, and what the estimates of finer maps need.

    Attributes:
        total: sums of the channels over the images, (P, 1, D).
        whitening: (P, D, D).
        regression: (cells, s D, C).
        grid: of the positions.
        cells: the grid of the cells.
        places: where each position stands when positions are grouped by cell, (P).
    """

    total: Tensor
    whitening: Tensor
    regression: Tensor
    grid: Size
    cells: Size
    places: Tensor

    def regression_at(self, positions: Tensor) -> Tensor:
        """Return the coefficients of single positions (n), (n, D, C)."""
        count, size, _ = self.whitening.shape
        return self.regression.reshape(count, size, -1)[self.places[positions]]


def _estimate_conditional(
    moments: _MapMoments, chain: Sequence[_Conditional], count: int, regularisation: float
) -> _Conditional:
    """Return the Gaussians of a map, given those of the coarser maps.

    With S the covariance of the map's channels x, and K that with the whitened coarser channels, the regression is K
    and the conditional covariance S - K K'.
    """
    grid, cells, total = moments.grid, moments.cells, moments.total
    whitening, regression = torch.empty_like(moments.squares), torch.empty_like(moments.products)
    positions = torch.arange(len(total), device=total.device)
    by_cell = group_by_cell(positions[:, None, None], grid, cells)[:, 0]
    own_totals = group_by_cell(total, grid, cells)
    coarser_totals = total
    if chain:
        coarser_totals = join_channels([Rows(part.total, part.grid) for part in chain]).divide(grid).values
    for start in range(0, len(by_cell), CELLS_AT_A_TIME):
        some = slice(start, start + CELLS_AT_A_TIME)
        here = by_cell[some].flatten()
        covariance = _covariances(moments.squares[here], total[here], total[here], count)
        covariance.diagonal(dim1=1, dim2=2).add_(regularisation)
        if chain:
            shared = _covariances(moments.products[some], own_totals[some], coarser_totals[some], count)
            numbers = torch.arange(cells[0] * cells[1], device=total.device)[some]
            regression[some] = explained = _whiten_coarser(chain, shared, numbers, cells)
            explained = explained.reshape(len(covariance), covariance.shape[1], -1)
            covariance.baddbmm_(explained, explained.mT, alpha=-1)
        whitening[here] = inverse_cholesky(covariance)
    return _Conditional(total, whitening, regression, grid, cells, by_cell.flatten().argsort())


def _whiten_coarser(chain: Sequence[_Conditional], rows: Tensor, positions: Tensor, grid: Size) -> Tensor:
    """Whiten vectors whose entries belong to the channels of all maps of a chain, as the chain whitens features.

    Args:
        chain: of maps, the coarsest first.
        rows: M vectors at each of n positions, (n, M, C).
        positions: their numbers (n) on a grid as fine as the chain's last map, or finer.
        grid: that grid.
    """
    *coarser, last = chain
    device, size = rows.device, last.whitening.shape[1]
    positions = cell_numbers(grid, last.grid, device)[positions]
    whitening = last.whitening[positions].mT
    if not coarser:
        return torch.bmm(rows, whitening)
    cells = cell_numbers(last.grid, last.cells, device)[positions]
    others = _whiten_coarser(coarser, rows[:, :, :-size], cells, last.cells)
    rest = torch.baddbmm(rows[:, :, -size:], others, last.regression_at(positions).mT, alpha=-1)
    return torch.cat([others, torch.bmm(rest, whitening)], dim=2)


def inverse_cholesky(covariances: Tensor) -> Tensor:
    """Return the inverse W of the Cholesky factor of each covariance (P, D, D), so that W' W is its inverse.

    Found by halves, so that most of the work is products of matrices: LAPACK alone takes twice as long for many small
    ones. With L11, L21 and L22 the blocks of the factor, the inverse has the blocks L11^-1, -L22^-1 L21 L11^-1 and
    L22^-1.

    Raises:
        torch.linalg.LinAlgError: a matrix is not positive definite.
    """
    size = covariances.shape[1]
    if size <= FACTORED:
        identity = torch.eye(size, dtype=covariances.dtype, device=covariances.device)
        inverse: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariances), identity, upper=False)
        return inverse
    first, second = slice(size // 2), slice(size // 2, size)
    inverse = torch.zeros_like(covariances)
    upper = inverse[:, first, first] = inverse_cholesky(covariances[:, first, first])
    below = covariances[:, second, first] @ upper.mT
    rest = torch.baddbmm(covariances[:, second, second], below, below.mT, alpha=-1)
    lower = inverse[:, second, second] = inverse_cholesky(rest)
    inverse[:, second, first] = -lower @ (below @ upper)
    return inverse
