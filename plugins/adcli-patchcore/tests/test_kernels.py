"""Kernels agree with float64 whatever the sizes and magnitudes; without a GPU, Triton's interpreter runs them."""

import pytest
import torch
from torch import Tensor

from adcli_patchcore import coreset
from adcli_patchcore.halves import Halves, squared_distances

pytest.importorskip("triton")

SIZES = [(1, 1, 1), (33, 65, 31), (32, 64, 32), (70, 200, 100), (1, 300, 128), (90, 1, 33), (5, 700, 12)]
"""Rows, columns and values of each: alone, one more or less than a tile, several tiles."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return |c|^2 / 2 - r c in float64, and what float32 may miss it by."""
    rows, columns = rows.double(), columns.double()
    lengths = columns.norm(dim=1)
    relative = lengths.square() / 2 - rows @ columns.T
    return relative, 1e-6 * (lengths.square() + rows.norm(dim=1)[:, None] * lengths)


def assert_nearest_are_found(rows: Tensor, columns: Tensor) -> None:
    """Check the least and its column, of which there may be several but for rounding."""
    least, index = Halves.of(rows).find_nearest(Halves.of(columns))
    expected, missed = exact(rows, columns)
    assert least.shape == index.shape == (len(rows),)
    assert ((index >= 0) & (index < len(columns))).all()
    here = torch.arange(len(rows))
    # Beside the column that is found and the true one, no other's rounding matters.
    tolerance = missed[here, index] + missed[here, expected.argmin(dim=1)]
    assert (expected[here, index] - expected.amin(dim=1) <= tolerance).all()
    assert ((least - expected.amin(dim=1)).abs() <= tolerance).all()


@pytest.mark.parametrize(("rows", "columns", "size"), SIZES)
def test_the_nearest_are_found_and_all_compared(rows: int, columns: int, size: int) -> None:
    left, right = draw(rows, size), draw(columns, size, seed=1)
    assert_nearest_are_found(left, right)
    expected, missed = exact(left, right)
    assert ((Halves.of(left).compare(Halves.of(right)) - expected).abs() <= missed).all()


@pytest.mark.parametrize("factor", [1e-15, 1e-6, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("other", [1e-15, 1e-6, 1.0, 1e6, 1e15])
def test_rows_and_columns_of_any_magnitudes_are_compared(factor: float, other: float) -> None:
    rows, columns = draw(40, 20) * factor, draw(70, 20, seed=1) * other
    # One channel that is much larger must not cost the others' digits.
    rows[:, 0] *= 50
    assert_nearest_are_found(rows, columns)
    expected, missed = exact(rows, columns)
    assert ((Halves.of(rows).compare(Halves.of(columns)) - expected).abs() <= missed).all()


def test_an_outlier_costs_the_others_no_digits() -> None:
    columns = draw(70, 20)
    columns[3], columns[9], columns[11] = 1e15, 1e-15, 0
    rows = torch.cat([columns + 1e-3 * draw(70, 20, seed=1), torch.zeros(1, 20), torch.full((1, 20), 1e18)])
    assert_nearest_are_found(rows, columns)
    _, index = Halves.of(rows).find_nearest(Halves.of(columns))
    others = [i for i in range(70) if i not in (3, 9, 11)]
    assert index[others].tolist() == others


@pytest.mark.parametrize("value", [torch.finfo(torch.float32).max, 1e-45, 1e-38, 0.0, -65504.0, 2.0**13, -(2.0**-126)])
def test_halves_hold_a_value_of_any_magnitude(value: float) -> None:
    halves = Halves.of(torch.tensor([[value, -value / 3, 0.0]]))
    assert halves.high.dtype == halves.low.dtype == torch.float16
    found = (halves.high.double() + halves.low.double()) * halves.unit.double()
    torch.testing.assert_close(
        found[0, :3], torch.tensor([value, -value / 3, 0.0], dtype=torch.float32).double(), rtol=2**-21, atol=1e-45
    )
    assert (found[0, 3:] == 0).all()


def test_no_digits_of_a_row_are_lost_about_an_origin() -> None:
    rows, origin = draw(9, 40) + 1000, torch.full((40,), 1000.0)
    halves = Halves.of(rows, origin)
    found = (halves.high.double() + halves.low.double()) * halves.unit.double()[:, None]
    torch.testing.assert_close(found[:, :40], (rows - origin).double(), rtol=2**-21, atol=1e-7)
    torch.testing.assert_close(halves.norm, (rows - origin).square().sum(dim=1) / 2)


def test_of_duplicates_any_is_found() -> None:
    columns = draw(50, 12).repeat(4, 1)
    _, index = Halves.of(columns[:50]).find_nearest(Halves.of(columns))
    assert (index % 50).tolist() == list(range(50))


def test_what_is_no_number_finds_a_member_all_the_same() -> None:
    rows = draw(3, 8)
    rows[0, 2], rows[1, 5] = torch.nan, torch.inf
    _, index = Halves.of(rows).find_nearest(Halves.of(draw(100, 8, seed=1)))
    assert ((index >= 0) & (index < 100)).all()


def test_no_rows_have_no_nearest() -> None:
    least, index = Halves.of(torch.empty(0, 8)).find_nearest(Halves.of(draw(5, 8)))
    assert least.shape == index.shape == (0,)


@pytest.mark.parametrize(("rows", "columns", "size"), SIZES)
def test_distances_are_those_of_differences(rows: int, columns: int, size: int) -> None:
    left, right = draw(rows, size) + 100, draw(columns, size, seed=1) + 100
    index = torch.randint(columns, (rows,), generator=torch.Generator().manual_seed(2))
    expected = (left.double() - right[index].double()).square().sum(dim=1).float()
    torch.testing.assert_close(squared_distances(left, right, index), expected)


@pytest.mark.parametrize(("row_tiles", "column_tiles", "processors"), [(1, 1, 132), (8, 41, 132), (256, 41, 132)])
def test_columns_are_shared_out_if_rows_leave_processors_idle(
    row_tiles: int, column_tiles: int, processors: int
) -> None:
    from adcli_patchcore.kernels import _count_parts

    parts = _count_parts(row_tiles, column_tiles, processors)
    assert 1 <= parts <= column_tiles
    assert (parts > 1) == (row_tiles < processors and column_tiles > 1)
    assert row_tiles * parts <= max(processors, row_tiles)


@pytest.mark.parametrize(("size", "block", "count"), [(300, 64, 200), (100, 128, 100)])
def test_picks_are_the_same(size: int, block: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli_patchcore.kernels import pick_on_gpu

    points = draw(size, 16)
    points[10:20] = points[0]
    expected = list(coreset.greedy_k_centre(points, count, block=block))
    monkeypatch.setattr(
        coreset,
        "picks_among",
        lambda points, norms, nearest, floor, count: pick_on_gpu(
            coreset._squared_distances(points, norms, points, norms), nearest, floor, count
        ),
    )
    assert list(coreset.greedy_k_centre(points, count, block=block)) == expected
