"""Runs side by side: how much better one is than another, and how much of that may be chance."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli._frames import FLAG, NUMBER, TEXT, to_frame
from adcli._showing import count, introduce, join_blocks, tabulate
from adcli.errors import OptionError, RunError, suggest
from adcli.metrics.chance import OF_THRESHOLD, REDRAWN, Difference, judge_draws, redraw
from adcli.metrics.curves import Flags, Floats
from adcli.pipeline._evaluate import read_origin
from adcli.pipeline._evaluation_pass import EVALUATIONS, OWN, make_name, name_folder
from adcli.pipeline._sweep_page import write_sweep_page
from adcli.runs.find import read_timings
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run
from adcli.runs.scores import LabelledScores, read_scores, say_missing
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import Cell
from adcli.sweeps.comparing import measure
from adcli.sweeps.naming import find_metric, format_value, label_metric
from adcli.sweeps.results import Outcome, SweepResults, flatten_metrics

if TYPE_CHECKING:
    from pandas import DataFrame

AUROC = "image.auroc"


@dataclass(frozen=True)
class Standing:
    """How a run stands on the images that all compared runs have scored.

    Attributes:
        run: the run.
        auroc: its image AUROC.
        difference: its value of the metric less that of the first run; 0 for the first.
        interval: where that difference lies with 95 % confidence; zero within says that it may be chance. None if the
            metric keeps no number per image, so that one pair of runs cannot tell.
        value: of the metric that is compared.
        p_value: how often chance alone makes so large a difference; None likewise.
    """

    run: Run
    auroc: float
    difference: float
    interval: tuple[float, float] | None
    value: float
    p_value: float | None = None

    def __repr__(self) -> str:
        told = f"{self.difference:+.3f}"
        if self.interval is not None:
            low, high = self.interval
            told += f" ({low:+.3f} to {high:+.3f}{'' if self.shown else ', may be chance'})"
        # The first is compared with itself.
        first = self.interval == (self.difference, self.difference)
        return introduce(self, self.run.path, f"{self.value:.3f}", "" if first else told)

    @property
    def shown(self) -> bool:
        """Tell whether the difference is more than chance."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Standings:
    """Runs that were compared, in the order given, and on how many images.

    Attributes:
        standings: one for each run.
        n_good: good images that all runs have scored.
        n_defect: defective ones.
        left_out: labelled images that some of the runs have not scored.
        metric: what they were compared by.
    """

    standings: Sequence[Standing]
    n_good: int
    n_defect: int
    left_out: int
    metric: str = AUROC

    def __repr__(self) -> str:
        label = label_metric(self.metric)
        images = f"{self.n_good} good, {self.n_defect} defective"
        return introduce(self, "", count(len(self.standings), "run"), f"by {label}", images)

    def _repr_html_(self) -> str:
        rows = [
            (
                one.run.path.name,
                one.run.settings.get("model", ""),
                format_value(self.metric, one.value),
                "" if i == 0 else f"{one.difference:+.3f}",
                "" if i == 0 or one.interval is None else "{:+.3f} to {:+.3f}".format(*one.interval),
                "" if i == 0 or one.interval is None or one.shown else "may be chance",
            )
            for i, one in enumerate(self.standings)
        ]
        left_out = f"; {self.left_out} that some run has not scored are left out" if self.left_out else ""
        head = ("run", "model", label_metric(self.metric), "difference", "95% interval", "")
        said = f"{self.n_good} good and {self.n_defect} defective images{left_out}"
        return join_blocks(said, tabulate(head, rows))

    def to_pandas(self) -> "DataFrame":
        """Return a row for each run: its value of the metric, the difference to the first, and how sure that is.

        Raises:
            PluginError: pandas is not installed.
        """
        rows = [
            {
                "run": one.run.path,
                "model": one.run.settings.get("model", ""),
                "auroc": one.auroc,
                "value": one.value,
                "difference": one.difference,
                "lower": one.interval and one.interval[0],
                "upper": one.interval and one.interval[1],
                "p_value": one.p_value,
                "shown": one.shown,
            }
            for one in self.standings
        ]
        return to_frame(_COLUMNS, rows)


