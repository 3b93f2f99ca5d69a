"""The runs of a sweep as a page: which model to take, how sure that is, and what it costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from adcli import __version__
from adcli.report._templates import fill_template
from adcli.sweeps.comparing import UNKNOWN, UNSURE, Comparison, Contrast, say_verdict
from adcli.sweeps.curves import RATES, Curve
from adcli.sweeps.grouping import Group
from adcli.sweeps.naming import (
    format_factor,
    format_value,
    is_lower_better,
    label_factor,
    label_metric,
    name_group,
    say_p,
)
from adcli.sweeps.results import Outcome, SweepResults
from adcli.sweeps.summary import Summary
from adcli.sweeps.tables import Shown, explain, show, tabulate

GENERATOR = "adcli sweep"
"""What a page says near its beginning, so that it may be written over."""

COLOURS = 8
"""Groups that have a colour of their own; further ones have it again, with other strokes and marks."""

PLOT = (440, 330)
"""Width and height of a plot, in its own units: about as many pixels on a phone."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 16, 14, 46
_LETTER, _LINE = 6.7, 14.0
"""Width and height of letters in a plot, roughly."""

_TICKS = 7
"""Numbers on the axis of times, at most, before only powers of ten are shown."""

_LONGEST = 24
"""Letters of a name in a plot, at most."""


@dataclass(frozen=True)
class SweepPage:
    """What a page shows.

    Attributes:
        title: what was compared.
        results: its runs.
        summary: their means.
        metric: what groups are ranked by, one of the summary's.
        comparison: of the groups by this metric; None if there is one group, or they cannot be compared.
        why_not: why they cannot be compared; empty otherwise.
        each: the means by group and category; None if there is one category.
        curves: of the groups.
        averaged: how many runs each curve is averaged over.
        seconds: what a run of each group took, with all that belongs to it.
        command: that makes this page again.
    """

    title: str
    results: SweepResults
    summary: Summary
    metric: str
    comparison: Comparison | None
    why_not: str
    each: Summary | None
    curves: Sequence[Curve]
    averaged: int
    seconds: Mapping[Group, float]
    command: str


class Style(NamedTuple):
    """How a group is told from others: its colour, and the number of its stroke and mark."""

    colour: int
    stroke: int


class Ranked(NamedTuple):
    """A row of the ranking.

    Attributes:
        name: of the group.
        style: of the group.
        shown: its mean, as a text.
        dots: where its categories or repeats lie in the strip, in percent, and what they say.
        middle: where the mean lies; None if there is none.
        reach: where the mean less and plus its deviation lie; None likewise.
        contrast: how it differs from the group it is compared with; None for this one.
        here, elsewhere: where the intervals of the difference lie in their strip.
        at: where the difference lies.
        verdict: what that means, in words.
        tone: ``"best"``, ``"sure"`` or ``"chance"``.
    """

    name: str
    style: Style
    shown: Shown
    dots: Sequence[tuple[float, str]]
    middle: float | None
    reach: tuple[float, float] | None
    contrast: Contrast | None
    here: tuple[float, float] | None
    elsewhere: tuple[float, float] | None
    at: float | None
    verdict: str
    tone: str


class Scale(NamedTuple):
    """The span of values that a strip or an axis shows, and how many percent or units that is."""

    low: float
    high: float
    start: float = 3.0
    end: float = 97.0

    def place(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + (self.end - self.start) * share, 2)


class Mark(NamedTuple):
    """A group in the plot of time and metric: where it stands, and where its name."""

    name: str
    style: Style
    x: float
    y: float
    label: str
    text_x: float
    text_y: float
    anchor: str
    said: str


