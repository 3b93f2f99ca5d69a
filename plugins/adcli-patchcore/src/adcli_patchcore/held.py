"""Patches in bounded memory: if there are more, a coreset of each chunk is held instead."""

from collections.abc import Callable

import torch
from torch import Tensor

from adcli_patchcore.coreset import greedy_k_centre

SPARE = 8
"""How many patches are held, of more than the bound allows, for each that will be chosen."""


class HeldPatches:
    """All patches, if the bound allows; else, in half of the room, coresets of chunks that come into the other half.

    Every chunk is thinned once, and its coreset is kept. So a coreset of what is held covers all patches almost as well
    as a coreset of them all: a patch is as far from it, at most, as the largest distance within its chunk's coreset
    plus the largest of the last selection.

    Args:
        expected: number of patches that will come.
        bound: of patches held at once, at least 2.
        project: maps patches (P, D) to the coordinates that coresets are chosen in.
        wanted: how many are to be chosen of what is held; of more than :data:`SPARE` times as many, the rest would
            cost time and make no difference.
    """

    def __init__(self, expected: int, bound: int, project: Callable[[Tensor], Tensor], wanted: int) -> None:
        self.expected, self.bound, self.project = expected, bound, project
        self.kept = min(bound // 2, max(SPARE * wanted, 1))
        self.seen = 0
        # Rows up to _thinned are coresets of chunks, those up to _filled the present chunk.
        self._rows = torch.empty(0)
        self._thinned = self._filled = 0

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
        return self._thinned + self.bound // 2 - self._filled

    def _thin_if_full(self) -> None:
        if self._room or self.expected <= self.bound:
            return
        chunk = self._rows[self._thinned : self._filled]
        # In proportion to what has been seen, so that the coresets of all chunks together fill half of the room.
        goal = self.kept * self.seen // self.expected
        picks = greedy_k_centre(self.project(chunk), goal - self._thinned)
        self._rows[self._thinned : goal] = chunk[torch.tensor(list(picks), dtype=torch.int64, device=chunk.device)]
        self._thinned = self._filled = goal
