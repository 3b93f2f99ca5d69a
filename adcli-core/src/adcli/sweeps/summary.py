"""Means and standard deviations over the runs of a sweep, with what they are taken over said beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from adcli._showing import count, introduce, say_number
from adcli.sweeps.cells import Factor
from adcli.sweeps.grouping import Group, Grouped, Unit, group_runs
from adcli.sweeps.naming import (
    default_metrics,
    find_metric,
    format_value,
    is_lower_better,
    label_metric,
    list_metrics,
    list_names,
    name_group,
)
from adcli.sweeps.results import Outcome, SweepResults, note_changes


@dataclass(frozen=True)
class Mean:
    """A metric of a group of runs.

    Attributes:
        value: the mean over categories and repeats; None if no run has the metric.
        deviation: the sample standard deviation of ``n`` numbers; None if there is one number only.
        n: how many numbers that is: repeats, each a mean over the categories, or categories if there is one repeat.
        of: what these are, ``"seeds"`` or ``"categories"``, say.
        runs: how many runs the mean is taken over.
        expected: how many there would be, if all were made and had the metric.
    """

    value: float | None
    deviation: float | None
    n: int
    of: str
    runs: int
    expected: int

    def __repr__(self) -> str:
        facts = say_number("±", self.deviation), f"{self.runs} of {count(self.expected, 'run')}"
        return introduce(self, "none" if self.value is None else f"{self.value:.4g}", *facts)

    @property
    def is_complete(self) -> bool:
        """Tell whether the mean is over the same categories and repeats as those of the other groups."""
        return self.runs == self.expected


@dataclass(frozen=True)
class Line:
    """The means of a group.

    Attributes:
        group: the values of the factors that make it.
        means: by metric.
    """

    group: Group
    means: Mapping[str, Mean]

    def __repr__(self) -> str:
        return introduce(self, name_group(self.group), count(len(self.means), "metric"))


@dataclass(frozen=True)
class Summary:
    """Groups of runs and their means.

    Attributes:
        by: the factors that make the groups.
        over: the factors that are averaged over.
        metrics: what is shown of each group.
        lines: the groups, in the order of the grid.
        notes: what has to be known to read the means, in sentences.
    """

    by: Sequence[str]
    over: Sequence[str]
    metrics: Sequence[str]
    lines: Sequence[Line]
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        over = f"over {', '.join(self.over)}" if self.over else ""
        return introduce(self, f"by {', '.join(self.by)}", count(len(self.lines), "group"), over)

    def best(self, metric: str, lines: Sequence[Line] | None = None) -> list[Group]:
        """Return the groups that are best by a metric, as tables print it: several if they tie.

        Groups that lack runs are none of them, as their mean is over something else; nor is the only one.

        Args:
            metric: the metric.
            lines: the groups among which is searched; all when None.
        """
        lines = self.lines if lines is None else lines
        values = {
            line.group: float(format_value(metric, mean.value))
            for line in lines
            if (mean := line.means[metric]).is_complete and mean.value is not None
        }
        if len(lines) < 2 or not values:
            return []
        highest = min(values.values()) if is_lower_better(metric) else max(values.values())
        return [group for group, value in values.items() if value == highest]

    def rank(self, metric: str) -> list[Line]:
        """Return the groups by a metric, the best first, and at the end those that lack runs, and those without it."""
        sign = 1 if is_lower_better(metric) else -1

        def place(line: Line) -> tuple[bool, bool, float]:
            mean = line.means[metric]
            return mean.value is None, not mean.is_complete, sign * (mean.value or 0)

        return sorted(self.lines, key=place)


def summarise(
    results: SweepResults,
    by: Sequence[str] | None = None,
    over: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    shared: bool = False,
) -> Summary:
    """Summarise each group of runs by the mean and the sample standard deviation (its divisor is n - 1).

    With several repeats (seeds, say), each repeat gives one number, the mean over its categories. The mean is that of
    these numbers, and the standard deviation is theirs: how much the result of a whole benchmark varies from seed to
    seed. With one repeat, the standard deviation is that of the categories: how much they differ. Either way
    :attr:`Mean.n` and :attr:`Mean.of` say which it is.

    A run that failed, is missing or lacks the metric counts in no mean; then ``runs`` is less than ``expected``, which
    is what any other group has. Categories in which no run that was made has the metric, as they have no masks, say,
    are expected of nobody, and a note says how many these are.

    Args:
        results: of the sweep.
        by: factors that make the groups; the model, and what else varies in the runs of one, when None.
        over: factors that are averaged over; ``category`` and ``seed`` when None.
        metrics: names as in the long table; those of the table of several categories when None.
        shared: take only the categories in which every group has every repeat.

    Raises:
        OptionError: a factor or metric is unknown, or a factor varies within a group and is in neither.
        RunError: the sweep has no runs.
    """
    grouped = group_runs(results, by, over)
    known = list_metrics(results)
    chosen = (
        default_metrics(results)
        if metrics is None
        else [find_metric(name, known) for name in list_names(metrics, "metric")]
    )
    chosen = list(dict.fromkeys(chosen))
    expected = {metric: expect(grouped, metric) for metric in chosen}
    if shared:
        expected = {metric: keep_shared(grouped, metric, units) for metric, units in expected.items()}
    lines = [
        Line(group, {metric: _average(grouped, runs, metric, expected[metric]) for metric in chosen})
        for group, runs in grouped.groups.items()
    ]
    return Summary(grouped.by, grouped.over, chosen, lines, list(_note(results, grouped, expected, shared)))


def value_of(outcome: Outcome | None, metric: str) -> float | None:
    """Return a metric of a run, times included; None if it has none."""
    if outcome is None:
        return None
    level, _, part = metric.partition(".")
    return outcome.seconds.get(part) if level == "seconds" else outcome.metrics.get(metric)


def expect(grouped: Grouped, metric: str) -> list[Unit]:
    """Return the units in which a group may have a metric: all but those whose runs were all made without it."""
    return [
        unit
        for unit in grouped.units
        if any(
            not outcome.is_made or value_of(outcome, metric) is not None
            for runs in grouped.groups.values()
            if (outcome := runs.get(unit)) is not None
        )
    ]


def keep_shared(grouped: Grouped, metric: str, units: Sequence[Unit]) -> list[Unit]:
    """Return the units of the images of which every group has a metric in every repeat."""
    lacking = {
        unit.images
        for unit in units
        if any(value_of(runs.get(unit), metric) is None for runs in grouped.groups.values())
    }
    return [unit for unit in units if unit.images not in lacking]


def _average(grouped: Grouped, runs: Mapping[Unit, Outcome], metric: str, expected: Sequence[Unit]) -> Mean:
    repeats: dict[tuple[Factor, ...], list[float]] = {}
    for unit in expected:
        value = value_of(runs.get(unit), metric)
        if value is not None:
            repeats.setdefault(unit.repeat, []).append(value)
    means = [fmean(values) for values in repeats.values()]
    one = len(means) == 1
    numbers, of = (next(iter(repeats.values())), grouped.name_images()) if one else (means, grouped.name_repeats())
    deviation = stdev(numbers) if len(numbers) > 1 else None
    count = sum(map(len, repeats.values()))
    return Mean(fmean(means) if means else None, deviation, len(numbers), of, count, len(expected))


def _note(
    results: SweepResults, grouped: Grouped, expected: Mapping[str, Sequence[Unit]], shared: bool
) -> Iterator[str]:
    """Yield what has to be known to read the means."""
    total, failed, missing = len(results.outcomes), len(results.failed), len(results.missing)
    if failed or missing:
        parts = [f"{count} {word}" for count, word in ((failed, "failed"), (missing, "not made yet")) if count]
        yield f"{len(results.made)} of {total} runs are made, {', '.join(parts)}."
    yield from note_changes(results)
    images = grouped.name_images()
    everything = {unit.images for unit in grouped.units}
    left_out: dict[int, list[str]] = {}
    for metric, units in expected.items():
        count = len(everything) - len({unit.images for unit in units})
        if count:
            left_out.setdefault(count, []).append(label_metric(metric))
    for count, labels in left_out.items():
        why = "are not shared by all groups, or have none" if shared else "have none, and count in no group"
        yield f"{', '.join(labels)}: {count} of {len(everything)} {images} {why}."
    if not shared and any(
        value_of(runs.get(unit), metric) is None
        for metric, units in expected.items()
        for unit in units
        for runs in grouped.groups.values()
    ):
        yield (
            "A mean marked such as 14/15 lacks runs that others have: it is over other runs than theirs, and is never "
            "the best."
        )