def render_sweep(page: SweepPage) -> str:
    """Return the page as HTML, self-contained."""
    styles = {line.group: _style(i) for i, line in enumerate(page.summary.lines)}
    spans = _spans(page)
    return fill_template(
        "sweep.html",
        page=page,
        results=page.results,
        version=__version__,
        generator=GENERATOR,
        label=label_metric(page.metric),
        by=" and ".join(map(label_factor, page.summary.by)),
        over=" and ".join(map(label_factor, page.summary.over)),
        better="lower" if is_lower_better(page.metric) else "higher",
        meaning=list(explain(page.summary, [page.metric])),
        answers=list(_answer(page)),
        ranking=[_rank(page, line.group, styles[line.group], *spans) for line in page.summary.rank(page.metric)],
        strip=_ends(page.metric, spans[0]),
        forest=None if page.comparison is None else _forest_ends(spans[1]),
        against=None if page.comparison is None else name_group(page.comparison.against),
        plot=PLOT,
        marks=list(_marks(page, styles)),
        axes=_axes(page),
        rocs=[(name_group(c.group), styles[c.group], _trace(c)) for c in page.curves],
        roc_ticks=[(_roc_x(share), _roc_y(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1)],
        heat=None if page.each is None else _heat(page),
        table=tabulate(page.summary),
        sorting=_sort_keys(page.summary),
        lacking=list(_lacking(page.results)),
        say_p=say_p,
        notes=list(explain(page.summary, page.summary.metrics)),
    )


def _style(number: int) -> Style:
    return Style(number % COLOURS, (number // COLOURS) % 3)


def _spans(page: SweepPage) -> tuple[Scale, Scale]:
    """Return the scale of the strips of values, and that of the differences."""
    means = [line.means[page.metric] for line in page.summary.lines]
    known = [(mean.value, mean.deviation or 0.0) for mean in means if mean.value is not None]
    values = [value + sign * spread for value, spread in known for sign in (-1, 1)]
    values += [value for line in page.summary.lines for value, _ in _spread_of(page, line.group)]
    ends = [0.0]
    for contrast in page.comparison.contrasts if page.comparison else ():
        for judged in (contrast.here, contrast.elsewhere):
            if judged is not None:
                ends += [judged.value]
        # With two categories the interval may be wider than all values: it runs out of the strip.
        ends += list(contrast.here.interval or ())
    reach = max(map(abs, ends)) or 0.01
    if page.comparison is not None:
        wide = [abs(end) for c in page.comparison.contrasts if c.elsewhere for end in c.elsewhere.interval or ()]
        reach = min(max([reach, *wide]), 2 * reach)
    return Scale(min(values, default=0.0), max(values, default=1.0)), Scale(-reach, reach)


def _ends(metric: str, scale: Scale) -> tuple[str, str]:
    return format_value(metric, scale.low), format_value(metric, scale.high)


def _forest_ends(scale: Scale) -> tuple[str, str]:
    return f"{scale.low:+.3g}", f"{scale.high:+.3g}"


def _spread_of(page: SweepPage, group: Group) -> Iterator[tuple[float, str]]:
    """Yield the values whose mean a group has: of each category if there are several, else nothing."""
    for line in page.each.lines if page.each else ():
        value = line.means[page.metric].value
        if line.group[: len(group)] == group and value is not None:
            yield value, _name_images(page, line.group[len(group) :])


def _name_images(page: SweepPage, images: Group) -> str:
    """Return the name of a category, with its data set if there are several."""
    assert page.each is not None
    names = page.each.by[len(page.summary.by) :]
    several = {line.group[len(page.summary.by)] for line in page.each.lines} if "data" in names else set()
    values = dict(zip(names, images, strict=True))
    data, category = values.get("data"), values.get("category")
    if category in (None, ""):
        return format_factor(data)
    return f"{data}: {category}" if len(several) > 1 else str(category)


def _rank(page: SweepPage, group: Group, style: Style, values: Scale, differences: Scale) -> Ranked:
    mean = next(line for line in page.summary.lines if line.group == group).means[page.metric]
    found = page.comparison
    contrast = next((c for c in found.contrasts if c.group == group), None) if found else None
    is_reference = found is not None and found.against == group
    dots = [
        (values.place(value), f"{said}: {format_value(page.metric, value)}") for value, said in _spread_of(page, group)
    ]
    reach = None
    if mean.value is not None and mean.deviation is not None:
        reach = values.place(mean.value - mean.deviation), values.place(mean.value + mean.deviation)
    here = contrast and contrast.here.interval
    elsewhere = contrast and contrast.elsewhere and contrast.elsewhere.interval
    verdict = say_verdict(page.metric, contrast) if contrast else ""
    tone = "sure" if contrast and contrast.is_shown else "chance"
    if is_reference:
        verdict, tone = ("the best" if found and found.is_best else "the others are compared with it"), "best"
    return Ranked(
        name_group(group),
        style,
        show(page.metric, mean, group in page.summary.best(page.metric)),
        dots,
        None if mean.value is None else values.place(mean.value),
        reach,
        contrast,
        _clip(here, differences),
        _clip(elsewhere, differences),
        None if contrast is None else differences.place(contrast.here.value),
        verdict,
        tone,
    )


def _clip(interval: tuple[float, float] | None, scale: Scale) -> tuple[float, float] | None:
    if interval is None:
        return None
    low, high = (min(max(scale.place(end), 0.0), 100.0) for end in interval)
    return low, high


def _answer(page: SweepPage) -> Iterator[str]:
    """Yield, in sentences, which group to take."""
    found, label = page.comparison, label_metric(page.metric)
    if found is None:
        yield f"{page.why_not}" if page.why_not else "There is one group of runs, and nothing to compare it with."
        return
    better = "lowest" if is_lower_better(page.metric) else "highest"
    value = format_value(page.metric, found.value)
    if found.is_best:
        lacking = any(not line.means[page.metric].is_complete for line in page.summary.lines)
        on = ", on the runs that all have" if lacking else ""
        yield f"{name_group(found.against)} has the {better} {label}: {value}{on}."
    else:
        yield f"The others are compared with {name_group(found.against)}, whose {label} is {value}."
    by_verdict: dict[str, list[str]] = {}
    for contrast in found.contrasts:
        by_verdict.setdefault(say_verdict(page.metric, contrast), []).append(name_group(contrast.group))
    for verdict, names in by_verdict.items():
        said = "their differences to it" if len(names) > 1 else "its difference to it"
        unsure = {UNSURE: f"{said} may be chance", UNKNOWN: f"whether {said} is chance cannot be told"}
        yield f"{_join(names)}: {unsure.get(verdict, verdict)}."
    yield from _say_faster(page, found)


def _say_faster(page: SweepPage, found: Comparison) -> Iterator[str]:
    """Yield which of the groups that may be as good takes the least time, if that is not the best itself."""
    if not found.is_best:
        return
    equal = [c.group for c in found.contrasts if not c.is_shown and c.here_adjusted is not None]
    times = {group: page.seconds[group] for group in (found.against, *equal) if group in page.seconds}
    if found.against not in times or len(times) < 2:
        return
    fastest = min(times, key=lambda group: times[group])
    if times[fastest] < 0.8 * times[found.against]:
        yield (
            f"Of these that may be as good, {name_group(fastest)} is the fastest: {_say_seconds(times[fastest])} a run "
            f"instead of {_say_seconds(times[found.against])}."
        )


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _say_seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def time_groups(groups: Mapping[Group, Mapping[Any, Outcome]]) -> dict[Group, float]:
    """Return the mean seconds that a run of each group took, fitting, calibrating and evaluating together."""
    totals = {
        group: [sum(one.seconds.values()) for one in runs.values() if one.seconds] for group, runs in groups.items()
    }
    return {group: fmean(seconds) for group, seconds in totals.items() if seconds and fmean(seconds) > 0}


class Axes(NamedTuple):
    """The axes of the plot of time and metric: places with what stands there."""

    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]


def _timed(page: SweepPage) -> dict[Group, tuple[float, float]]:
    """Return seconds and metric of the groups that have both."""
    means = {line.group: line.means[page.metric].value for line in page.summary.lines}
    return {
        group: (page.seconds[group], value)
        for group, value in means.items()
        if group in page.seconds and value is not None
    }


def _scales(page: SweepPage) -> tuple[Scale, Scale]:
    """Return the scales of the plot: of the logarithm of the time, and of the metric."""
    points = list(_timed(page).values())
    times, values = [math.log10(seconds) for seconds, _ in points], [value for _, value in points]
    room = max(0.15, 0.12 * (max(times) - min(times)))
    lift = max(0.12 * (max(values) - min(values)), 0.004)
    across = Scale(min(times) - room, max(times) + room, _LEFT, PLOT[0] - _RIGHT)
    return across, Scale(min(values) - lift, max(values) + lift, PLOT[1] - _BOTTOM, _TOP)


def _axes(page: SweepPage) -> Axes | None:
    if not _timed(page):
        return None
    across, up = _scales(page)
    times = [step for step in _round_times((1, 2, 5)) if across.low <= math.log10(step) <= across.high]
    if len(times) > _TICKS:
        times = [step for step in _round_times((1,)) if step in times]
    return Axes(
        [(across.place(math.log10(step)), f"{step:g}") for step in times],
        [(up.place(value), f"{value:g}") for value in _round_ticks(up.low, up.high)],
    )


def _round_times(bases: Sequence[int]) -> list[float]:
    return [float(f"{base}e{power}") for power in range(-4, 8) for base in bases]


def _round_ticks(low: float, high: float) -> list[float]:
    """Return four or so round numbers in a span."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * base for base in (1, 2, 5, 10) if power * base >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _marks(page: SweepPage, styles: Mapping[Group, Style]) -> Iterator[Mark]:
    """Yield the groups in the plot of time and metric, each name where it covers the least."""
    points = _timed(page)
    if not points:
        return
    across, up = _scales(page)
    places = {group: (across.place(math.log10(seconds)), up.place(value)) for group, (seconds, value) in points.items()}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    for group, (x, y) in sorted(places.items(), key=lambda item: item[1]):
        name = name_group(group)
        label = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        text_x, text_y, anchor, box = min(
            _positions(x, y, _LETTER * len(label)), key=lambda position: _covered(position[3], taken)
        )
        taken.append(box)
        seconds, value = points[group]
        said = f"{name}: {label_metric(page.metric)} {format_value(page.metric, value)}, {_say_seconds(seconds)} a run"
        yield Mark(name, styles[group], x, y, label, text_x, text_y, anchor, said)


_Box = tuple[float, float, float, float]


def _positions(x: float, y: float, width: float) -> Iterator[tuple[float, float, str, _Box]]:
    """Yield where a name may stand beside its point: the place of its text, how it is anchored, and its box."""
    for down in (0, -12, 12, -22, 22, -34, 34):
        for anchor, start, left in (("start", x + 9, x + 9), ("end", x - 9, x - 9 - width)):
            yield start, y + 4 + down, anchor, (left, y + 4 + down - _LINE + 3, left + width, y + 4 + down + 3)
    for down in (-10, 20):
        yield x, y + down, "middle", (x - width / 2, y + down - _LINE + 3, x + width / 2, y + down + 3)


def _covered(box: _Box, taken: Sequence[_Box]) -> float:
    """Return how much of a box others cover, and how much lies outside of the plot, in squares of its units."""
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    shown = max(min(right, PLOT[0]) - max(left, _LEFT), 0) * max(min(bottom, PLOT[1] - _BOTTOM) - max(top, 0), 0)
    return 3 * (area - shown) + sum(
        max(min(right, other[2]) - max(left, other[0]), 0) * max(min(bottom, other[3]) - max(top, other[1]), 0)
        for other in taken
    )


def _roc_x(share: float) -> float:
    return Scale(0, 1, _LEFT, PLOT[0] - _RIGHT).place(share)


def _roc_y(share: float) -> float:
    return Scale(0, 1, PLOT[1] - _BOTTOM, _TOP).place(share)


def _trace(curve: Curve) -> str:
    """Return the path of a curve, from the corner where nothing is found."""
    points = [(0.0, 0.0), *zip(RATES.tolist(), np.asarray(curve.found).tolist(), strict=True)]
    return "".join(f"{'L' if i else 'M'}{_roc_x(x):g} {_roc_y(y):g}" for i, (x, y) in enumerate(points))


class HeatCell(NamedTuple):
    """A category of a group: its mean, how good that is from 0 to 1, and what it says."""

    shown: Shown
    share: float
    said: str


def _heat(page: SweepPage) -> Mapping[str, Any]:
    """Return the means by category, a row for each, and a column for each group."""
    assert page.each is not None
    width = len(page.summary.by)
    means = {line.group: line.means[page.metric] for line in page.each.lines}
    rows = list(dict.fromkeys(group[width:] for group in means))
    columns = [line.group for line in page.summary.rank(page.metric)]
    values = [mean.value for mean in means.values() if mean.value is not None]
    scale = Scale(min(values, default=0), max(values, default=1), 0, 1)
    reverse = is_lower_better(page.metric)
    table = []
    for row in rows:
        best = page.each.best(page.metric, [line for line in page.each.lines if line.group[width:] == row])
        cells = []
        for column in columns:
            mean = means.get((*column, *row))
            share = 0.0 if mean is None or mean.value is None else scale.place(mean.value)
            shown = Shown("") if mean is None else show(page.metric, mean, (*column, *row) in best)
            said = f"{name_group(column)}, {_name_images(page, row)}: {shown}"
            cells.append(HeatCell(shown, 1 - share if reverse else share, said))
        table.append((_name_images(page, row), cells))
    return {"columns": [name_group(column) for column in columns], "rows": table}


def _sort_keys(summary: Summary) -> list[list[str]]:
    """Return by what the rows of the table of all means are sorted, a key for each cell."""
    return [
        [
            *map(format_factor, line.group),
            *("" if (value := line.means[metric].value) is None else repr(value) for metric in summary.metrics),
        ]
        for line in summary.lines
    ]


def _lacking(results: SweepResults) -> Iterator[tuple[str, str, str]]:
    """Yield the runs that failed or are missing: the name, the state, and the reason."""
    for outcome in results.outcomes:
        if outcome.error:
            yield outcome.cell.name, "not evaluated" if outcome.is_made else "failed", outcome.error
        elif not outcome.is_made:
            yield outcome.cell.name, "missing", "not made yet"
