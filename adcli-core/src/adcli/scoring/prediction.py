"""All that is said of one photograph, in one type."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adcli.data.decoding import Size, resize_map
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph
from adcli.scoring.calibration import Calibration
from adcli.scoring.regions import Region, find_regions

Map = NDArray[np.float32]


class Prediction:
    """What a run or an export says of one photograph.

    The pixels of the photograph are there until the next prediction is asked for; the rest stays.

    Attributes:
        name: of the photograph, as tables print it.
        path: its file, or None if it came from memory.
        digest: sha256 of the file's bytes.
        size: its height and width.
        score: the image score, never clamped; higher is more anomalous.
        p_value: share of good images that score at least as high; None without calibration.
        is_defect: the verdict; None without a threshold.
        calibration: what the verdict comes from.
        model_map: the anomaly map at the model's input size, (h, w), or None for a model that only classifies.
    """

    def __init__(
        self, photograph: Photograph, score: float, model_map: Map | None, calibration: Calibration, framing: Framing
    ) -> None:
        self.name, self.path, self.digest = photograph.name, photograph.path, photograph.digest
        self.size: Size = photograph.size
        self.score = score
        self.p_value = calibration.p_value(score)
        self.is_defect = calibration.is_defect(score)
        self.calibration = calibration
        self.model_map = model_map
        self.framing = framing
        self._photograph: Photograph | None = photograph

    @property
    def verdict(self) -> str:
        """``"defect"`` or ``"good"``; empty without a threshold."""
        return "" if self.is_defect is None else "defect" if self.is_defect else "good"

    @property
    def photograph(self) -> Photograph:
        """The photograph itself.

        Raises:
            ValueError: the next prediction was asked for, and the pixels were let go.
        """
        if self._photograph is None:
            raise ValueError(
                f"{self.name}: its pixels were let go when the next prediction was asked for; copy them before"
            )
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

    @cached_property
    def regions(self) -> Sequence[Region]:
        """Where the map of a defect lies above the pixel threshold, in its pixels; empty for a good photograph."""
        threshold = self.calibration.pixel_threshold
        if not self.is_defect or self.map is None or threshold is None:
            return ()
        return find_regions(self.map, threshold)

    def release(self) -> None:
        """Let the pixels of the photograph go."""
        self._photograph = None

    def forget_map(self) -> None:
        """Let the maps go, for those who keep the predictions of many photographs."""
        self.model_map = None
        self.__dict__.pop("map", None)
