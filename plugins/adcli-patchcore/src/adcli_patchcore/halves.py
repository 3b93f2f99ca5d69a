"""Distances by a GPU's matrix units, as exact as float32's and several times as fast.

These units multiply 16-bit numbers and add in float32. So each float32 is written as the sum of two 16-bit numbers,
high + low, which hold 22 of its 24 bits. A product of two is then high high + high low + low high.

Each row has a scale of its own, which brings its largest value near the largest 16-bit number. So none overflows, and
what underflows is nothing beside the row's length, whatever the other rows are. Scales are powers of two: they cost no
digits.
"""

import weakref
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from adcli.nn import can_compile_kernels


def has_matrix_units(device: torch.device) -> bool:
    """Tell whether a device is a GPU whose matrix units are used here: NVIDIA's, from Ampere on."""
    return torch.version.cuda is not None and can_compile_kernels(device)


@dataclass(frozen=True)
class Halves:
    """Rows of float32, split: row p is about ``unit[p] * (high[p] + low[p])``.

    Attributes:
        high, low: 16-bit numbers, (P, K), K >= D, zero from D on.
        unit: powers of two, (P,).
        norm: half of each row's squared length, (P,).
    """

    high: Tensor
    low: Tensor
    unit: Tensor
    norm: Tensor

    @classmethod
    def of(cls, rows: Tensor, origin: Tensor | None = None) -> "Halves":
        """Split rows (P, D) about an origin (D,), by default zero: rows near it keep more digits of their distances."""
        from adcli_patchcore.kernels import split

        return cls(*split(rows, rows.new_zeros(rows.shape[1]) if origin is None else origin))

    def __getitem__(self, part: slice) -> "Halves":
        return Halves(self.high[part], self.low[part], self.unit[part], self.norm[part])

    def find_nearest(self, columns: "Halves") -> tuple[Tensor, Tensor]:
        """Return the least |c|^2 / 2 - r c of each row r over all columns c, and the column's index, both (P,)."""
        from adcli_patchcore.kernels import find_nearest

        return find_nearest(self, columns)

    def compare(self, columns: "Halves") -> Tensor:
        """Return |c|^2 / 2 - r c of all rows r and columns c, (P, M)."""
        from adcli_patchcore.kernels import compare

        return compare(self, columns)


def squared_distances(rows: Tensor, members: Tensor, index: Tensor) -> Tensor:
    """Return |r - m|^2 of each of the rows (P, D) and the one of the members (M, D) whose index it has, (P,)."""
    from adcli_patchcore.kernels import squared_distances

    return squared_distances(rows, members, index)


class SplitBank(NamedTuple):
    """A bank in halves about its middle."""

    origin: Tensor
    halves: Halves


class BankSplitter:
    """Splits a bank when it is first asked for, and again if it is another or has changed; but for ``bank.data``.

    Copies, also by pickle, begin with nothing: what is kept belongs to one tensor, on one device. A recorded CUDA graph
    reads what is kept, which must stay where it is, as weights must.
    """

    def __init__(self) -> None:
        self._bank: weakref.ReferenceType[Tensor] | None = None
        self._state = (0, 0)
        self._split: SplitBank | None = None

    def __reduce__(self) -> tuple[type["BankSplitter"], tuple[()]]:
        return BankSplitter, ()

    def split(self, bank: Tensor) -> SplitBank:
        """Return a bank (M, D) in halves."""
        if self._split is not None and self._bank is not None and self._bank() is bank and self._state == _state(bank):
            return self._split
        origin = _middle(bank)
        split = SplitBank(origin, Halves.of(bank, origin))
        if not _is_to_be_kept(bank):
            return split
        self._bank, self._state, self._split = weakref.ref(bank), _state(bank), split
        return split


def _middle(bank: Tensor) -> Tensor:
    """Return the median of about a thousand members, (D,): unlike a mean, it stays near them whatever outliers do."""
    some = bank[:: max(len(bank) // 1000, 1)]
    return some.sort(dim=0).values[len(some) // 2]


def _state(bank: Tensor) -> tuple[int, int]:
    """Return what another content of the same tensor differs by."""
    return bank._version, bank.data_ptr()


def _is_to_be_kept(bank: Tensor) -> bool:
    """Tell whether halves of a bank can serve later calls, in whichever stream these compute."""
    # An inference tensor does not count its changes.
    if bank.is_inference():
        return False
    if bank.is_cuda:
        # While a graph is recorded, nothing is computed, and its memory is the graph's.
        if torch.cuda.is_current_stream_capturing():
            return False
        torch.cuda.current_stream(bank.device).synchronize()
    return True
