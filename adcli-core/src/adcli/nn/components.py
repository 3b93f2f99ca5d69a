"""Principal components of rows of features.

Sums are in float64, as variances are small differences of large numbers. On a device without float64 they are on the
CPU (:func:`adcli.nn.devices.to_float64`), and what is returned is on the rows' device.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from adcli.nn import distributed
from adcli.nn.devices import float64_device, to_float64

_ROWS = 512
"""Rows that are taken to float64 at a time."""

_COLUMNS = 4096
"""Likewise columns, where there are more columns than rows."""

_ROUNDING = 1e-9
"""What a share of the variance may be short of the one asked for, so that rounding does not ask for one more."""


def principal_directions(rows: Iterable[Tensor], count: int, *, sharded: bool = False) -> Tensor:
    """Return the ``count`` orthonormal directions of largest variance of rows (N_i, C), as columns (C, count).

    The rows are read once. The sign of a direction makes its largest entry positive, so that the same rows give the
    same directions on every machine.

    Args:
        rows: (N_i, C) at a time.
        count: of directions.
        sharded: whether each of several processes has rows of its own, at least one, whose sums are to be added up.

    Raises:
        ValueError: there are no rows.
    """
    covariance = _sum_covariance(rows, sharded)
    _, vectors = torch.linalg.eigh(covariance.products)
    return _fix_signs(vectors.flip(1)[:, :count]).float().contiguous().to(covariance.device)


class _Covariance(NamedTuple):
    """Of N rows of C features, in float64.

    Attributes:
        number: N.
        mean: (C,).
        products: the covariance, with divisor N, (C, C).
        device: of the rows.
    """

    number: int
    mean: Tensor
    products: Tensor
    device: torch.device


def _sum_covariance(rows: Iterable[Tensor], sharded: bool) -> _Covariance:
    number, total, squares, origin = 0, torch.empty(0), torch.empty(0), torch.empty(0)
    device = torch.device("cpu")
    for part in rows:
        if number == 0:
            # Sums about a point near the mean lose no digits; all processes need the same one.
            device, origin = part.device, to_float64(part).mean(dim=0)
            if sharded:
                origin = distributed.broadcast(origin)
            total, squares = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
        centred = to_float64(part) - origin
        total += centred.sum(dim=0)
        squares += centred.T @ centred
        number += len(part)
    if number == 0:
        raise ValueError("no rows to find directions of")
    if sharded:
        number = _add_up(number, total)
        total, squares = distributed.reduce_sum(total), distributed.reduce_sum(squares)
    products = squares / number - torch.outer(total / number, total / number)
    return _Covariance(number, origin + total / number, products, device)


class Principal(NamedTuple):
    """A principal component analysis of N rows of D features.

    Attributes:
        mean: of the rows, (D,).
        directions: orthonormal columns, largest variance first, (D, K).
        variances: along the directions, with divisor N - 1, (K,).
        retained: share of the total variance that the K directions hold.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    retained: float


def principal_components(rows: Tensor, share: float, count: int | None = None) -> Principal:
    """Return the fewest principal components of rows (N, D) that hold at least a share of their variance.

    The eigenvectors come from the smaller of the Gram matrix (N, N) and the scatter matrix (D, D), in float64.
    Directions without variance are left out, whatever the share.

    Args:
        rows: (N, D), at least two.
        share: of the variance to retain, at most 1.
        count: this many components instead, if there are as many.
    """
    # Some rows at a time, as float64 makes a copy.
    mean64 = torch.stack([to_float64(part).sum(dim=0) for part in torch.split(rows, _ROWS)]).sum(dim=0) / len(rows)
    mean = mean64.float().to(rows.device)
    wide = rows.shape[1] > len(rows)
    values, vectors = _eigen(_row_products(rows, mean) if wide else _column_products(rows, mean))
    rank = int((values > values[0] * len(values) * torch.finfo(torch.float32).eps).sum())
    cumulative = values.cumsum(0) / values.sum()
    kept = min(rank, count if count is not None else int((cumulative < share - _ROUNDING).sum()) + 1)
    directions = vectors[:, :kept]
    if wide:
        # An eigenvector u of X X' gives the direction X' u, of length sqrt(value).
        directions = (rows - mean).T @ (directions / values[:kept].sqrt()).float().to(rows.device)
    variances = (values[:kept] / (len(rows) - 1)).float().to(rows.device)
    return Principal(mean, _fix_signs(directions.float().to(rows.device)), variances, float(cumulative[kept - 1]))


