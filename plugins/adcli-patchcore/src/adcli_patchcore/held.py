"""Patches in bounded memory: of more than that, a coreset of each chunk is held instead."""

from collections.abc import Callable

import torch
from torch import Tensor

from adcli_patchcore.coreset import greedy_k_centre


class HeldPatches:
    """As many patches as are allowed; where more will come, half of these are for a chunk, half for chunks' coresets.

    Every chunk is thinned once, and its coreset then kept for good. So a coreset of what is held covers all patches
    almost as well as one of them all: each lies within its chunk's largest distance plus the last selection's.

    Args:
        expected: number of patches that will come.
        bound: of patches held at once, at least 2.
        project: maps patches (P, D) to the coordinates that coresets are chosen in.
    """

    def __init__(self, expected: int, bound: int, project: Callable[[Tensor], Tensor]) -> None:
        self.expected, self.bound, self.project = expected, bound, project
        self.seen = 0
        self._rows = torch.empty(0)
        self._kept = self._filled = 0

    def add(self, rows: Tensor) -> None:
        """Take in patches (P, D); chunks are the same, however many come at a time."""
        if not self.seen:
            self._rows = rows.new_empty(min(self.expected, self.bound), rows.shape[1])
        while len(rows):
            self._thin_if_full()
            part = rows[: self._room]
            self._rows[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self.seen += len(part)
            rows = rows[len(part) :]

    def rows(self) -> Tensor:
        """Return what is held, (P, D), a view."""
        return self._rows[: self._filled]

    @property
    def _room(self) -> int:
        if self.expected <= self.bound:
            return self.expected - self.seen
        return self._kept + self.bound // 2 - self._filled

    def _thin_if_full(self) -> None:
        if self._room or self.expected <= self.bound:
            return
        chunk = self._rows[self._kept : self._filled]
        # In proportion to what has been seen, so that all chunks together get the other half.
        goal = self.bound // 2 * self.seen // self.expected
        picks = greedy_k_centre(self.project(chunk), goal - self._kept)
        self._rows[self._kept : goal] = chunk[torch.tensor(list(picks), dtype=torch.int64, device=chunk.device)]
        self._kept = self._filled = goal
