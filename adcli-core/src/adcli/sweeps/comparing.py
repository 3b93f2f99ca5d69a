"""Which groups of a sweep's runs differ by more than chance, paired over images, seeds and categories."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, variance
from typing import NamedTuple

import numpy as np

from adcli._commands import quote
from adcli._showing import count, introduce
from adcli.errors import OptionError, RunError, printable, suggest
from adcli.metrics.chance import (
    OF_THRESHOLD,
    REDRAWN,
    RESAMPLES,
    Difference,
    Variance,
    adjust_for_many,
    judge_draws,
    judge_variances,
    redraw,
)
from adcli.metrics.curves import Floats
from adcli.runs.scores import LabelledScores, read_scores
from adcli.sweeps.cells import Factor
from adcli.sweeps.curves import read_run
from adcli.sweeps.grouping import OF_IMAGES, Group, Grouped, Unit, group_runs
from adcli.sweeps.naming import find_metric, is_lower_better, label_metric, list_metrics, name_group
from adcli.sweeps.results import Outcome, SweepResults, note_changes
from adcli.sweeps.summary import expect, value_of

SURE = 0.05
"""Corrected p-values below it are called more than chance."""

Images = tuple[Factor, ...]


class Contrast(NamedTuple):
    """How a group differs from the one that all are compared with.

    Attributes:
        group: the values of the factors that make it.
        value: its mean over the runs that all groups have.
        here: the difference on these categories: what other test images, and other seeds if there are several, would
            change.
        elsewhere: the same difference, and what other categories would change as well; None of one category.
        here_adjusted, elsewhere_adjusted: their p-values, corrected for how many are compared.
    """

    group: Group
    value: float
    here: Difference
    elsewhere: Difference | None
    here_adjusted: float | None
    elsewhere_adjusted: float | None

    def __repr__(self) -> str:
        chance = "" if self.is_shown else "may be chance"
        return introduce(self, name_group(self.group), f"{self.value:.4g}", f"{self.here.value:+.4g}", chance)

    @property
    def is_shown(self) -> bool:
        """Tell whether the difference is more than chance, at least on these categories."""
        return self.is_shown_here or self.is_shown_elsewhere

    @property
    def is_shown_here(self) -> bool:
        """Tell whether the difference is more than chance on these categories."""
        return self.here_adjusted is not None and self.here_adjusted < SURE

    @property
    def is_shown_elsewhere(self) -> bool:
        """Tell whether the difference is more than chance on categories of this kind."""
        return self.elsewhere_adjusted is not None and self.elsewhere_adjusted < SURE


UNSURE, UNKNOWN = "may be chance", "chance cannot be told"


def say_verdict(metric: str, contrast: Contrast) -> str:
    """Return in words whether a group's difference is more than chance."""
    word = "behind" if (contrast.here.value > 0) == is_lower_better(metric) else "ahead"
    if contrast.is_shown_elsewhere:
        return f"{word} by more than chance, on other categories too"
    if contrast.is_shown_here:
        return f"{word} by more than chance{'' if contrast.elsewhere is None else ', on these categories'}"
    return UNKNOWN if contrast.here_adjusted is None and contrast.elsewhere_adjusted is None else UNSURE


@dataclass(frozen=True)
class Comparison:
    """Groups of runs that were compared.

    Attributes:
        by: the factors that make the groups.
        metric: what they were compared by.
        against: the group that the others are compared with.
        value: its mean over the runs that all groups have.
        is_best: whether it was chosen as the best, and not named.
        contrasts: the other groups, the best first.
        sets: how many categories were compared.
        pairs: how many runs of each group.
        images: how many test images, of all categories; 0 if the metric keeps no number per image.
        comparisons: how many p-values were corrected for each other.
        notes: what has to be known to read it, in sentences.
    """

    by: Sequence[str]
    metric: str
    against: Group
    value: float
    is_best: bool
    contrasts: Sequence[Contrast]
    sets: int
    pairs: int
    images: int
    comparisons: int
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        others = count(len(self.contrasts), "other group")
        return introduce(self, name_group(self.against), f"{self.metric} {self.value:.4g}", f"against {others}")


@dataclass(frozen=True)
class _Evidence:
    """What is known of groups (G) on the units that all have.

    Attributes:
        values: of each set of images, the metric of the groups in each repeat, (G, S).
        drawn: the groups' means over everything on redrawn images, (B, G); None if the metric has no number per image.
        images: how many were redrawn.
        left_out: how many labelled images some run had not scored.
    """

    values: Mapping[Images, Floats]
    drawn: Floats | None
    images: int = 0
    left_out: int = 0

    @property
    def means(self) -> Floats:
        """The mean over repeats, and then over sets of images, of each group, (G,)."""
        mean: Floats = np.mean([values.mean(axis=1) for values in self.values.values()], axis=0)
        return mean