_COLUMNS = {
    "run": TEXT,
    "model": TEXT,
    "auroc": NUMBER,
    "value": NUMBER,
    "difference": NUMBER,
    "lower": NUMBER,
    "upper": NUMBER,
    "p_value": NUMBER,
    "shown": FLAG,
}


def compare_runs(runs: Sequence[Run], evaluation: str = "test", metric: str = AUROC) -> Standings:
    """Compare evaluations of the same images, by a paired bootstrap.

    Images are drawn again with replacement, good and defective ones separately, the same ones for all runs; the
    interval holds the middle 95 % of the differences (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    section 13.3). It says what other test images might show, not what other seeds might. Metrics of pixels keep no
    number per image: their differences have no interval.

    Args:
        runs: finished runs, the first of which the others are compared with.
        evaluation: the name of the evaluation in each.
        metric: any in their ``metrics.json``, such as ``image.auroc`` or ``pixel.aupro``.

    Raises:
        RunError: a run has no such evaluation, or they share no good or no defective images.
        OptionError: a run has no such metric.
    """
    tables = [_read_scores(run, evaluation) for run in runs]
    _refuse_mixture(runs, tables)
    shared = sorted(set.intersection(*(set(table.scores) for table in tables)))
    is_defect = np.array([label == "defect" for _, label in shared], bool)
    if not is_defect.any() or is_defect.all():
        names = ", ".join(run.name for run in runs)
        raise RunError(
            f"{names}: their evaluations '{evaluation}' share no good and defective images; compare them on the data "
            f"of {runs[0].name}: {_say_commands(runs, evaluation)}"
        )
    scores = np.array([[table.scores[image] for image in shared] for table in tables])
    aurocs = measure("auroc", scores, is_defect, []).tolist()
    redrawn = [f"image.{key}" for key in REDRAWN]
    if metric in (*REDRAWN, *redrawn):
        metric = find_metric(metric, redrawn)
        key = metric.partition(".")[2]
        values, differences = _redraw(key, scores, is_defect, _name_thresholds(runs, tables, key))
    else:
        metric, values = _read_metric(runs, evaluation, metric, redrawn)
        differences = [Difference(value - values[0]) for value in values]
    standings = [
        Standing(run, auroc, found.value, found.interval, value, found.p_value)
        for run, auroc, value, found in zip(runs, aurocs, values, differences, strict=True)
    ]
    everything = len(set.union(*(set(table.scores) for table in tables)))
    n_good, n_defect = int((~is_defect).sum()), int(is_defect.sum())
    return Standings(standings, n_good, n_defect, everything - len(shared), metric)


def write_comparison(
    runs: Sequence[Run], out: Path, evaluation: str = "test", metric: str = AUROC, *, command: str = ""
) -> None:
    """Write runs that were compared as a page that needs no network.

    Args:
        runs, evaluation, metric: as for :func:`compare_runs`.
        out: the file, ``NAME.html``; an earlier page of its kind is replaced.
        command: the command line, for the page's end.

    Raises:
        RunError, OptionError: as :func:`compare_runs`.
        StorageError: the file is something else, or cannot be written.
    """
    names = _name_apart(runs)
    outcomes = [
        Outcome(
            Cell(name, {"run": name}, TrainSettings.parse({"model": run.settings["model"]})),
            name_folder(run.path, evaluation),
            flatten_metrics(read_metrics(name_folder(run.path, evaluation))),
            read_timings(run.path),
        )
        for name, run in zip(names, runs, strict=True)
    ]
    results = SweepResults(runs[0].path.parent, outcomes)
    title = f"{len(runs)} runs, compared on their evaluations '{evaluation}'"
    write_sweep_page(results, out, ["run"], [], [metric], against=names[0], title=title, command=command)


