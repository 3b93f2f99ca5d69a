"""One run of a sweep: its settings, its name, and the factors that tell it from the others."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from adcli._showing import introduce
from adcli.errors import OptionError
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
    """Return the name of a run's folder, such as ``padim-bottle-s0-1f3a9c04``.

    What is as by default is not part of it: a setting that a later version brings must not rename all runs.
    """
    default = TrainSettings.parse({"model": settings.model}).to_dict()
    given = {key: value for key, value in settings.to_dict().items() if value != default[key]}
    values = {key: value for key, value in given.items() if key not in _OF_MACHINE}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    data = re.sub(r"[^A-Za-z0-9._]+", "-", (settings.data or "demo").rstrip("/").rpartition("/")[2].rpartition(":")[2])
    model = settings.model.rpartition("/")[2]
    return f"{model}-{data[-40:].strip('-.') or 'data'}-s{settings.seed}-{digest}"


def tell_apart(cells: Sequence[Cell]) -> list[Cell]:
    """Return runs of which no two have the same factors: data of one name are called by more of their paths.

    Raises:
        OptionError: two runs differ in nothing that is a factor, so that every table would take them for one.
    """
    places: dict[tuple[Factor, Factor], dict[str | None, None]] = {}
    for cell in cells:
        places.setdefault(_name_data(cell), {})[cell.settings.data] = None
    names = {shared: _lengthen(paths) for shared, paths in places.items() if len(paths) > 1}
    apart = [
        replace(cell, factors={**cell.factors, "data": names[shared][cell.settings.data]}) if shared in names else cell
        for cell, shared in ((cell, _name_data(cell)) for cell in cells)
    ]
    _refuse_alike(apart)
    return apart


def _name_data(cell: Cell) -> tuple[Factor, Factor]:
    # One that was lengthened before, among fewer others, begins again.
    return PurePath(str(cell.factors.get("data"))).name, cell.factors.get("category")


def _lengthen(references: Mapping[str | None, None]) -> dict[str | None, str]:
    """Return the shortest ends of paths of which no two are the same."""
    parts = {reference: PurePath(reference or "demo").parts for reference in references}
    for count in range(1, max(map(len, parts.values()))):
        ends = {reference: str(PurePath(*path[-count:])) for reference, path in parts.items()}
        if len(set(ends.values())) == len(ends):
            return ends
    return {reference: reference or "demo" for reference in references}


def _refuse_alike(cells: Sequence[Cell]) -> None:
    known: dict[str, Cell] = {}
    for cell in cells:
        given = {name: value for name, value in cell.factors.items() if value is not None}
        other = known.setdefault(json.dumps(given, sort_keys=True), cell)
        if other is not cell:
            raise OptionError(f"{_say_difference(other, cell)}; make a sweep of each, in a folder of its own.")


def _say_difference(one: Cell, other: Cell) -> str:
    if one.name == other.name:
        return f"the run {one.name} is there twice"
    mine, others = one.settings.to_dict(), other.settings.to_dict()
    differing = ", ".join(name for name in mine if name not in _OF_MACHINE and mine[name] != others[name])
    told = f"differ in {differing or 'their names'} alone"
    return f"the runs {one.name} and {other.name} {told}, so that no table could tell them apart"