def compare_groups(
    results: SweepResults,
    by: Sequence[str] | None = None,
    over: Sequence[str] | None = None,
    metric: str = "image.auroc",
    *,
    against: str | None = None,
    read: Callable[[Path], LabelledScores] = read_scores,
) -> Comparison:
    """Compare groups of runs, paired over images, repeats (seeds) and categories.

    Two questions are answered, as they have different answers. *On these categories*: what would other test images,
    and other seeds, change? Images are redrawn within each category, the same ones for all groups and seeds; what
    seeds add is measured by how the paired differences vary between them (Bouthillier et al., Accounting for Variance
    in Machine Learning Benchmarks, MLSys 2021). *On other categories of the kind*: the mean differences of the
    categories are taken as a sample (paired t-test; redrawing whole categories has this variance, and nothing within
    them needs to be redrawn, Davison and Hinkley 1997, section 3.8).

    P-values are corrected by Holm's method: for all other groups if ``against`` is named, and for all pairs of groups
    if it is chosen as the best, as whichever is the best was chosen by looking.

    Args:
        results: of the sweep.
        by, over: as for :func:`adcli.sweeps.summary.summarise`.
        metric: any metric of the runs.
        against: the name of the group that the others are compared with; the best when None.
        read: returns the scores in the folder of a run.

    Raises:
        OptionError: a factor, metric or group is unknown, or a factor varies that nobody named.
        RunError: there are no two groups, or they share no run or have other images; or a run's scores cannot be read.
    """
    grouped = group_runs(results, by, over)
    metric = find_metric(metric, list_metrics(results) or ["image.auroc"])
    groups = list(grouped.groups)
    if len(groups) < 2:
        raise RunError(f"{results.folder}: has one group by {', '.join(grouped.by)}; nothing to compare it with.")
    chosen = None if against is None else find_group(against, groups)
    _refuse_other_images(results, grouped)
    units = _pair(results, grouped, metric)
    pairs = len(groups) * (len(groups) - 1) // 2
    evidence = _gather(grouped, units, metric, max(RESAMPLES, 100 * pairs), read)
    means = evidence.means
    best = int(np.argmin(means) if is_lower_better(metric) else np.argmax(means))
    reference = best if chosen is None else groups.index(chosen)
    tested = list(itertools.combinations(range(len(groups)), 2)) if chosen is None else []
    tested = tested or [(i, reference) for i in range(len(groups)) if i != reference]
    judged = _judge_all(evidence, tested)
    rank = np.argsort(means if is_lower_better(metric) else -means, kind="stable")
    contrasts = [_contrast(groups[i], float(means[i]), judged, i, reference) for i in rank if i != reference]
    return Comparison(
        grouped.by,
        metric,
        groups[reference],
        float(means[reference]),
        chosen is None,
        contrasts,
        len(evidence.values),
        len(units),
        evidence.images,
        len(tested),
        [*_note(grouped, metric, units, evidence), *note_changes(results)],
    )


def find_group(name: str, groups: Sequence[Group]) -> Group:
    """Return the group that has a name; raises :class:`OptionError` with the nearest."""
    named = {name_group(group): group for group in groups}
    if name not in named:
        raise OptionError(
            f"names '{printable(name)[:60]}', and no group is called so.{suggest(name, named)}", option="against"
        )
    return named[name]


def _refuse_other_images(results: SweepResults, grouped: Grouped) -> None:
    """Refuse groups of different images: nothing in them belongs side by side, whatever the files are called."""
    for name in OF_IMAGES:
        if name in grouped.by and len({group[grouped.by.index(name)] for group in grouped.groups}) > 1:
            rest = ",".join(other for other in grouped.by if other not in OF_IMAGES) or "model"
            show = quote("adcli", "sweep", "show", results.folder)
            raise RunError(
                f"{results.folder}: groups by {name} are of different images, and cannot be compared; compare by "
                f"{rest}, or see all means with: {show}"
            )


def _pair(results: SweepResults, grouped: Grouped, metric: str) -> list[Unit]:
    """Return the units in which every group has a metric."""
    shared = [
        unit
        for unit in grouped.units
        if all(value_of(runs.get(unit), metric) is not None for runs in grouped.groups.values())
    ]
    if shared:
        return shared
    without = [
        name_group(group)
        for group, runs in grouped.groups.items()
        if all(value_of(outcome, metric) is None for outcome in runs.values())
    ]
    why = f"{', '.join(without)}: no run has it" if without else "no category and seed has runs of all groups"
    raise RunError(f"{results.folder}: its groups cannot be compared by {metric}: {printable(why)[:200]}.")