def _name_apart(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run; those of one name in several folders get numbers."""
    names: list[str] = []
    for run in runs:
        start = f"{run.name} ({run.settings['model']})"
        numbered = (start if number == 1 else f"{start} {number}" for number in itertools.count(1))
        names.append(next(name for name in numbered if name not in names))
    return names


def _redraw(
    key: str, scores: Floats, is_defect: Flags, thresholds: Sequence[float | None]
) -> tuple[list[float], list[Difference]]:
    """Return a metric of images of each run, and how it differs from that of the first."""
    drawn = redraw(key, scores, is_defect, thresholds, np.random.default_rng(0))
    values = measure(key, scores, is_defect, thresholds).tolist()
    return values, [
        judge_draws(value - values[0], each - drawn[:, 0]) for value, each in zip(values, drawn.T, strict=True)
    ]


def _read_metric(runs: Sequence[Run], evaluation: str, name: str, others: Sequence[str]) -> tuple[str, list[float]]:
    """Return the metric that a name stands for, and what ``metrics.json`` says of it for each run.

    Raises:
        OptionError: some run has no such metric; ``others`` are those that need no such file.
    """
    found = [flatten_metrics(read_metrics(name_folder(run.path, evaluation))) for run in runs]
    metric = find_metric(name, list(dict.fromkeys([*others, *itertools.chain(*found)])))
    for run, metrics in zip(runs, found, strict=True):
        if metric not in metrics:
            raise OptionError(f"is '{metric}', which {run.name} lacks.{suggest(metric, metrics)}", option="metric")
    return metric, [metrics[metric] for metrics in found]


def _name_thresholds(runs: Sequence[Run], tables: Sequence[LabelledScores], key: str) -> list[float | None]:
    """Return the thresholds of runs; raises :class:`RunError` if the metric needs one, and a run has not one alone."""
    for run, table in zip(runs, tables, strict=True):
        if key in OF_THRESHOLD and table.threshold is None:
            raise RunError(f"{run.name}: has no threshold that is one for all images; compare by {AUROC}, say.")
    return [table.threshold for table in tables]


def _read_scores(run: Run, evaluation: str) -> LabelledScores:
    try:
        return read_scores(name_folder(run.path, evaluation))
    except OSError:
        raise say_missing(run.path, evaluation) from None


def _refuse_mixture(runs: Sequence[Run], tables: Sequence[LabelledScores]) -> None:
    """Refuse evaluations of parts beside those of images."""
    of_parts = [table.of_parts for table in tables]
    if any(of_parts) and not all(of_parts):
        whole, single = runs[of_parts.index(True)], runs[of_parts.index(False)]
        command = quote("adcli", "calibrate", single.path, "--data", "DIR", "--part", "REGEX")
        raise RunError(
            f"{whole.name} was evaluated on parts, and {single.name} on images; set a threshold of parts, and then "
            f"evaluate it again: {command}"
        )


def _say_commands(runs: Sequence[Run], evaluation: str) -> str:
    """Return the commands that evaluate runs on the data of the first one, and compare them then."""
    origin = read_origin(inside(runs[0].path, f"{EVALUATIONS}/{evaluation}")) or {"data": None, "data_options": {}}
    data, options = origin["data"], origin["data_options"]
    if data is None:
        data, options = runs[0].settings["data"] or "demo", {**runs[0].settings["data_options"], **options}
    start = make_name(Path(str(data)).name)
    free = (name for number in itertools.count(1) if not _is_taken(name := f"{start}-{number}", runs))
    name = start if not _is_taken(start, runs) else next(free)
    given = [word for key, value in options.items() if value is not None for word in ("-d", f"{key}={value}")]
    evaluated = [quote("adcli", "evaluate", run.path, "--data", data, *given, "--name", name) for run in runs]
    return " && ".join([*evaluated, quote("adcli", "compare", *(run.path for run in runs), "--name", name)])


def _is_taken(name: str, runs: Sequence[Run]) -> bool:
    return name == OWN or any(os.path.lexists(run.path / EVALUATIONS / name) for run in runs)