def streamed_components(rows: Iterable[Tensor], share: float, *, sharded: bool = False) -> Principal:
    """Return the fewest principal components of rows (N_i, D) that hold at least a share of their variance.

    The rows are read once, and none is kept: memory depends on D alone. The components are those of the rows'
    covariance, in float64. Directions without variance are left out, whatever the share.

    Args:
        rows: (N_i, D) at a time, two or more in all.
        share: of the variance to retain, at most 1.
        sharded: whether each of several processes has rows of its own, at least one, whose sums are to be added up.
    """
    number, mean, products, device = _sum_covariance(rows, sharded)
    values, vectors = _eigen(products)
    rank = int((values > values[0] * len(values) * torch.finfo(torch.float32).eps).sum())
    cumulative = values.cumsum(0) / values.sum()
    kept = min(rank, int((cumulative < share - _ROUNDING).sum()) + 1)
    directions = _fix_signs(vectors[:, :kept]).float().to(device)
    variances = (values[:kept] * (number / (number - 1))).float().to(device)
    return Principal(mean.float().to(device), directions, variances, float(cumulative[kept - 1]))


def _eigen(products: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of a matrix of products, the largest first, and their vectors as columns."""
    values, vectors = torch.linalg.eigh(products)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def _row_products(rows: Tensor, mean: Tensor) -> Tensor:
    """Return the products of centred rows (N, D) with each other in float64, (N, N), from some columns at a time."""
    products = _zeros(len(rows), rows)
    for columns, centre in zip(torch.split(rows, _COLUMNS, dim=1), torch.split(mean, _COLUMNS), strict=True):
        block = to_float64(columns - centre)
        products += block @ block.T
    return products


def _column_products(rows: Tensor, mean: Tensor) -> Tensor:
    """Return the products of the columns of centred rows (N, D) in float64, (D, D), from some rows at a time."""
    products = _zeros(rows.shape[1], rows)
    for part in torch.split(rows, _ROWS):
        block = to_float64(part - mean)
        products += block.T @ block
    return products


def _zeros(size: int, like: Tensor) -> Tensor:
    return torch.zeros(size, size, dtype=torch.float64, device=float64_device(like.device))


def collect_rows(parts: Iterable[Tensor], count: int) -> Tensor:
    """Collect rows (N_i, D) in one tensor (N, D), which is made first and filled as they come.

    To join a list at the end takes twice the memory. And small tensors that stay between a network's large ones leave
    the allocator with gaps too small for the next large one.

    Args:
        parts: the rows, at least one tensor.
        count: number of all rows at most.
    """
    rows, filled = torch.empty(0), 0
    for part in parts:
        if filled == 0:
            rows = part.new_empty(count, part.shape[1])
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows[:filled]


def _add_up(number: int, like: Tensor) -> int:
    """Add up the processes' numbers."""
    return int(distributed.reduce_sum(torch.tensor([number], device=like.device)))


def _fix_signs(directions: Tensor) -> Tensor:
    """Turn each column so that its entry of largest magnitude is positive."""
    largest = directions.abs().argmax(dim=0, keepdim=True)
    return directions * directions.gather(0, largest).sign()


def randomised_components(
    passes: Callable[[], Iterable[Tensor]], share: float, limit: int, *, sharded: bool = False
) -> Principal:
    """Return principal components of rows that do not fit into memory, from four passes over them.

    A randomised range finder with two power iterations (Halko, Martinsson and Tropp, Finding Structure with Randomness,
    SIAM Review 2011, algorithm 4.4). The share is measured against the exact total variance; where ``limit``
    components do not reach it, all of them are returned, and ``retained`` says what they hold.

    Args:
        passes: gives the rows again each time, (N_i, D) at a time.
        share: of the variance to retain, at most 1.
        limit: number of components at most.
        sharded: whether each of several processes has rows of its own, at least one, whose sums are to be added up.
    """
    reduce: Callable[[Tensor], Tensor] = distributed.reduce_sum if sharded else lambda tensor: tensor
    number, total, squares = 0, torch.zeros(0), torch.zeros(())
    device = torch.device("cpu")
    for part in passes():
        device, precise = part.device, to_float64(part)
        total = precise.sum(dim=0) + (total if number else 0)
        squares = precise.square().sum() + (squares if number else 0)
        number += len(part)
    if sharded:
        number = _add_up(number, total)
    total, squares = reduce(total), reduce(squares)
    mean = (total / number).float().to(device)
    variance = float(squares - total.square().sum() / number)
    width = min(limit + 10, number, len(mean))
    # Drawn on the CPU, so that every device gets the same.
    basis = torch.linalg.qr(torch.randn(len(mean), width).to(device)).Q
    for _ in range(2):
        product = torch.zeros_like(basis)
        for part in passes():
            centred = part - mean
            product += centred.T @ (centred @ basis)
        basis = torch.linalg.qr(reduce(product)).Q
    products = _zeros(width, mean)
    for part in passes():
        coordinates = to_float64((part - mean) @ basis)
        products += coordinates.T @ coordinates
    values, vectors = _eigen(reduce(products))
    cumulative = values.cumsum(0) / variance
    kept = min(int((cumulative < share - _ROUNDING).sum()) + 1, limit, number - 1, width)
    directions = basis @ vectors[:, :kept].float().to(device)
    variances = (values[:kept] / (number - 1)).float().to(device)
    return Principal(mean, _fix_signs(directions), variances, float(cumulative[kept - 1]))
