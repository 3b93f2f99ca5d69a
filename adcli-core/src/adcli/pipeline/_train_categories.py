"""Training on several categories of a data set: one run each, and the mean of their metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from adcli._frames import NUMBER, TEXT, to_frame
from adcli._showing import introduce, join_blocks, tabulate
from adcli.data.references import Categories, several_categories
from adcli.errors import AdcliError, BackboneError, OptionError, StorageError
from adcli.metrics.table import METRICS, list_columns
from adcli.metrics.words import say_auroc
from adcli.nn import distributed
from adcli.pipeline._train import train
from adcli.progress import Progress, Silent
from adcli.runs.partial import check_free
from adcli.runs.run import Run
from adcli.runs.settings import TrainSettings, check_places, parse_calibration
from adcli.sweeps.data import find_data

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class CategoryResult:
    """What became of one category.

    Attributes:
        category: its name.
        seconds: how long all of it took.
        run: the finished run; None if there is none.
        metrics: what the run's ``metrics.json`` holds; None if there are no test images, or something failed.
        error: why there is no run, or why a run has no evaluation though there are test images.
    """

    category: str
    seconds: float
    run: Run | None = None
    metrics: Mapping[str, Any] | None = None
    error: AdcliError | None = None

    def __repr__(self) -> str:
        failed = "" if self.error is None else self.error.format_message()
        return introduce(self, self.category, say_auroc(self.metrics), say_auroc(self.metrics, "pixel"), failed)


@dataclass(frozen=True)
class TrainedCategories:
    """What became of several categories.

    Attributes:
        dataset: the data set's name.
        results: one for each category that is there, in the data set's order.
        missing: categories that are not there.
    """

    dataset: str
    results: Sequence[CategoryResult]
    missing: Sequence[str] = ()

    def __repr__(self) -> str:
        counts = {"categories": self.results, "failed": self.failed, "not there": self.missing}
        facts = [f"{len(listed)} {what}" for what, listed in counts.items() if listed]
        mean = say_auroc(self.mean())
        return introduce(self, self.dataset, *facts, mean and f"mean {mean}")

    def _repr_html_(self) -> str:
        shown = [f"{level} {metric.label}" for level, metric in list_columns()]
        rows = [(one.category, *_format(one.metrics), _say_outcome(one)) for one in self.results]
        mean = (f"mean of {len(self.finished)}", *_format(self.mean()), "")
        lack = f"not there: {', '.join(self.missing)}" if self.missing else ""
        return join_blocks(self.dataset, tabulate(("category", *shown, ""), [*rows, mean]), lack)

    def to_pandas(self) -> "DataFrame":
        """Return a row for each category: its run, seconds, metrics, and what failed.

        Raises:
            PluginError: pandas is not installed.
        """
        columns = {f"{level}_{metric.key}": (level, metric.key) for level, metric in list_columns()}
        rows = [
            {
                "category": one.category,
                "run": one.run and one.run.path,
                "seconds": one.seconds,
                **{name: ((one.metrics or {}).get(level) or {}).get(key) for name, (level, key) in columns.items()},
                "error": one.error and one.error.format_message(),
            }
            for one in self.results
        ]
        kinds = {"category": TEXT, "run": TEXT, "seconds": NUMBER, **dict.fromkeys(columns, NUMBER), "error": TEXT}
        return to_frame(kinds, rows)

    @property
    def finished(self) -> list[CategoryResult]:
        """The categories of which nothing failed."""
        return [result for result in self.results if result.run is not None and result.error is None]

    @property
    def failed(self) -> list[CategoryResult]:
        """The categories without a run, or whose run could not be evaluated."""
        return [result for result in self.results if result.run is None or result.error is not None]

    def mean(self) -> dict[str, dict[str, float]]:
        """Return the means over the finished categories, by level and metric; only of what each of them has."""
        found = [result.metrics or {} for result in self.finished]
        return {level: _means([metrics.get(level) or {} for metrics in found]) for level in ("image", "pixel")}


def _format(metrics: Mapping[str, Any] | None) -> list[str]:
    """Return the cells of a table."""
    found = [((metrics or {}).get(level) or {}).get(metric.key) for level, metric in list_columns()]
    return ["" if value is None else f"{value:.3f}" for value in found]


def _say_outcome(result: CategoryResult) -> str:
    if result.error is not None:
        return result.error.format_message()
    return "" if result.run is None else str(result.run.path)


def _means(values: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    shared = [metric.key for metric in METRICS if values and all(metric.key in each for each in values)]
    return {name: fmean(each[name] for each in values) for name in shared}


def train_categories(
    settings: TrainSettings, *, out: Path | None = None, progress: Progress | None = None, command: str = ""
) -> TrainedCategories:
    """Train one model for each category that ``settings.data`` names, one run folder each.

    Each run is the one that training on its category alone makes. A category that fails ends no other.

    Args:
        settings: ``data`` is ``NAME`` of a data set with several categories, or ``NAME:CATEGORY,CATEGORY``. Of all,
            those that are not there are left out, with a note; those that are named have to be there.
        out: a folder for the run folders, each named as its category; new folders under ``runs`` when None.
        progress: receives progress and notes.
        command: the command line, for the records.

    Raises:
        OptionError, BackboneError: the settings fit no category.
        StorageError: a run folder exists already, or cannot be written.
        DataError: no category is there, or one of those that are named is not.
    """
    progress = progress or Silent()
    asked = several_categories(settings.data)
    if asked is None:
        raise OptionError(f"--data {settings.data}: does not name several categories; train on it alone.")
    _check_settings(settings, asked)
    check_places(settings)
    if out is not None:
        for name in asked.names:
            check_free(out / name)
    # Before hours are spent on the first.
    found = find_data([settings.data], settings.data_options, settings.part or "", progress.note)
    names = [each.category for each in found]
    results = list(_each(settings, asked, names, out, progress, command))
    return TrainedCategories(asked.dataset, results, [name for name in asked.names if name not in names])


def _check_settings(settings: TrainSettings, asked: Categories) -> None:
    if distributed.world_size() > 1:
        raise OptionError(
            f"--data {settings.data}: several categories are trained in a single process; under torchrun name one, "
            f"such as --data {asked.reference(asked.names[0])}."
        )
    for flag, folder in (("--calibration", settings.calibration), ("--validation", settings.validation)):
        if folder is not None and (flag == "--validation" or isinstance(parse_calibration(folder), Path)):
            raise OptionError(
                f"{flag} {folder}: images of one category, and --data {settings.data} names several; train them one "
                f"by one, such as --data {asked.reference(asked.names[0])}."
            )


def _each(
    settings: TrainSettings, asked: Categories, names: Sequence[str], out: Path | None, progress: Progress, command: str
) -> Iterator[CategoryResult]:
    for number, name in enumerate(names, 1):
        progress.note(f"{name}, {number} of {len(names)}")
        alone, start = replace(settings, data=asked.reference(name)), time.perf_counter()
        try:
            trained = train(alone, out=out and out / name, progress=progress, command=command)
        except AdcliError as error:
            # What is wrong with the settings, the backbone or the disk is wrong for all; it shows at the first.
            if number == 1 and isinstance(error, (OptionError, BackboneError, StorageError)):
                raise
            progress.note(f"{name}: {error.format_message()}")
            yield CategoryResult(name, time.perf_counter() - start, error=error)
            continue
        progress.note(f"{name}: {trained.run.path}")
        # The evaluation's scores and pictures are not kept, so that memory does not grow with the categories.
        metrics = trained.evaluation.metrics if trained.evaluation else None
        problem = trained.not_evaluated
        if problem is not None:
            progress.note(f"{name}: {problem.format_message()}")
        yield CategoryResult(name, time.perf_counter() - start, trained.run, metrics, problem)
