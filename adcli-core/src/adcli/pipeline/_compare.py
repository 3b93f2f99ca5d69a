"""Runs side by side: how much better one ranks the same images than another, and how much of that may be chance."""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli._frames import FLAG, NUMBER, TEXT, to_frame
from adcli._showing import count, introduce, join_blocks, tabulate
from adcli.data.part_rule import Scored, join_scored
from adcli.errors import RunError, one_line
from adcli.metrics import image_metrics
from adcli.metrics.curves import Flags, Floats
from adcli.pipeline._evaluate import read_origin
from adcli.pipeline._evaluation_pass import EVALUATIONS, OWN, SCORES_FILE, make_name, name_folder
from adcli.runs.run import Run
from adcli.scoring.verdict import read_table

if TYPE_CHECKING:
    from pandas import DataFrame

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Standing:
    """How a run stands on the images that all compared runs have scored.

    Attributes:
        run: the run.
        auroc: its image AUROC.
        difference: its AUROC less that of the first run; 0 for the first.
        interval: where that difference lies with 95 % confidence; zero within says that it may be chance.
    """

    run: Run
    auroc: float
    difference: float
    interval: tuple[float, float]

    def __repr__(self) -> str:
        low, high = self.interval
        difference = f"{self.difference:+.3f} ({low:+.3f} to {high:+.3f}{'' if self.shown else ', may be chance'})"
        # The first is compared with itself.
        told = "" if low == self.difference == high else difference
        return introduce(self, self.run.path, f"AUROC {self.auroc:.3f}", told)

    @property
    def shown(self) -> bool:
        """Tell whether the difference is more than chance."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Standings:
    """Runs that were compared, in the order given, and on how many images.

    Attributes:
        standings: one for each run.
        n_good: good images that all runs have scored.
        n_defect: defective ones.
        left_out: labelled images that some of the runs have not scored.
    """

    standings: Sequence[Standing]
    n_good: int
    n_defect: int
    left_out: int

    def __repr__(self) -> str:
        best = max(self.standings, key=lambda one: one.auroc, default=None)
        found = "" if best is None else f"best {best.run.path.name[-40:]} with AUROC {best.auroc:.3f}"
        images = f"{self.n_good} good, {self.n_defect} defective"
        return introduce(self, "", count(len(self.standings), "run"), images, found)

    def _repr_html_(self) -> str:
        rows = [
            (
                one.run.path.name,
                one.run.settings.get("model", ""),
                f"{one.auroc:.3f}",
                "" if i == 0 else f"{one.difference:+.3f}",
                "" if i == 0 else "{:+.3f} to {:+.3f}".format(*one.interval),
                "" if i == 0 or one.shown else "may be chance",
            )
            for i, one in enumerate(self.standings)
        ]
        left_out = f"; {self.left_out} that some run has not scored are left out" if self.left_out else ""
        head = ("run", "model", "AUROC", "difference", "95% interval", "")
        said = f"{self.n_good} good and {self.n_defect} defective images{left_out}"
        return join_blocks(said, tabulate(head, rows))

    def to_pandas(self) -> "DataFrame":
        """Return a row for each run: its AUROC, the difference to the first, and the ends of the interval.

        Raises:
            PluginError: pandas is not installed.
        """
        rows = [
            {
                "run": one.run.path,
                "model": one.run.settings.get("model", ""),
                "auroc": one.auroc,
                "difference": one.difference,
                "lower": one.interval[0],
                "upper": one.interval[1],
                "shown": one.shown,
            }
            for one in self.standings
        ]
        return to_frame(_COLUMNS, rows)


_COLUMNS = {
    "run": TEXT,
    "model": TEXT,
    "auroc": NUMBER,
    "difference": NUMBER,
    "lower": NUMBER,
    "upper": NUMBER,
    "shown": FLAG,
}


def compare_runs(runs: Sequence[Run], evaluation: str = "test") -> Standings:
    """Compare the image AUROCs of evaluations of the same images, by a paired bootstrap.

    Images are drawn again with replacement, good and defective ones separately, the same ones for all runs; the
    interval holds the middle 95 % of the differences (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    section 13.3). It says what other test images might show, not what other seeds might.

    Args:
        runs: finished runs, the first of which the others are compared with.
        evaluation: the name of the evaluation in each.

    Raises:
        RunError: a run has no such evaluation, or they share no good or no defective images.
    """
    tables = [_labelled_scores(inside(name_folder(run.path, evaluation), SCORES_FILE)) for run in runs]
    _refuse_mixture(runs, tables)
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    is_defect = np.array([label == "defect" for _, label in shared], bool)
    if not is_defect.any() or is_defect.all():
        names = ", ".join(run.name for run in runs)
        raise RunError(
            f"{names}: their evaluations '{evaluation}' share no good and defective images; compare them on the data "
            f"of {runs[0].name}: {_say_commands(runs, evaluation)}"
        )
    scores = np.array([[table[image] for image in shared] for table in tables])
    found = _resampled(scores, is_defect)
    everything = len(set.union(*(set(table) for table in tables)))
    aurocs = [image_metrics(row, is_defect)["auroc"] for row in scores]
    standings = [
        Standing(run, auroc, auroc - aurocs[0], _middle(column - found[:, 0]))
        for run, auroc, column in zip(runs, aurocs, found.T, strict=True)
    ]
    return Standings(standings, int((~is_defect).sum()), int(is_defect.sum()), everything - len(shared))


_PART = "part "
"""What the name of a part begins with, beside those of images."""


def _refuse_mixture(runs: Sequence[Run], tables: Sequence[Mapping[tuple[str, str], float]]) -> None:
    """Refuse evaluations of parts beside those of images."""
    of_parts = [any(name.startswith(_PART) for name, _ in table) for table in tables]
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


def _labelled_scores(path: Path) -> Mapping[tuple[str, str], float]:
    """Return the scores in a table by image, or by part, and label."""
    scores: list[tuple[str, Scored]] = []
    try:
        for record, row in read_table(path):
            if row["label"] not in ("good", "defect", ""):
                raise ValueError(f"label is '{row['label'][:60]}', not 'good', 'defect' or empty")
            if row["label"] and record.score is not None:
                name = f"{_PART}{record.part}" if record.part else record.image
                scores.append((name, Scored(record.score, row["label"] == "defect")))
    except OSError:
        run, name = path.parents[2], path.parent.name
        raise RunError(
            f"{path.parent}: no such evaluation; make it with: {quote('adcli', 'evaluate', run, '--name', name)}"
        ) from None
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: is no table of scores ({one_line(str(error))}); evaluate the run again.") from None
    names = dict.fromkeys(name for name, _ in scores)
    joined = zip(names, join_scored(scores), strict=True)
    return {(name, "defect" if one.is_defect else "good"): one.score for name, one in joined}


def _resampled(scores: Floats, is_defect: Flags) -> Floats:
    """Return the AUROCs of scores (R, N) of R runs on redrawn images, (resamples, R)."""
    random = np.random.default_rng(0)
    good, defect = np.flatnonzero(~is_defect), np.flatnonzero(is_defect)
    found = np.empty((RESAMPLES, len(scores)))
    for i in range(RESAMPLES):
        drawn_good, drawn = random.choice(good, len(good)), random.choice(defect, len(defect))
        for j, row in enumerate(scores):
            below = np.sort(row[drawn_good])
            lower, upper = (np.searchsorted(below, row[drawn], side) for side in ("left", "right"))
            found[i, j] = (lower + upper).mean() / (2 * len(good))
    return found


def _middle(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
