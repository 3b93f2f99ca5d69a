"""Scoring photographs with defects drawn into them, a photograph after the other, in bounded memory."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adcli.data.ahead import read_ahead
from adcli.data.decoding import Pixels, Size
from adcli.data.defects import KINDS, Weights, paint_defect, shape_defect
from adcli.data.photograph import Photograph, open_photograph
from adcli.data.places import Area, Flags, find_area, find_seen
from adcli.data.source import Decoded, Item
from adcli.progress import Progress
from adcli.scoring.detection import Draw, Drawn
from adcli.scoring.scorer import Scorer, score_joined

CACHE_BYTES = 256 << 20
"""What photographs take at most that are kept from one round of draws to the next."""

_SHAPE, _PLACE, _PAINT, _ORDER = range(4)
"""What a random number is for."""


class _Known(NamedTuple):
    """A photograph, and where in it something may be drawn."""

    photograph: Photograph
    area: Area


class _Placed(NamedTuple):
    """A defect that has its place."""

    draw: Draw
    number: int
    photograph: Photograph
    weights: Weights
    corner: tuple[int, int]


class DrawingPass:
    """Draws defects into good photographs and scores them with a run's own framing and threshold.

    The same seed and photographs give the same defects.

    Args:
        scorer: of a run or an export, with a threshold.
        paths: of photographs that pass without a defect.
        seed: chooses photographs, places and shapes.
        progress: is shown how far it is.
        anywhere: whether defects may lie in the background.
    """

    def __init__(
        self, scorer: Scorer, paths: Sequence[Path], seed: int, progress: Progress, *, anywhere: bool = False
    ) -> None:
        self.scorer, self.paths, self.seed, self.progress = scorer, paths, seed, progress
        self.anywhere = anywhere
        self.scored = 0
        self._kept: dict[int, _Known] = {}
        self._last: tuple[int, _Known] | None = None
        self._bytes = 0
        self._seen = lru_cache(8)(self._find_seen)

    def __call__(self, draws: Sequence[Draw]) -> Iterator[Drawn]:
        """Yield what was found of some defects, in the order of photographs; one that fits nowhere is missing."""
        waiting = deque[_Placed]()
        source = self.scorer.source

        def place() -> Iterator[_Placed]:
            for draw in self.progress.track(sorted(draws, key=self._first_choice), len(draws), "drawing defects"):
                placed = self._place(draw)
                if placed is not None:
                    waiting.append(placed)
                    yield placed

        loaded = read_ahead(place(), self._paint_and_fit, lambda image: image.pixels.nbytes, source.workers)
        inputs = ((Item(self.paths[placed.number]), image) for placed, image in loaded)
        calibration = self.scorer.calibration
        for _, score in score_joined(self.scorer.runtime, inputs, self.scorer.batch_size, calibration):
            self.scored += 1
            yield self._tell(waiting.popleft(), score)

    def _tell(self, placed: _Placed, score: float) -> Drawn:
        (top, left), (height, width) = placed.corner, placed.weights.shape
        size = placed.photograph.size
        middle = (top + height / 2) / size[0], (left + width / 2) / size[1]
        found = bool(self.scorer.calibration.is_defect(score))
        return Drawn(placed.draw, placed.number, placed.corner, (height, width), middle, score, found)

    def draw_again(self, drawn: Drawn) -> tuple[Pixels, Pixels]:
        """Return the photograph of a defect without it and with it, (H, W, 3) each."""
        photograph = self._open(drawn.photograph).photograph
        placed = _Placed(drawn.draw, drawn.photograph, photograph, self._shape(drawn.draw), drawn.corner)
        return photograph.pixels, self._paint(placed)

    def background(self, number: int) -> float:
        """Return which share of what is looked at of a photograph is not the part."""
        return self._open(number).area.background

    def _random(self, draw: Draw, purpose: int) -> np.random.Generator:
        """Return random numbers for a defect; but for its place, they are the same at every size."""
        kind, contrast = KINDS.index(draw.kind), round(1000 * draw.contrast)
        size = draw.size if purpose == _PLACE else 0
        return np.random.default_rng([self.seed, kind, contrast, draw.number, purpose, size])

    def _order(self, draw: Draw) -> list[int]:
        """Return the photographs for the defects of a kind and contrast, in the order in which they are used."""
        shuffled = self._random(draw._replace(number=0), _ORDER).permutation(len(self.paths)).tolist()
        first = draw.number % len(shuffled)
        return [*shuffled[first:], *shuffled[:first]]

    def _first_choice(self, draw: Draw) -> tuple[int, Draw]:
        return self._order(draw)[0], draw

    def _place(self, draw: Draw) -> _Placed | None:
        """Return a defect in the first photograph in which it has room."""
        weights, random = self._shape(draw), self._random(draw, _PLACE)
        for number in self._order(draw):
            known = self._open(number)
            corner = known.area.place(weights > 0, random)
            if corner is not None:
                return _Placed(draw, number, known.photograph, weights, corner)
        return None

    def _shape(self, draw: Draw) -> Weights:
        return shape_defect(draw.kind, draw.size, self._random(draw, _SHAPE))

    def _paint(self, placed: _Placed) -> Pixels:
        draw = placed.draw
        random = self._random(draw, _PAINT)
        return paint_defect(placed.photograph.pixels, draw.kind, placed.weights, placed.corner, draw.contrast, random)

    def _paint_and_fit(self, placed: _Placed) -> Decoded:
        return self.scorer.source.fit(placed.photograph._replace(pixels=self._paint(placed)))

    def _open(self, number: int) -> _Known:
        """Return a photograph; the first ones are kept as far as there is room, and of the others the last."""
        if number in self._kept:
            return self._kept[number]
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        path = self.paths[number]
        photograph = open_photograph(path, white=self.scorer.source.framing.white)._replace(oddities=())
        known = _Known(photograph, find_area(photograph.pixels, self._seen(photograph.size), anywhere=self.anywhere))
        held = photograph.pixels.nbytes + known.area.points.nbytes
        if self._bytes + held <= CACHE_BYTES:
            self._kept[number], self._bytes = known, self._bytes + held
        self._last = number, known
        return known

    def _find_seen(self, size: Size) -> Flags | None:
        framing = self.scorer.source.framing
        return find_seen(framing, framing.find_sheet(self.scorer.source.size), size)
