"""Curves of groups of runs: one for each, the mean over what the group is averaged over."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adcli.errors import RunError
from adcli.metrics.curves import Floats, tabulate
from adcli.runs.scores import LabelledScores, read_scores
from adcli.sweeps.cells import Factor
from adcli.sweeps.grouping import Group, group_runs
from adcli.sweeps.results import Outcome, SweepResults
from adcli.sweeps.summary import value_of

RATES = np.linspace(0, 1, 201)
"""The false-positive rates at which curves are averaged."""


class Curve(NamedTuple):
    """The receiver operating characteristic of a group.

    Attributes:
        group: the values of the factors that make it.
        found: the mean share of defects that is found, at each of :data:`RATES`.
    """

    group: Group
    found: Floats


def average_rocs(
    results: SweepResults,
    by: Sequence[str] | None = None,
    over: Sequence[str] | None = None,
    *,
    read: Callable[[Path], LabelledScores] = read_scores,
) -> tuple[list[Curve], int]:
    """Return a curve for each group, and over how many runs each is averaged: those that all groups have.

    Curves are averaged vertically (Fawcett, An Introduction to ROC Analysis, 2006, section 8.1): at each false-positive
    rate the mean share of defects found, over the repeats of a category, and then over the categories. So a run's
    scores are compared with its own alone.

    Args:
        results: of the sweep.
        by, over: as for :func:`adcli.sweeps.summary.summarise`.
        read: returns the scores in the folder of a run.

    Raises:
        RunError: a run's scores cannot be read.
    """
    grouped = group_runs(results, by, over)
    rows = grouped.groups.values()
    units = [
        unit for unit in grouped.units if all(value_of(runs.get(unit), "image.auroc") is not None for runs in rows)
    ]
    curves = []
    for group, runs in grouped.groups.items() if units else ():
        sets: dict[tuple[Factor, ...], list[Floats]] = {}
        for unit in units:
            sets.setdefault(unit.images, []).append(roc_of(read_run(runs[unit], read)))
        curves.append(Curve(group, _mean(sets)))
    return curves, len(units)


def read_run(outcome: Outcome, read: Callable[[Path], LabelledScores] = read_scores) -> LabelledScores:
    """Return the scores of a run that is made; raises :class:`RunError` if they cannot be read."""
    assert outcome.path is not None
    try:
        return read(outcome.path)
    except OSError as error:
        raise RunError(f"{outcome.path}: its scores cannot be read ({error.strerror}); evaluate it again.") from None


def _mean(sets: Mapping[tuple[Factor, ...], Sequence[Floats]]) -> Floats:
    mean: Floats = np.mean([np.mean(repeats, axis=0) for repeats in sets.values()], axis=0)
    return mean


def roc_of(table: LabelledScores) -> Floats:
    """Return the share of defects found at each of :data:`RATES`; of several at one rate the largest."""
    scores = np.array(list(table.scores.values()))
    is_defect = np.array([label == "defect" for _, label in table.scores])
    counts = tabulate(scores, is_defect)
    good, defect = (np.append(0, np.cumsum(part) / part.sum()) for part in (counts.good, counts.defect))
    rates, highest = np.unique(good[::-1], return_index=True)
    found: Floats = np.interp(RATES, rates, defect[::-1][highest])
    return found
