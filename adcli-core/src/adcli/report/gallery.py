"""Choosing, while images are scored, those that a report shows, and making their pictures."""

import heapq
from collections.abc import Sequence
from itertools import count

from adcli.data.decoding import read_image, read_mask
from adcli.data.samples import Sample
from adcli.report.cards import LONG_SIDE, Picture, fitted, picture
from adcli.scoring.scorer import ScoredImage, Scorer

LIMIT = 600
"""Images that a gallery holds at most."""

Shown = tuple[Sample, float, Picture]


class Gallery:
    """The images worth showing: of good and of defective ones those most on the wrong side of the threshold.

    Where all do not fit, so the false alarms and the misses stay, and after them the closest calls. Memory is bounded:
    an image that comes too late to be kept is not even drawn.
    """

    def __init__(self, scorer: Scorer, limit: int = LIMIT) -> None:
        self.scorer = scorer
        self.limit = limit
        self._order = count()
        # Of each class, the image that would go first is at the front.
        self._kept: dict[bool, list[tuple[float, int, Shown]]] = {False: [], True: []}

    def add(self, image: ScoredImage, sample: Sample) -> None:
        """Take an image, as long as it is among those worth showing."""
        is_defect = sample.label == "defect"
        kept = self._kept[is_defect]
        # Later ones go first among equals.
        wrong, order = (-image.score if is_defect else image.score), -next(self._order)
        if len(kept) == self.limit and (wrong, order) < kept[0][:2]:
            return
        entry = (wrong, order, (sample, image.score, self._picture(image, sample)))
        if len(kept) < self.limit:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)

    def _picture(self, image: ScoredImage, sample: Sample) -> Picture:
        return picture(
            read_image(image.path),
            image.map if image.framing.is_plain else image.map_at(fitted(image.original_size, LONG_SIDE)),
            pixel_threshold=self.scorer.calibration.pixel_threshold,
            map_range=self.scorer.map_range,
            mask=None if sample.mask is None else read_mask(sample.mask),
        )

    def shown(self) -> Sequence[Shown]:
        """Return the images: half of the limit for each class, or more where the other has fewer."""
        good, defective = (sorted(self._kept[label], reverse=True) for label in (False, True))
        half = self.limit // 2
        for_defective = min(len(defective), max(half, self.limit - len(good)))
        chosen = [*defective[:for_defective], *good[: self.limit - for_defective]]
        return [shown for _, _, shown in chosen]
