"""Distances by a GPU's matrix units, as exact as float32's and several times as fast.

These units multiply 16-bit numbers and add in float32. So each float32 is written as the sum of two 16-bit numbers,
high + low, which hold 22 of its 24 bits. A product of two is then high high + high low + low high: one matrix product
of rows three times as long.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 2.0**8
"""What the largest value is scaled to: far from the largest 16-bit number, and from the smallest."""

UNITS = (2.0**14, 2.0**3, 2.0**-8)
"""What rows have where columns have their norm in these units, each for the 11 bits that the one before left."""


def has_matrix_units(device: torch.device) -> bool:
    """Tell whether a device is a GPU whose matrix units are used here: NVIDIA's, from Ampere on."""
    return (
        device.type == "cuda" and torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (8, 0)
    )


@dataclass(frozen=True)
class Halves:
    """Rows to compare with columns of the same length D.

    Attributes:
        rows: (P, K), with K about 3 D.
        origin: what is subtracted from values, (D,).
        scale: what values are multiplied by, a power of two, ().
    """

    rows: Tensor
    origin: Tensor
    scale: Tensor

    @classmethod
    def of(cls, rows: Tensor, origin: Tensor, *others: Tensor) -> "Halves":
        """Split rows (P, D) about an origin (D,), at a scale that also suits others: near it, more digits are kept."""
        parts = (origin, rows, *others)
        # Twice the largest, as the origin is subtracted. Its mantissa is its quotient by a power of two.
        largest = (2 * torch.stack([torch.linalg.vector_norm(part, torch.inf) for part in parts]).amax()).clamp(
            1e-10, 1e10
        )
        scale = LARGEST * torch.frexp(largest).mantissa / largest
        halves = cls(rows.new_empty(len(rows), _width(rows), dtype=torch.float16), origin, scale)
        high, again, low, rest = halves.rows.tensor_split([rows.shape[1] * i for i in (1, 2, 3)], dim=1)
        # Each is written where it belongs: a batch's rows are so many that every pass over them counts.
        scaled = halves._scale(rows)
        high.copy_(scaled)
        again.copy_(high)
        low.copy_(scaled.sub_(high))
        for column, unit in enumerate(UNITS):
            rest[:, column] = unit
        rest[:, len(UNITS) :] = 0
        return halves

    def split_columns(self, columns: Tensor) -> Tensor:
        """Split columns (M, D) for :meth:`compare`, (M', K): M' is a multiple of 8, which the matrix units want.

        Those that are added are infinitely far from everything.
        """
        scaled, size = self._scale(columns), columns.shape[1]
        split = self.rows.new_zeros(-(-len(columns) // 8) * 8, self.rows.shape[1])
        high, low, again, rest = split[: len(columns)].tensor_split([size * i for i in (1, 2, 3)], dim=1)
        high.copy_(-scaled)
        again.copy_(high)
        low.copy_(-scaled - high)
        norm = scaled.square().sum(dim=1) / 2
        for column, unit in enumerate(UNITS):
            rest[:, column] = norm / unit
            norm = norm - rest[:, column].float() * unit
        split[len(columns) :, 3 * size] = torch.inf
        return split

    def _scale(self, values: Tensor) -> Tensor:
        return torch.addcmul(-self.origin * self.scale, values, self.scale)

    def compare(self, part: slice, columns: Tensor) -> Tensor:
        """Return |c|^2 / 2 - r c for some rows r and all split columns c, times the squared scale, (P, M)."""
        rows = self.rows[part]
        if not rows.is_cuda:  # In tests; a CPU gains nothing by it.
            return rows.float() @ columns.T.float()
        return torch.mm(rows, columns.T, out_dtype=torch.float32)


def _width(rows: Tensor) -> int:
    """Return the length of rows of three halves and the norm, a multiple of 16 bytes."""
    return -(-(3 * rows.shape[1] + len(UNITS)) // 8) * 8