def _gather(
    grouped: Grouped,
    units: Sequence[Unit],
    metric: str,
    resamples: int,
    read: Callable[[Path], LabelledScores],
) -> _Evidence:
    """Read what is known of the groups; of metrics of images, score by score."""
    level, _, key = metric.partition(".")
    rows = list(grouped.groups.values())
    if level != "image" or key not in REDRAWN:
        return _Evidence(
            {
                images: np.array([[value_of(runs[unit], metric) for unit in same] for runs in rows], np.float64)
                for images, same in _by_images(units).items()
            },
            None,
        )
    random = np.random.default_rng(0)
    values, drawn, images, left_out = {}, np.zeros((resamples, len(rows))), 0, 0
    for name, same in _by_images(units).items():
        seen = _Redrawn(key, resamples, random)
        for tables in ([(runs[unit], read_run(runs[unit], read)) for runs in rows] for unit in same):
            seen.add(tables)
        values[name], redrawn = seen.finish()
        drawn += redrawn
        images, left_out = images + seen.images, left_out + seen.left_out
    return _Evidence(values, drawn / len(values), images, left_out)


def _by_images(units: Sequence[Unit]) -> dict[Images, list[Unit]]:
    found: dict[Images, list[Unit]] = {}
    for unit in units:
        found.setdefault(unit.images, []).append(unit)
    return found


class _Redrawn:
    """A metric of the groups on the images of one category, in each repeat, and on redrawn images."""

    def __init__(self, key: str, resamples: int, random: np.random.Generator) -> None:
        self.key, self.resamples, self.random = key, resamples, random
        self.repeats: dict[tuple[tuple[str, str], ...], list[tuple[int, Floats, list[float | None]]]] = {}
        self.count = 0
        self.left_out = 0

    @property
    def images(self) -> int:
        """How many there are; those that several repeats were tested on count once."""
        return sum(map(len, self.repeats))

    def add(self, tables: Sequence[tuple[Outcome, LabelledScores]]) -> None:
        """Take the scores of the groups in one repeat."""
        scores = [table.scores for _, table in tables]
        shared = tuple(sorted(set.intersection(*map(set, scores))))
        labels = {label for _, label in shared}
        if len(labels) < 2:
            names = ", ".join(outcome.cell.name for outcome, _ in tables)
            raise RunError(f"{names}: share no good and defective test images; they cannot be compared on images.")
        if self.key in OF_THRESHOLD and any(table.threshold is None for _, table in tables):
            lacking = next(outcome.path for outcome, table in tables if table.threshold is None)
            raise RunError(f"{lacking}: has no threshold that is one for all images; compare by image.auroc, say.")
        self.left_out += len(set.union(*map(set, scores))) - len(shared)
        rows = np.array([[table[image] for image in shared] for table in scores])
        same = self.repeats.setdefault(shared, [])
        same.append((self.count, rows, [table.threshold for _, table in tables]))
        self.count += 1

    def finish(self) -> tuple[Floats, Floats]:
        """Return the metric in each repeat, (G, S), and its mean over the repeats on redrawn images, (B, G)."""
        groups = len(next(iter(self.repeats.values()))[0][1])
        values, drawn = np.empty((groups, self.count)), np.zeros((self.resamples, groups))
        for shared, same in self.repeats.items():
            is_defect = np.array([label == "defect" for _, label in shared])
            scores = np.concatenate([rows for _, rows, _ in same])
            thresholds = [threshold for *_, given in same for threshold in given]
            # The same images are redrawn for every repeat that was tested on them.
            redrawn = redraw(self.key, scores, is_defect, thresholds, self.random, self.resamples)
            once = measure(self.key, scores, is_defect, thresholds)
            for position, (number, *_) in enumerate(same):
                part = slice(position * groups, (position + 1) * groups)
                values[:, number] = once[part]
                drawn += redrawn[:, part]
        return values, drawn / self.count


def measure(key: str, scores: Floats, is_defect: np.ndarray, thresholds: Sequence[float | None]) -> Floats:
    """Return a metric of images of several runs, (R,), from their scores (R, N), as ``metrics.json`` has it."""
    from adcli.metrics import image_metrics, rates

    if key not in OF_THRESHOLD:
        return np.array([image_metrics(row, is_defect)[key] for row in scores])
    return np.array(
        [
            rates(row, is_defect, threshold)[key]
            for row, threshold in zip(scores, thresholds, strict=True)
            if threshold is not None
        ]
    )


