"""Principal components of rows of features."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from adcli.nn import distributed

_ROWS = 512
"""Rows that are taken to float64 at a time."""


def principal_directions(rows: Iterable[Tensor], count: int, *, sharded: bool = False) -> Tensor:
    """Return the ``count`` orthonormal directions of largest variance of rows (N_i, C), as columns (C, count).

    The rows are read once; mean and covariance are sums in float64. The sign of a direction is that which makes its
    largest entry positive, so that the same rows give the same directions on every machine.

    Args:
        rows: (N_i, C) at a time.
        count: of directions.
        sharded: whether each of several processes has rows of its own, at least one, whose sums are to be added up.

    Raises:
        ValueError: there are no rows.
    """
    number, total, squares, origin = 0, torch.empty(0), torch.empty(0), torch.empty(0)
    for part in rows:
        if number == 0:
            origin = part.double().mean(dim=0)
            if sharded:
                origin = distributed.broadcast(origin)
            total, squares = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
        centred = part.double() - origin
        total += centred.sum(dim=0)
        squares += centred.T @ centred
        number += len(part)
    if number == 0:
        raise ValueError("no rows to find directions of")
    if sharded:
        number = _added(number, total)
        total, squares = distributed.reduce_sum(total), distributed.reduce_sum(squares)
    covariance = squares / number - torch.outer(total / number, total / number)
    _, vectors = torch.linalg.eigh(covariance)
    return _signed(vectors.flip(1)[:, :count]).float().contiguous()


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
        count: this many components instead, where there are as many.
    """
    # Some rows at a time: a mean in float64 of float32 makes a copy.
    mean = torch.stack([part.double().sum(dim=0) for part in torch.split(rows, _ROWS)]).sum(dim=0) / len(rows)
    wide = rows.shape[1] > len(rows)
    products = _gram(rows, mean.float()) if wide else _scatter(rows, mean.float())
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    rank = int((values > values[0] * len(products) * torch.finfo(torch.float32).eps).sum())
    cumulative = values.cumsum(0) / values.sum()
    # Rounding must not ask for one more component than the share does.
    kept = min(rank, count if count is not None else int((cumulative < share - 1e-9).sum()) + 1)
    found = vectors[:, :kept]
    directions = (rows - mean.float()).T @ (found / values[:kept].sqrt()).float() if wide else found.float()
    return Principal(
        mean.float(), _signed(directions), (values[:kept] / (len(rows) - 1)).float(), float(cumulative[kept - 1])
    )


def _gram(rows: Tensor, mean: Tensor) -> Tensor:
    """Return the products of centred rows (N, D) with each other in float64, (N, N), from some columns at a time."""
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for columns, centre in zip(torch.split(rows, 4096, dim=1), torch.split(mean, 4096), strict=True):
        block = (columns - centre).double()
        products += block @ block.T
    return products


def _scatter(rows: Tensor, mean: Tensor) -> Tensor:
    """Return the products of the columns of centred rows (N, D) in float64, (D, D), from some rows at a time."""
    products = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, _ROWS):
        block = (part - mean).double()
        products += block.T @ block
    return products


def gathered(parts: Iterable[Tensor], count: int) -> Tensor:
    """Return rows (N_i, D) in one tensor (N, D), written as they come.

    Joining a list at the end takes twice the memory, and small tensors between a network's large ones tear the
    allocator's memory into pieces that serve neither.

    Args:
        parts: the rows, at least one tensor of them.
        count: of all rows, at most.
    """
    rows, filled = torch.empty(0), 0
    for part in parts:
        if filled == 0:
            rows = part.new_empty(count, part.shape[1])
        rows[filled : filled + len(part)] = part
        filled += len(part)
    return rows[:filled]


def _added(number: int, like: Tensor) -> int:
    """Return the sum of the processes' numbers."""
    return int(distributed.reduce_sum(torch.tensor([number], device=like.device)))


def _signed(directions: Tensor) -> Tensor:
    """Turn each column so that its entry of largest magnitude is positive."""
    largest = directions.abs().argmax(dim=0, keepdim=True)
    return directions * directions.gather(0, largest).sign()


def randomised_components(
    passes: Callable[[], Iterable[Tensor]], share: float, limit: int, *, sharded: bool = False
) -> Principal:
    """Return principal components of rows that do not fit memory, from four passes over them.

    A randomised range finder with two power iterations (Halko, Martinsson and Tropp, Finding Structure with Randomness,
    SIAM Review 2011, algorithm 4.4). The share is measured against the exact total variance; where ``limit``
    components do not reach it, all of them are returned, and ``retained`` says what they hold.

    Args:
        passes: gives the rows anew each time, (N_i, D) at a time.
        share: of the variance to retain, at most 1.
        limit: number of components at most.
        sharded: whether each of several processes has rows of its own, at least one, whose sums are to be added up.
    """
    added: Callable[[Tensor], Tensor] = distributed.reduce_sum if sharded else lambda tensor: tensor
    number, total, squares = 0, torch.zeros(0), torch.zeros((), dtype=torch.float64)
    for part in passes():
        total = part.double().sum(dim=0) + (total if number else 0)
        squares = squares + part.double().square().sum()
        number += len(part)
    if sharded:
        number = _added(number, total)
    total, squares = added(total), added(squares)
    mean = (total / number).float()
    variance = float(squares - total.square().sum() / number)
    width = min(limit + 10, number, len(mean))
    # Drawn on the CPU, so that every device gets the same.
    basis = torch.linalg.qr(torch.randn(len(mean), width).to(mean.device)).Q
    for _ in range(2):
        product = torch.zeros_like(basis)
        for part in passes():
            centred = part - mean
            product += centred.T @ (centred @ basis)
        basis = torch.linalg.qr(added(product)).Q
    gram = torch.zeros(width, width, dtype=torch.float64, device=mean.device)
    for part in passes():
        reduced = ((part - mean) @ basis).double()
        gram += reduced.T @ reduced
    values, vectors = torch.linalg.eigh(added(gram))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    cumulative = values.cumsum(0) / variance
    kept = min(int((cumulative < share - 1e-9).sum()) + 1, limit, number - 1, width)
    directions = basis @ vectors[:, :kept].float()
    return Principal(mean, _signed(directions), (values[:kept] / (number - 1)).float(), float(cumulative[kept - 1]))
