"""The Gaussian of nested feature maps at every position, as a chain: each map's channels given those of coarser maps.

A coarse map repeated on a fine grid says the same at all positions of a cell, so that a covariance matrix for every
position of the finest grid holds most of its entries many times over. With the channels x of a fine map and y of
coarser ones, p(x, y) = p(x | y) p(y), and p(y) is the same all over the cell. Here every map has the Gaussian of its
channels on its own grid, given what coarser maps hold there (Bishop, Pattern Recognition and Machine Learning, section
2.3). The squared Mahalanobis distance of the joint Gaussian is the sum of the conditional ones', exactly; but of three
maps, each half as fine as the one before, only a fourth of the numbers are summed, factored, kept and multiplied with.

Features come as *rows*: (P, N, D) for P positions of a grid, row by row, N images and D channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adcli.data import Size
from adcli.nn import distributed

CHUNK = 64
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

    def lengths(self) -> "Rows":
        """Return the squared lengths of all vectors, (P, N, 1)."""
        return Rows(self.values.square().sum(dim=2, keepdim=True), self.grid)

    def on(self, grid: Size) -> Tensor:
        """Repeat them on a finer grid, (P', N, D)."""
        return self.values[cells_of(grid, self.grid, self.values.device)] if grid != self.grid else self.values

    def within(self, grid: Size) -> "Rows":
        """Return them as they are, or repeated where a finer grid does not divide their cells evenly."""
        even = grid[0] % self.grid[0] == 0 and grid[1] % self.grid[1] == 0
        return self if even else Rows(self.on(grid), grid)


def rows_of(maps: Tensor) -> Rows:
    """Return maps (N, D, h, w) as rows, without a copy."""
    return Rows(maps.flatten(2).permute(2, 0, 1), (maps.shape[2], maps.shape[3]))


def joined(parts: Sequence[Rows]) -> Rows:
    """Join the channels of rows, the coarsest first, on the grid of the last."""
    whole = parts[0]
    for part in parts[1:]:
        whole = Rows(torch.cat([whole.on(part.grid), part.values], dim=2), part.grid)
    return whole


def cells_of(grid: Size, coarser: Size, device: torch.device) -> Tensor:
    """Return the cell of the coarser grid that each position lies in, as positions of that grid, (P)."""
    down, across = (
        torch.arange(fine, device=device) * coarse // fine for fine, coarse in zip(grid, coarser, strict=True)
    )
    return (down[:, None] * coarser[1] + across).flatten()


def by_cell(values: Tensor, grid: Size, cells: Size) -> Tensor:
    """Put the values (P, N, D) of the s positions in each cell side by side, (cells, N, s D)."""
    (height, width), (rows, columns), (count, size) = grid, cells, values.shape[1:]
    blocks = values.reshape(rows, height // rows, columns, width // columns, count, size)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(rows * columns, count, -1)


def by_position(values: Tensor, grid: Size, cells: Size) -> Tensor:
    """Undo :func:`by_cell`: values (cells, N, s D) to (P, N, D)."""
    (height, width), (rows, columns), count = grid, cells, values.shape[1]
    blocks = values.reshape(rows, columns, count, height // rows, width // columns, -1)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(height * width, count, -1)


class ConditionalGaussians(nn.Module):
    """At every position of a grid, the Gaussian of one map's D channels given the C channels of coarser maps.

    Buffers, for a grid (h, w) with s positions in each cell of the coarser one:
        mean: of the channels, (h, w, D).
        own: W with W' W = the inverse of the conditional covariance, (h w, D, D).
        given: the channels' covariances with the whitened coarser ones, by which they are expected, (cells, s D, C).
    """

    mean: Tensor
    own: Tensor
    given: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "own", "given"):
            self.register_buffer(name, torch.empty(0))

    def forward(self, rows: Rows, coarser: Sequence[Rows]) -> Rows:
        """Whiten rows, given the whitened ones of coarser maps: the result has no correlations, with those neither."""
        values = rows.values - self.mean.flatten(0, 1)[:, None]
        if coarser:
            context = joined(coarser).within(rows.grid)
            values = values - by_position(torch.bmm(context.values, self.given.mT), rows.grid, context.grid)
        return Rows(torch.bmm(values, self.own.mT), rows.grid)


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
            whitened.append(level(rows_of(part), whitened))
        total = whitened[0].lengths()
        for rows in whitened[1:]:
            total = Rows(total.on(rows.grid) + rows.lengths().values, rows.grid)
        return total.values[:, :, 0].T.reshape(-1, 1, *total.grid)

    def estimate(self, moments: "Moments", count: int, regularisation: float) -> None:
        """Set the Gaussians from sums over ``count`` images, the regularisation added to every variance."""
        chain: list[_Conditional] = []
        for level, part in zip(self.levels, moments.parts, strict=False):
            chain.append(_conditioned(part, chain, count, regularisation))
            mean = part.origin + part.total / count
            level.mean = mean.reshape(*part.grid, -1).float()
            level.own, level.given = chain[-1].own.float(), chain[-1].given.float()


class Moments:
    """Sums over images of the channels of nested maps, and of their products at every position."""

    def __init__(self) -> None:
        self.parts: list[_MapMoments] = []

    def add(self, maps: Sequence[Tensor]) -> None:
        """Add maps (N, D_i, h_i, w_i), the coarsest first."""
        # In the order of the products, which would else copy them.
        rows = [
            Rows(values.to(torch.float64, memory_format=torch.contiguous_format), grid)
            for values, grid in map(rows_of, maps)
        ]
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


class _MapMoments:
    """The sums of one map in float64, about a point near the mean, which loses no digits.

    Attributes:
        origin: that point, (P, 1, D).
        total: of the channels, (P, 1, D).
        squares: of their products with each other, (P, D, D).
        products: of their products with the coarser maps' channels, (cells, s D, C).
        grid: of the map.
        cells: the grid of the cells.
    """

    def __init__(self, rows: Rows) -> None:
        # All processes add up about the same point.
        self.origin = distributed.broadcast(rows.values.mean(dim=1, keepdim=True))
        self.total = torch.zeros_like(self.origin)
        self.squares = self.products = rows.values.new_zeros(0)
        self.grid = self.cells = rows.grid

    def add(self, rows: Rows, coarser: Sequence[Rows]) -> Rows:
        """Add rows, and return them about the origin; so come those of coarser maps."""
        values = rows.values.sub_(self.origin)
        self.total += values.sum(dim=1, keepdim=True)
        self.squares = _plus(self.squares, values.mT, values)
        if coarser:
            context = joined(coarser).within(self.grid)
            self.cells = context.grid
            self.products = _plus(self.products, by_cell(values, self.grid, self.cells).mT, context.values)
        return Rows(values, self.grid)


def _plus(sums: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Add products of matrices to sums, which may be empty yet."""
    return sums.baddbmm_(left, right) if sums.numel() else torch.bmm(left, right)


def _covariances(sums: Tensor, left: Tensor, right: Tensor, count: int) -> Tensor:
    """Return covariances, with divisor count - 1, of sums of products and of the sums (P, 1, D) of each factor."""
    return torch.baddbmm(sums, left.mT, right, beta=1 / (count - 1), alpha=-1 / (count * (count - 1)))


class _Conditional(NamedTuple):
    """What :class:`ConditionalGaussians` has, in float64.

    Attributes:
        total: sums of the channels over the images, (P, 1, D).
        own: (P, D, D).
        given: (cells, s D, C).
        grid: of the positions.
        cells: the grid of the cells.
        places: of each position among those of all cells, one cell after the other, (P).
    """

    total: Tensor
    own: Tensor
    given: Tensor
    grid: Size
    cells: Size
    places: Tensor


def _conditioned(
    moments: _MapMoments, chain: Sequence[_Conditional], count: int, regularisation: float
) -> _Conditional:
    """Return the Gaussians of a map given the chain of coarser maps'."""
    grid, cells, total = moments.grid, moments.cells, moments.total
    own, given = torch.empty_like(moments.squares), torch.empty_like(moments.products)
    positions = by_cell(torch.arange(len(own), device=own.device)[:, None, None], grid, cells)[:, 0]
    sides = by_cell(total, grid, cells)
    context = joined([Rows(part.total, part.grid) for part in chain]).within(grid).values if chain else total
    for start in range(0, len(positions), CHUNK):
        part = slice(start, start + CHUNK)
        here = positions[part].flatten()
        rest = _covariances(moments.squares[here], total[here], total[here], count)
        rest.diagonal(dim1=1, dim2=2).add_(regularisation)
        if chain:
            products = _covariances(moments.products[part], sides[part], context[part], count)
            given[part] = explained = _whitened(chain, products, part, cells)
            explained = explained.reshape(len(rest), rest.shape[1], -1)
            rest.baddbmm_(explained, explained.mT, alpha=-1)
        own[here] = whitening(rest)
    return _Conditional(total, own, given, grid, cells, positions.flatten().argsort())


def _whitened(chain: Sequence[_Conditional], rows: Tensor, positions: Tensor | slice, grid: Size) -> Tensor:
    """Whiten rows (n, M, C) of the channels of all maps of a chain, at positions of a grid as fine or finer."""
    *coarser, last = chain
    device, size = rows.device, last.own.shape[1]
    positions = cells_of(grid, last.grid, device)[positions]
    own = last.own[positions].mT
    if not coarser:
        return torch.bmm(rows, own)
    others = _whitened(coarser, rows[:, :, :-size], cells_of(last.grid, last.cells, device)[positions], last.cells)
    given = last.given.reshape(len(last.own), size, -1)[last.places[positions]]
    rest = torch.baddbmm(rows[:, :, -size:], others, given.mT, alpha=-1)
    return torch.cat([others, torch.bmm(rest, own)], dim=2)


def whitening(covariances: Tensor) -> Tensor:
    """Return W with W' W = the inverse of each covariance (P, D, D): the inverse of its Cholesky factor.

    Found by halves, so that most of the work is products of matrices: LAPACK alone takes twice as long for many small
    ones.

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
    upper = inverse[:, first, first] = whitening(covariances[:, first, first])
    # The lower left block of the factor, and what of the lower right block it does not explain.
    factor = covariances[:, second, first] @ upper.mT
    rest = torch.baddbmm(covariances[:, second, second], factor, factor.mT, alpha=-1)
    lower = inverse[:, second, second] = whitening(rest)
    inverse[:, second, first] = -lower @ (factor @ upper)
    return inverse