@dataclass(frozen=True)
class _Judged:
    """The differences of pairs of groups, and their corrected p-values."""

    here: Mapping[tuple[int, int], Difference]
    elsewhere: Mapping[tuple[int, int], Difference]
    here_adjusted: Mapping[tuple[int, int], float] = field(default_factory=dict)
    elsewhere_adjusted: Mapping[tuple[int, int], float] = field(default_factory=dict)


def _judge_all(evidence: _Evidence, pairs: Sequence[tuple[int, int]]) -> _Judged:
    here, elsewhere = {}, {}
    for one, other in pairs:
        here[one, other], least = judge_here(evidence, one, other)
        across = judge_elsewhere(evidence, one, other, least)
        if across is not None:
            elsewhere[one, other] = across
    return _Judged(here, elsewhere, _adjust(here), _adjust(elsewhere))


def _adjust(judged: Mapping[tuple[int, int], Difference]) -> dict[tuple[int, int], float]:
    known = {pair: one.p_value for pair, one in judged.items() if one.p_value is not None}
    return dict(zip(known, adjust_for_many(list(known.values())), strict=True))


def judge_here(evidence: _Evidence, one: int, other: int) -> tuple[Difference, float]:
    """Judge the difference of two groups on these categories; return it, and its variance."""
    differences = [values[one] - values[other] for values in evidence.values.values()]
    value = fmean(float(each.mean()) for each in differences)
    seeds = [
        Variance(float(each.var(ddof=1)) / len(each) / len(differences) ** 2, len(each) - 1)
        for each in differences
        if len(each) > 1
    ]
    seeds = [part for part in seeds if part.value > 0]
    if evidence.drawn is None:
        every = all(len(each) > 1 for each in differences)
        return (judge_variances(value, seeds) if every else Difference(value)), sum(part.value for part in seeds)
    drawn = evidence.drawn[:, one] - evidence.drawn[:, other]
    images = Variance(float(drawn.var(ddof=1)))
    judged = judge_variances(value, [images, *seeds]) if seeds else judge_draws(value, drawn)
    return judged, images.value + sum(part.value for part in seeds)


def judge_elsewhere(evidence: _Evidence, one: int, other: int, least: float) -> Difference | None:
    """Judge the difference of two groups as one of categories of this kind; None if there is one category.

    Args:
        evidence: on all groups.
        one, other: the groups' numbers.
        least: the variance on these categories, than which this one cannot be less.
    """
    differences = [float((values[one] - values[other]).mean()) for values in evidence.values.values()]
    if len(differences) < 2:
        return None
    spread = max(variance(differences) / len(differences), least)
    return judge_variances(fmean(differences), [Variance(spread, len(differences) - 1)])


def _contrast(group: Group, value: float, judged: _Judged, one: int, reference: int) -> Contrast:
    straight = (one, reference) in judged.here
    pair = (one, reference) if straight else (reference, one)
    here, elsewhere = judged.here[pair], judged.elsewhere.get(pair)
    if not straight:
        here, elsewhere = turn(here), elsewhere and turn(elsewhere)
    return Contrast(group, value, here, elsewhere, judged.here_adjusted.get(pair), judged.elsewhere_adjusted.get(pair))


def turn(difference: Difference) -> Difference:
    """Return a difference the other way round."""
    # Zero has no sign.
    interval = difference.interval and (0.0 - difference.interval[1], 0.0 - difference.interval[0])
    return Difference(0.0 - difference.value, interval, difference.p_value)


def _note(grouped: Grouped, metric: str, units: Sequence[Unit], evidence: _Evidence) -> list[str]:
    """Return what has to be known to read a comparison."""
    notes, images, repeats = [], grouped.name_images(), grouped.name_repeats()
    total = len(expect(grouped, metric))
    if len(units) < total:
        notes.append(f"Compared on {len(units)} of {total} runs of each group, those that all groups have.")
    if evidence.left_out:
        notes.append(f"{evidence.left_out} images that some run has not scored are left out.")
    several = [len(values[0]) > 1 for values in evidence.values.values()]
    if not all(several):
        which = f"Some {images} have" if any(several) else "There is" if len(several) == 1 else f"The {images} have"
        notes.append(
            f"{which} one run of each group: of other {repeats}, nothing is said{' there' if any(several) else ''}."
        )
    if evidence.drawn is None:
        said = f"{label_metric(metric)} keeps no number per image"
        if all(several):
            notes.append(f"{said}: on these {images}, intervals say what other {repeats} would give, on these images.")
        elif len(evidence.values) == 1:
            notes.append(f"{said}: from one pair of runs, nobody can tell chance; make several {repeats} or {images}.")
        else:
            notes.append(f"{said}: without several {repeats}, chance can be told between {images} alone.")
    return notes
