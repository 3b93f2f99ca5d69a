"""Choosing, while photographs are scored, those that a report shows, and making their pictures."""

import heapq
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from adcli._showing import introduce
from adcli.data.samples import Sample, say_label
from adcli.pictures.cards import CLOSE_SIDE, Picture, fitted, picture
from adcli.pictures.colours import Mask
from adcli.report.closeups import choose_part
from adcli.scoring.prediction import Prediction

LIMIT = 600
"""Images that a gallery holds at most."""


class Shown(NamedTuple):
    """An image of the report: what is known of it, what was said of it, and its picture."""

    sample: Sample
    prediction: Prediction
    picture: Picture

    def __repr__(self) -> str:
        return introduce(self, self.sample.image, say_label(self.sample), f"said: {self.prediction.verdict}")


class Gallery:
    """The images worth showing: of good and of defective ones those most on the wrong side of the threshold.

    If not all fit, the false alarms and the misses stay, and after them the closest calls. Memory is bounded: an image
    that comes too late to be kept is not even drawn.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._order = count()
        # Of each class, the image that would go first is at the front.
        self._kept: dict[bool, list[tuple[float, int, Shown]]] = {False: [], True: []}

    def add(self, prediction: Prediction, sample: Sample, mask: Mask | None = None) -> None:
        """Take an image and its mask if it is among those worth showing."""
        is_defect = sample.label == "defect"
        kept = self._kept[is_defect]
        # Later ones go first among equals.
        wrong, order = (-prediction.score if is_defect else prediction.score), -next(self._order)
        if len(kept) == self.limit and (wrong, order) < kept[0][:2]:
            return
        entry = (wrong, order, Shown(sample, prediction, _draw(prediction, mask)))
        if len(kept) < self.limit:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)

    def shown(self) -> Sequence[Shown]:
        """Return the images: half of the limit for each class, or more if the other has fewer."""
        good, defective = (sorted(self._kept[label], reverse=True) for label in (False, True))
        half = self.limit // 2
        for_defective = min(len(defective), max(half, self.limit - len(good)))
        chosen = [*defective[:for_defective], *good[: self.limit - for_defective]]
        return [shown for _, _, shown in chosen]


def _draw(prediction: Prediction, mask: Mask | None) -> Picture:
    return picture(
        prediction.photograph.pixels,
        # What was framed has its place only in the whole photograph.
        prediction.model_map if prediction.framing.is_plain else prediction.map,
        marked=prediction.marked,
        map_range=prediction.calibration.map_range,
        mask=mask,
        part=choose_part(prediction, fitted(prediction.size, CLOSE_SIDE), mask),
    )
