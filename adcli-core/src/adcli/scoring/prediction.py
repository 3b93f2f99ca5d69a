"""All that is said of one photograph, in one type."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli._showing import introduce, say_number
from adcli.data.decoding import Size, resize_map
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, Unreadable
from adcli.metrics.strips import Rows
from adcli.scoring.calibration import Calibration
from adcli.scoring.enlarging import enlarge
from adcli.scoring.opened import UNKNOWN, Origin
from adcli.scoring.regions import Marked, Region, find_regions, mark

Map = NDArray[np.float32]


class Prediction:
    """What a run or an export says of one photograph.

    The pixels of the photograph are there until the next prediction is asked for; the rest stays.

    Attributes:
        name: of the photograph, as tables print it.
        problem: why the photograph cannot be read; empty if it can. Nothing is said of one that cannot.
        time: when it was scored, UTC.
        origin: the run, and the weights, that scored it.
        path: its file, or None if it came from memory.
        digest: sha256 of the file's bytes; empty for what cannot be read.
        size: its height and width; 0 and 0 for what cannot be read.
        score: the image score, never clamped; higher is more anomalous. NaN for what cannot be read.
        p_value: share of good images that score at least as high; None without calibration.
        is_defect: the verdict; None without a threshold, and for what cannot be read, which is not good either.
        zone_scores: the scores of its zones, in their order; empty without zones.
        zones: names of the zones that are found defective.
        calibration: what the verdict comes from.
        model_map: the anomaly map at the model's input size, (h, w), or None for a model that only classifies.
        picture: the file of its picture, if one was drawn.
        part: the part that it shows, if there may be other photographs of it; empty otherwise.
    """

    def __init__(
        self,
        photograph: Photograph | Unreadable,
        score: float,
        model_map: Map | None,
        calibration: Calibration,
        framing: Framing,
        origin: Origin = UNKNOWN,
        zone_scores: Sequence[float] = (),
    ) -> None:
        self.time = datetime.now(UTC)
        self.problem = photograph.problem if isinstance(photograph, Unreadable) else ""
        self.name, self.path, self.digest = photograph.name, photograph.path, photograph.digest
        self.size: Size = photograph.size
        self.score = score
        self.p_value = None if self.problem else calibration.p_value(score)
        self.is_defect = None if self.problem else calibration.is_defect(score)
        self.zone_scores = tuple(zone_scores)
        self.calibration = calibration
        self.model_map = model_map
        self.framing = framing
        self.zones = self._list_zones() if self.is_defect else ()
        self.origin = origin
        self.picture: Path | None = None
        self.part = "" if calibration.parts is None else calibration.parts.find(photograph.path or photograph.name)
        self._photograph = None if isinstance(photograph, Unreadable) else photograph

    def __repr__(self) -> str:
        if self.problem:
            return introduce(self, self.name, "unreadable")
        facts = say_number("score", self.score), say_number("p", self.p_value)
        return introduce(self, self.name, self.verdict or "no verdict", *facts)

    def _repr_html_(self) -> str:
        from adcli.scoring.showing import show_prediction

        return show_prediction(self)

    @property
    def verdict(self) -> str:
        """``"defect"``, ``"good"`` or ``"unreadable"``; empty without a threshold."""
        if self.problem:
            return "unreadable"
        return "" if self.is_defect is None else "defect" if self.is_defect else "good"

    @property
    def photograph(self) -> Photograph:
        """The photograph itself.

        Raises:
            ValueError: it cannot be read; or the next prediction was asked for, and the pixels were let go.
        """
        if self.problem:
            raise ValueError(self.problem)
        if self._photograph is None:
            raise ValueError(
                f"{self.name}: its pixels were let go when the next prediction was asked for; copy them before"
            )
        # Of a part that was decoded alone, the rest is decoded when somebody asks for it.
        self._photograph = self._photograph.whole()
        return self._photograph

    @cached_property
    def map(self) -> Map | None:
        """The anomaly map at the photograph's own size, (H, W), or None for a model that only classifies.

        It is NaN where the model did not look: outside the region and the crop of the run, and in its ignored areas.
        """
        if self.model_map is None or self.framing.is_plain:
            return None if self.model_map is None else resize_map(self.model_map, self.size)
        return self.framing.place(self.model_map, self.size)

    def map_at(self, size: Size) -> Map | None:
        """Return the map of the whole photograph at another size."""
        if self.model_map is None or size == self.size:
            return self.map
        # From the model's own map if nothing was framed: interpolating twice would blur it.
        whole = self.model_map if self.framing.is_plain else self.map
        return None if whole is None else resize_map(whole, size)

    def rows_at(self, size: Size) -> Rows | None:
        """Return the rows of :meth:`map_at`, which are computed when they are asked for if nothing was framed."""
        if self.model_map is None or not self.framing.is_plain or ("map" in self.__dict__ and size == self.size):
            return self.map_at(size)
        return enlarge(self.model_map, size)

    def _list_zones(self) -> tuple[str, ...]:
        """Return the names of the zones that are found defective: without good scores, by their own scores."""
        if self.calibration.zones or not self.zone_scores:
            return self.calibration.list_found(self.zone_scores)
        zones = zip(self.framing.zones, self.zone_scores, strict=True)
        return tuple(zone.name for zone, score in zones if self.calibration.is_defect(score))

    @cached_property
    def marked(self) -> Marked | None:
        """Which pixels (H, W) of a defect ``adcli.scoring.regions.mark`` marks; None of others, or without a map."""
        if not self.is_defect or self.model_map is None:
            return None
        if self.zones and self.map is not None:
            return self._mark_zones(self.map)
        rows = self.rows_at(self.size)
        return None if rows is None else mark(rows, self.calibration.pixel_threshold)

    def _mark_zones(self, whole: Map) -> Marked:
        """Mark what is found in each zone by its own threshold, and nothing elsewhere."""
        marked = np.zeros(whole.shape, bool)
        for zone, framing in zip(self.framing.zones, self.framing.of_zones, strict=True):
            if zone.name in self.zones:
                area, kept = framing.area(self.size), self.calibration.zones.get(zone.name)
                marked[area] |= mark(whole[area], kept.pixel_threshold if kept else self.calibration.pixel_threshold)
        return marked

    @cached_property
    def regions(self) -> Sequence[Region]:
        """The connected parts of what is marked, the highest peak first; a defect that has a map has at least one."""
        rows = None if self.marked is None else self.rows_at(self.size)
        return () if rows is None or self.marked is None else find_regions(rows, self.marked)

    def release(self) -> None:
        """Let the pixels of the photograph go."""
        self._photograph = None

    def forget_map(self) -> None:
        """Let the maps go, for those who keep the predictions of many photographs; the regions stay."""
        self.regions  # noqa: B018 - found before the map goes
        self.model_map = None
        for name in ("map", "marked"):
            self.__dict__.pop(name, None)
