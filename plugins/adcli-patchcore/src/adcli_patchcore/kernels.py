"""Kernels for GPUs, in Triton: what operations of torch would do in many launches, or in many passes over memory.

A kernel runs as many programs side by side, each with a tile of the rows. Offsets into large tensors are 64-bit.
"""
# ruff: noqa: N803 - what kernels are compiled for is in capitals, as in Triton's own

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

if TYPE_CHECKING:
    from adcli_patchcore.halves import Halves

STEP = 32
"""Values of a row that are multiplied at a time. Halves are padded to a multiple with zeros, so that no load is masked
where it counts."""


def _gpu_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Make a tensor's GPU the present one, on which Triton starts kernels."""
    present: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return present


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _pick(matrix, nearest, found, done, floor, count, size, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write the picks and their number; one program, which holds the candidates' distances in registers."""
    columns = tl.arange(0, WIDTH)
    inside = columns < size
    least = tl.load(floor)
    remaining = tl.load(nearest + columns, mask=inside, other=-float("inf"))
    picked = 0
    distance, farthest = tl.max(remaining, axis=0, return_indices=True)
    while (picked < count) & (distance >= least):
        tl.store(found + picked, farthest)
        row = tl.load(matrix + farthest * size + columns, mask=inside, other=-float("inf"))
        remaining = tl.minimum(remaining, row)
        # A point never comes twice, even among duplicates at distance zero.
        remaining = tl.where(columns == farthest, -float("inf"), remaining)
        picked += 1
        distance, farthest = tl.max(remaining, axis=0, return_indices=True)
    tl.store(done, picked)


def pick_on_gpu(matrix: Tensor, nearest: Tensor, floor: Tensor, count: int) -> Tensor:
    """Return the greedy picks among candidates; see :func:`adcli_patchcore.coreset.picks_among`.

    Each pick depends on the one before: as operations of torch, each would be several launches, or the whole matrix a
    copy to the CPU.

    Args:
        matrix: the candidates' squared distances, (N, N), contiguous.
        nearest: their squared distances to all picks before, (N,).
        floor: picks end at a smaller distance, ().
        count: how many to pick at most.
    """
    size = len(nearest)
    found = torch.empty(size + 1, dtype=torch.int64, device=nearest.device)
    width = triton.next_power_of_2(size)
    with _gpu_of(matrix):
        _pick[(1,)](matrix, nearest, found, found[size:], floor, min(count, size), size, WIDTH=width, num_warps=8)
    return found[: int(found[size])]


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _split(  # type: ignore[no-untyped-def]
    values,
    origin,
    high,
    low,
    unit,
    norm,
    count,
    SIZE: tl.constexpr,
    PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write the halves of some rows; WIDTH is the power of two from PADDED on."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    valid, inside = rows < count, columns < SIZE
    row = rows.to(tl.int64)[:, None]
    # Outside, values and origin are both zero, as is then their difference.
    value = tl.load(values + row * SIZE + columns[None, :], mask=valid[:, None] & inside[None, :], other=0.0)
    value -= tl.where(valid[:, None], tl.load(origin + columns, mask=inside, other=0.0)[None, :], 0.0)
    # A float32 in bits: 8 of the exponent above 23 of the mantissa. The exponent of the scale brings the largest value
    # to between 2 ** 13 and 2 ** 14; bounds keep scale and unit normal numbers, also of a row of zeros.
    exponent = tl.max(tl.abs(value), axis=1).to(tl.int32, bitcast=True) >> 23
    exponent = tl.minimum(tl.maximum(exponent, 14), 254)
    scale = ((267 - exponent) << 23).to(tl.float32, bitcast=True)
    scaled = value * scale[:, None]
    # What is no number is left to the norm, so that all products are numbers.
    scaled = tl.where(tl.abs(scaled) < 16384, scaled, 0.0)
    upper = scaled.to(tl.float16)
    target, mask = row * PADDED + columns[None, :], valid[:, None] & (columns < PADDED)[None, :]
    tl.store(high + target, upper, mask=mask)
    tl.store(low + target, (scaled - upper.to(tl.float32)).to(tl.float16), mask=mask)
    tl.store(unit + rows, ((exponent - 13) << 23).to(tl.float32, bitcast=True), mask=valid)
    tl.store(norm + rows, tl.sum(value * value, axis=1) / 2, mask=valid)


def split(rows: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the fields of :class:`adcli_patchcore.halves.Halves` of rows (P, D) about an origin (D,)."""
    rows, origin = rows.contiguous(), origin.contiguous()
    count, size = rows.shape
    padded = triton.cdiv(size, STEP) * STEP
    high, low = rows.new_empty(2, count, padded, dtype=torch.float16)
    # Each on its own, so that all are aligned alike: else kernels would be compiled again.
    unit, norm = rows.new_empty(count), rows.new_empty(count)
    width, tile = _tile_of_rows(padded)
    with _gpu_of(rows):
        _split[(triton.cdiv(count, tile),)](
            rows, origin, high, low, unit, norm, count, SIZE=size, PADDED=padded, WIDTH=width, ROWS=tile
        )
    return high, low, unit, norm


def _tile_of_rows(size: int) -> tuple[int, int]:
    """Return the power of two that holds a row, and how many such rows a program takes."""
    width: int = triton.next_power_of_2(size)
    return width, max(4096 // width, 1)


@triton.jit  # type: ignore[untyped-decorator]
def _relative(  # type: ignore[no-untyped-def]
    row_high,
    row_low,
    row_unit,
    rows,
    column_high,
    column_low,
    column_unit,
    column_norm,
    columns,
    total,
    PADDED: tl.constexpr,
    STEP: tl.constexpr,
):
    """Return |c|^2 / 2 - r c of a tile of rows and one of columns; columns from ``total`` on are infinitely far."""
    steps = tl.arange(0, STEP)
    # Columns that do not exist are read from the last one, as masks would cost time in the loop.
    present = tl.minimum(columns, total - 1)
    row = rows.to(tl.int64)[:, None] * PADDED + steps[None, :]
    column = present.to(tl.int64)[None, :] * PADDED + steps[:, None]
    row_high += row
    row_low += row
    column_high += column
    column_low += column
    products = tl.zeros((rows.shape[0], columns.shape[0]), tl.float32)
    for _ in range(0, PADDED, STEP):
        upper, column_upper = tl.load(row_high), tl.load(column_high)
        products = tl.dot(upper, column_upper, products)
        products = tl.dot(upper, tl.load(column_low), products)
        products = tl.dot(tl.load(row_low), column_upper, products)
        row_high += STEP
        row_low += STEP
        column_high += STEP
        column_low += STEP
    norm = tl.load(column_norm + columns, mask=columns < total, other=float("inf"))
    # One after the other: the units' product could leave the range of float32 although this does not.
    products = products * tl.load(row_unit + rows)[:, None] * tl.load(column_unit + present)[None, :]
    return norm[None, :] - products


@triton.jit(do_not_specialize=["count", "total", "share"])  # type: ignore[untyped-decorator]
def _nearest(  # type: ignore[no-untyped-def]
    row_high,
    row_low,
    row_unit,
    column_high,
    column_low,
    column_unit,
    column_norm,
    best,
    index,
    count,
    total,
    share,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Write the least of a tile of rows among a share of the tiles of columns, and where it is."""
    rows, part = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1)
    present = tl.minimum(rows, count - 1)
    least, where = tl.full((ROWS,), float("inf"), tl.float32), tl.zeros((ROWS,), tl.int32)
    for tile in range(part * share, tl.minimum((part + 1) * share, tl.cdiv(total, COLUMNS))):
        relative = _relative(
            row_high,
            row_low,
            row_unit,
            present,
            column_high,
            column_low,
            column_unit,
            column_norm,
            tile * COLUMNS + tl.arange(0, COLUMNS),
            total,
            PADDED,
            STEP,
        )
        # Of equals, any will do: to find the first would take twice the instructions.
        found, at = tl.min(relative, axis=1, return_indices=True, return_indices_tie_break_left=False)
        # Never true of a column that does not exist, nor of NaN: the index stays one of a column.
        better = found < least
        least = tl.where(better, found, least)
        where = tl.where(better, at + tile * COLUMNS, where)
    target = part.to(tl.int64) * count + rows
    tl.store(best + target, least, mask=rows < count)
    tl.store(index + target, where, mask=rows < count)


class Tile(NamedTuple):
    """What one program computes at a time, and how: the sizes that took the least time."""

    rows: int
    columns: int
    stages: int
    warps: int


def _tile(device: torch.device) -> Tile:
    """Return what fits a GPU: each stage holds a step of rows and columns in the memory that a processor shares."""
    if device.type != "cuda":  # Triton's interpreter, in tests.
        return Tile(32, 64, 1, 1)
    shared: int = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return Tile(128, 256, 3, 8) if shared >= 160 * 1024 else Tile(128, 128, 2, 8)


def _list_halves(rows: "Halves", columns: "Halves") -> tuple[Tensor, ...]:
    return (rows.high, rows.low, rows.unit, columns.high, columns.low, columns.unit, columns.norm)


def _constants(rows: "Halves", tile: Tile) -> dict[str, int]:
    """Return what a kernel that compares is compiled for."""
    sizes = {"PADDED": rows.high.shape[1], "ROWS": tile.rows, "COLUMNS": tile.columns, "STEP": STEP}
    return sizes | {"num_stages": tile.stages, "num_warps": tile.warps}


def find_nearest(rows: "Halves", columns: "Halves") -> tuple[Tensor, Tensor]:
    """Return the least |c|^2 / 2 - r c of each row r over all columns c, and the column's index, both (P,).

    The sums are never written to memory, but compared where they are computed.
    """
    count, total, tile = len(rows.high), len(columns.high), _tile(rows.high.device)
    tiles, column_tiles = triton.cdiv(count, tile.rows), triton.cdiv(total, tile.columns)
    share = triton.cdiv(column_tiles, _count_parts(tiles, column_tiles, _processors(rows.high.device)))
    parts = max(triton.cdiv(column_tiles, share), 1)
    best = rows.unit.new_empty(parts, count)
    index = torch.empty(parts, count, dtype=torch.int64, device=best.device)
    with _gpu_of(best):
        _nearest[(tiles, parts)](
            *_list_halves(rows, columns), best, index, count, total, share, **_constants(rows, tile)
        )
    if parts == 1:
        return best[0], index[0]
    least, part = best.min(dim=0)
    return least, index.gather(0, part[None])[0]


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 8


def _count_parts(row_tiles: int, column_tiles: int, processors: int) -> int:
    """Return among how many programs to share out the columns of each tile of rows, so that all processors work.

    Each processor runs one program at a time, which takes a quarter of a tile's time to start and to end.
    """

    def time(parts: int) -> float:
        return -(-row_tiles * parts // processors) * (-(-column_tiles // parts) + 0.25)

    return min(range(1, min(max(column_tiles, 1), processors) + 1), key=time)


@triton.jit(do_not_specialize=["count", "total"])  # type: ignore[untyped-decorator]
def _compare(  # type: ignore[no-untyped-def]
    row_high,
    row_low,
    row_unit,
    column_high,
    column_low,
    column_unit,
    column_norm,
    relative,
    count,
    total,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Write |c|^2 / 2 - r c of a tile of rows and one of columns."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    present = tl.minimum(rows, count - 1)
    found = _relative(
        row_high,
        row_low,
        row_unit,
        present,
        column_high,
        column_low,
        column_unit,
        column_norm,
        columns,
        total,
        PADDED,
        STEP,
    )
    target = rows.to(tl.int64)[:, None] * total + columns[None, :]
    tl.store(relative + target, found, mask=(rows < count)[:, None] & (columns < total)[None, :])


def compare(rows: "Halves", columns: "Halves") -> Tensor:
    """Return |c|^2 / 2 - r c of all rows r and columns c, (P, M)."""
    count, total, tile = len(rows.high), len(columns.high), _tile(rows.high.device)
    relative = rows.unit.new_empty(count, total)
    with _gpu_of(relative):
        _compare[(triton.cdiv(count, tile.rows), triton.cdiv(total, tile.columns))](
            *_list_halves(rows, columns), relative, count, total, **_constants(rows, tile)
        )
    return relative


@triton.jit(do_not_specialize=["count"])  # type: ignore[untyped-decorator]
def _measure(  # type: ignore[no-untyped-def]
    rows,
    members,
    index,
    distances,
    count,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write the squared distances of some rows to one member each."""
    numbers, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    valid = numbers < count
    mask = valid[:, None] & (columns < SIZE)[None, :]
    member = tl.load(index + numbers, mask=valid, other=0)
    row = tl.load(rows + numbers.to(tl.int64)[:, None] * SIZE + columns[None, :], mask=mask, other=0.0)
    difference = row - tl.load(members + member[:, None] * SIZE + columns[None, :], mask=mask, other=0.0)
    tl.store(distances + numbers, tl.sum(difference * difference, axis=1), mask=valid)


def squared_distances(rows: Tensor, members: Tensor, index: Tensor) -> Tensor:
    """Return |r - m|^2 of each of the rows (P, D) and the one of the members (M, D) whose index it has, (P,)."""
    rows, members = rows.contiguous(), members.contiguous()
    count, size = rows.shape
    distances = rows.new_empty(count)
    width, tile = _tile_of_rows(size)
    with _gpu_of(rows):
        _measure[(triton.cdiv(count, tile),)](rows, members, index, distances, count, SIZE=size, WIDTH=width, ROWS=tile)
    return distances
