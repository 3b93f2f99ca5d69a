"""One run of a sweep: its settings, its name, and the factors that tell it from the others."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from adcli._showing import introduce
from adcli.runs.settings import TrainSettings

Factor = str | int | float | bool | None
"""A value of a factor, as tables print it."""

NAMED = ("model", "data", "category", "seed")
"""Factors that every run has; the others are those that somebody set."""

OPTION = "option."
"""What a factor begins with that is an option of the model."""

_OF_MACHINE = ("device", "workers", "cache")
"""Settings that say how a run is computed, and not what comes out."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep, made or not.

    Attributes:
        name: of its folder; it follows from the settings, so that a sweep that is extended finds it again.
        factors: what tells it from others, by name: those of :data:`NAMED`, other settings that were given, and
            options of the model as ``option.coreset``.
        settings: with which it is trained.
    """

    name: str
    factors: Mapping[str, Factor]
    settings: TrainSettings

    def __repr__(self) -> str:
        return introduce(self, self.name)


def name_cell(settings: TrainSettings) -> str:
    """Return the name of a run's folder, such as ``padim-bottle-s0-1f3a9c04``."""
    values = {key: value for key, value in settings.to_dict().items() if key not in _OF_MACHINE}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    data = re.sub(r"[^A-Za-z0-9._]+", "-", (settings.data or "demo").rstrip("/").rpartition("/")[2].rpartition(":")[2])
    model = settings.model.rpartition("/")[2]
    return f"{model}-{data[-40:].strip('-.') or 'data'}-s{settings.seed}-{digest}"
