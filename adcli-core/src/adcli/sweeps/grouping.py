"""Which runs of a sweep are looked at together, and which of them belong side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adcli.errors import OptionError, RunError, one_line
from adcli.sweeps.cells import Factor
from adcli.sweeps.naming import find_factor, format_factor, list_names
from adcli.sweeps.results import Outcome, SweepResults

Group = tuple[Factor, ...]
"""The values of the factors that runs are grouped by."""

OVER = ("category", "seed")
"""The factors that are averaged over unless others are given."""

OF_IMAGES = ("data", "category")
"""The factors that say which images a run is of."""


class Unit(NamedTuple):
    """What tells the runs of a group apart; runs of several groups with the same one are paired.

    Attributes:
        images: the values of ``data`` and ``category``, as far as these are averaged over: which images were tested.
        repeat: the values of the other factors, such as the seed.
    """

    images: tuple[Factor, ...]
    repeat: tuple[Factor, ...]


@dataclass(frozen=True)
class Grouped:
    """The runs of a sweep in groups.

    Attributes:
        by: the factors that make the groups.
        over: the factors that are averaged over.
        images: the factors that tell the sets of images apart, ``data`` and ``category`` as far as averaged over.
        groups: the runs of each group by unit, in the order of the grid.
    """

    by: Sequence[str]
    over: Sequence[str]
    images: Sequence[str]
    groups: Mapping[Group, Mapping[Unit, Outcome]]

    @property
    def units(self) -> list[Unit]:
        """All units that any group has, in the order of the grid."""
        return list(dict.fromkeys(unit for runs in self.groups.values() for unit in runs))

    def name_images(self) -> str:
        """Return what the sets of images are called, ``"categories"`` or ``"data sets"``."""
        return "categories" if "category" in self.over else "data sets"

    def name_repeats(self) -> str:
        """Return what the repetitions are called, such as ``"seeds"``."""
        others = [name for name in self.over if name not in OF_IMAGES]
        return "seeds" if others in ([], ["seed"]) else "runs"


def group_runs(results: SweepResults, by: Sequence[str] | None = None, over: Sequence[str] | None = None) -> Grouped:
    """Group the runs of a sweep by some factors, and check that nothing else than ``over`` varies in a group.

    Args:
        results: of the sweep.
        by: names of factors, at least one; the model, and what else varies in the runs of one, when None.
        over: names of factors; :data:`OVER` less those in ``by`` when None. A category of another data set is
            another category, so ``category`` stands for ``data`` as well.

    Raises:
        OptionError: a factor is unknown, in both, or varies within a group and is in neither.
        RunError: the sweep has no runs.
    """
    if not results.outcomes:
        raise RunError(f"{results.folder}: has no runs.")
    by = None if by is None else [find_factor(name, results.factors, "by") for name in list_names(by, "by")]
    over = [find_factor(name, results.factors, "over") for name in list_names(OVER if over is None else over, "over")]
    if by is None:
        by = _choose_groups(results, over)
    if over == list(OVER):
        over = [name for name in over if name not in by]
    both = [name for name in over if name in by]
    if not by or both:
        raise OptionError(f"and --over both name '{both[0]}'." if both else "names no factor.", option="by")
    images = [name for name in OF_IMAGES if name in over or ("category" in over and name not in by)]
    repeats = [name for name in over if name not in OF_IMAGES]
    groups: dict[Group, dict[Unit, Outcome]] = {}
    seen: dict[Group, list[Outcome]] = {}
    for outcome in results.outcomes:
        seen.setdefault(_values(outcome, by), []).append(outcome)
    for group, outcomes in seen.items():
        _refuse_more(group, outcomes, [name for name in results.factors if name not in (*by, *images, *repeats)])
        groups[group] = {Unit(_values(one, images), _values(one, repeats)): one for one in outcomes}
    return Grouped(by, over, images, groups)


def _choose_groups(results: SweepResults, over: Sequence[str]) -> list[str]:
    """Return the factors that make groups of which nothing varies but what is averaged over."""
    averaged = {*over, *(OF_IMAGES if "category" in over else ())}
    found: dict[str, set[tuple[Factor, ...]]] = {}
    for outcome in results.outcomes:
        for name in results.factors:
            found.setdefault(name, set()).add(_values(outcome, ["model", name]))
    models = found.get("model", set())
    return ["model", *(name for name in found if len(found[name]) > len(models) and name not in averaged)]


def _values(outcome: Outcome, names: Sequence[str]) -> tuple[Factor, ...]:
    return tuple(outcome.cell.factors.get(name) for name in names)


def _refuse_more(group: Group, outcomes: Sequence[Outcome], names: Sequence[str]) -> None:
    """Refuse a group in which a factor varies that nobody named: its mean would be of nothing in particular."""
    for name in names:
        values = list(dict.fromkeys(outcome.cell.factors.get(name) for outcome in outcomes))
        if len(values) > 1:
            shown = ", ".join(format_factor(value) for value in values[:3])
            which = ", ".join(map(format_factor, group))
            raise OptionError(
                one_line(
                    f"and --over leave out '{name}', which varies ({shown}{', ...' if len(values) > 3 else ''}) in the "
                    f"runs of {which}; add it to one of them."
                ),
                option="by",
            )
