"""What came out of a sweep: the metrics of each run, and why there is none, in one long table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adcli._frames import NUMBER, TEXT, to_frame
from adcli._showing import introduce, join_blocks, say_number
from adcli._showing import tabulate as show_table
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import NAMED, Cell, Factor

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Outcome:
    """What became of one run of a sweep.

    Attributes:
        cell: the run.
        path: its folder; None if it is not made yet, or failed.
        metrics: of its own test images, by names such as ``image.auroc``; empty if there are none.
        seconds: how long it took, by part: ``fit``, ``calibrate``, ``evaluate``.
        error: why it failed, one line; empty if it did not.
        images: a digest of those that it was fitted to, and how many it was tested on; empty if it is not known.
    """

    cell: Cell
    path: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    images: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.cell.name, say_number("image AUROC", self.metrics.get("image.auroc")), self.error)

    @property
    def is_made(self) -> bool:
        """Tell whether the run is there."""
        return self.path is not None


class Row(NamedTuple):
    """One number of one run: a row of the long table.

    Attributes:
        run: the name of its folder.
        factors: of the run.
        metric: such as ``image.auroc``, or ``seconds.fit``.
        value: of the metric; None in the one row of a run that failed.
        error: why it failed.
    """

    run: str
    factors: Mapping[str, Factor]
    metric: str
    value: float | None
    error: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.run, say_number(self.metric, self.value), self.error)


@dataclass(frozen=True)
class SweepResults:
    """All runs of a sweep and what came out.

    Attributes:
        folder: of the sweep.
        outcomes: one for each run, made, failed or missing, in the order of the grid.
    """

    folder: Path
    outcomes: Sequence[Outcome]

    def __repr__(self) -> str:
        counts = {"made": self.made, "failed": self.failed, "missing": self.missing}
        facts = (f"{len(outcomes)} {what}" for what, outcomes in counts.items() if outcomes)
        return introduce(self, self.folder, *facts)

    @property
    def made(self) -> list[Outcome]:
        """The runs that are there."""
        return [outcome for outcome in self.outcomes if outcome.is_made]

    @property
    def failed(self) -> list[Outcome]:
        """The runs that failed."""
        return [outcome for outcome in self.outcomes if outcome.error]

    @property
    def missing(self) -> list[Outcome]:
        """The runs that are still to be made."""
        return [outcome for outcome in self.outcomes if not outcome.is_made and not outcome.error]

    @property
    def factors(self) -> list[str]:
        """The names of the factors: those that every run has, then the others in the order in which they appear."""
        others = dict.fromkeys(name for outcome in self.outcomes for name in outcome.cell.factors)
        return [*NAMED, *(name for name in others if name not in NAMED)]

    def rows(self) -> Iterator[Row]:
        """Yield the long table: a row for each metric of each run, and one for each that failed."""
        for outcome in self.outcomes:
            cell = outcome.cell
            if outcome.error:
                yield Row(cell.name, cell.factors, "", None, outcome.error)
            for metric, value in outcome.metrics.items():
                yield Row(cell.name, cell.factors, metric, value)
            for part, value in outcome.seconds.items():
                yield Row(cell.name, cell.factors, f"seconds.{part}", value)

    def _repr_html_(self) -> str:
        # Both are made of results.
        from adcli.sweeps.summary import summarise
        from adcli.sweeps.tables import tabulate

        table = tabulate(summarise(self))
        failed = [f"failed: {outcome.cell.name}: {outcome.error}" for outcome in self.failed]
        return join_blocks(str(self.folder), show_table(table.names, table.texts()), *table.notes, *failed)

    def to_pandas(self) -> "DataFrame":
        """Return the long table, with a column for each factor.

        Raises:
            PluginError: pandas is not installed.
        """
        kinds = {"run": TEXT, **dict.fromkeys(self.factors, TEXT), "metric": TEXT, "value": NUMBER, "error": TEXT}
        return to_frame(kinds, ({**dict.fromkeys(self.factors), **row.factors, **row._asdict()} for row in self.rows()))


def note_changes(results: SweepResults) -> Iterator[str]:
    """Yield a sentence for each data set of which some runs saw other images than others, as they changed."""
    seen: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for outcome in results.made:
        factors, key = outcome.cell.factors, _choice_of_images(outcome.cell.settings)
        seen.setdefault(key, set()).update({outcome.images} - {""})
        names[key] = " ".join(str(each) for each in (factors.get("data"), factors.get("category")) if each)
    for name in dict.fromkeys(names[key] for key, images in seen.items() if len(images) > 1):
        yield f"{name}: its images changed between the runs, which are of different ones; make a new sweep."


def _choice_of_images(settings: TrainSettings) -> str:
    """Return all that decides which images a run is fitted to and tested on, but what lies in the folder."""
    names = ("data", "data_options", "part", "shots", "calibration", "validation", "skip_unreadable")
    # Which of the good images are taken follows from the seed, if not all are.
    seed = None if settings.shots is None else settings.seed
    return repr([seed, *(getattr(settings, name) for name in names)])


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return what ``metrics.json`` says of images and pixels as numbers by names such as ``image.auroc``."""
    return {
        f"{level}.{name}": float(value)
        for level in ("image", "pixel")
        for name, value in (metrics.get(level) or {}).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
