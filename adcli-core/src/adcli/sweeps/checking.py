"""Comparing a sweep with what a paper published."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from adcli.errors import OptionError
from adcli.sweeps.files import Published, SweepFile
from adcli.sweeps.results import Outcome, SweepResults

TOLERANCE = 0.01
"""How far off a run may be if the source does not say."""

_MEAN = "mean"
"""The category that stands for the mean over all categories."""


@dataclass(frozen=True)
class Deviation:
    """A published value, and what runs of ours measured.

    Attributes:
        published: the value.
        value: the mean over the seeds, of the mean over the categories if that was published; None without any run.
        spread: the standard deviation over the seeds; None for fewer than two.
        made: how many runs it is of.
        missing: how many runs of the sweep it lacks, as they failed or are not made yet.
    """

    published: Published
    value: float | None
    spread: float | None
    made: int
    missing: int

    @property
    def difference(self) -> float | None:
        """Our value less the published one."""
        return None if self.value is None else self.value - self.published.value

    @property
    def verdict(self) -> str:
        """``"within"`` or ``"off"``, ``"incomplete"`` if runs are missing, ``"not run"`` if all are."""
        if self.difference is None:
            return "not run"
        if self.missing:
            return "incomplete"
        tolerance = TOLERANCE if self.published.tolerance is None else self.published.tolerance
        # Published values have three digits.
        return "within" if abs(self.difference) <= tolerance + 5e-4 else "off"


def check_published(recipe: SweepFile, results: SweepResults) -> list[Deviation]:
    """Return how far runs are from what was published, in the order of the recipe.

    Raises:
        OptionError: a value is of runs with several settings, so that it is not known which are meant.
    """
    models = {str(name) for grid in recipe.grids for name in _listed(grid.get("model", ()))}
    of_recipe = [outcome for outcome in results.outcomes if outcome.cell.factors["model"] in models]
    return [_check(published, of_recipe) for published in recipe.published]


def _listed(value: Any) -> Sequence[Any]:
    return value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]


def _check(published: Published, outcomes: Sequence[Outcome]) -> Deviation:
    is_mean = published.where.get("category") == _MEAN
    where = {name: value for name, value in published.where.items() if not (is_mean and name == "category")}
    meant = [outcome for outcome in outcomes if _is_of(outcome.cell.factors, where)]
    _refuse_mixture(published, meant)
    made = [outcome for outcome in meant if published.metric in outcome.metrics]
    seeds = list(dict.fromkeys(outcome.cell.factors["seed"] for outcome in made))
    values = [
        fmean(outcome.metrics[published.metric] for outcome in made if outcome.cell.factors["seed"] == seed)
        for seed in seeds
    ]
    return Deviation(
        published,
        value=fmean(values) if values else None,
        spread=stdev(values) if len(values) > 1 else None,
        made=len(made),
        missing=len(meant) - len(made),
    )


def _is_of(factors: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    return all(str(factors.get(name)) == str(value) for name, value in where.items())


def _refuse_mixture(published: Published, meant: Sequence[Outcome]) -> None:
    """Refuse a value of runs that differ, of one category, in more than the seed."""
    found: dict[tuple[Any, str], set[str]] = {}
    names = dict.fromkeys(
        name for outcome in meant for name in outcome.cell.factors if name not in ("category", "seed")
    )
    for outcome, name in itertools.product(meant, names):
        factors = outcome.cell.factors
        found.setdefault((factors["category"], name), set()).add(str(factors.get(name)))
    for (_, name), values in found.items():
        if len(values) > 1:
            raise OptionError(
                f"{published.metric} {published.value:g}: the sweep has runs with {name} {', '.join(sorted(values))}; "
                f"name one of them beside the value, such as '{name}: {min(values)}'."
            )
