"""Many runs: which are to be made, having them made, and what came out."""

import contextlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from adcli._files import locate
from adcli._plugins.registry import Provided, registry
from adcli._showing import count, introduce
from adcli.errors import OptionError, PluginError
from adcli.options import Options
from adcli.progress import Progress, Silent
from adcli.runs.find import read_timings, runs_folder
from adcli.runs.settings import TrainSettings, check_places
from adcli.specs import ExecutorSpec
from adcli.sweeps.cells import Cell, tell_apart
from adcli.sweeps.data import find_data
from adcli.sweeps.folder import (
    RUNS,
    check_place,
    has_failed,
    is_made,
    is_sweep,
    keep_failure,
    list_runs,
    place_of,
    read_cells,
)
from adcli.sweeps.folder import read_results as read_results
from adcli.sweeps.grids import Grid, expand, parse_grid
from adcli.sweeps.results import SweepResults
from adcli.sweeps.tables import write_long_table
from adcli.sweeps.tasks import ExecutorRequest, Task, TaskOutcome

_EARLIER = 200
"""Runs outside the sweep that are looked at to tell how long those of the sweep will take."""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would do.

    Attributes:
        folder: of the sweep.
        cells: all its runs.
        here: those that are this shard's.
        to_make: those of them that are not made yet.
        seconds: how long those take one after the other, as earlier runs of their models did; None if there are none.
        unknown: models of those that no earlier run says anything of.
    """

    folder: Path
    cells: Sequence[Cell]
    here: Sequence[Cell]
    to_make: Sequence[Cell]
    seconds: float | None
    unknown: Sequence[str]

    def __repr__(self) -> str:
        time = "" if self.seconds is None else f"about {self.seconds:.0f} s"
        return introduce(self, self.folder, count(len(self.cells), "run"), f"{len(self.to_make)} to make", time)


def plan_sweep(
    grids: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    *,
    out: str | Path,
    shard: str = "",
    executor: str = "local",
    executor_options: Mapping[str, Any] | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> SweepPlan:
    """Return which runs a sweep has and which are still to be made; nothing is written.

    Args:
        grids: one or several, each with names of settings of ``adcli train`` and their values: a list, or a text with
            commas, for each combination of which there is a run; see docs/sweeps.md. None: those that the folder has.
        out: the sweep's folder.
        shard: ``"2/8"`` for every eighth run, from the second one; empty for all.
        executor: what is to carry the runs out; it is looked up, and its options are read.
        executor_options: its options.
        replace: whether runs that the folder had, and these grids do not, are left out.
        progress: is told which categories of a data set are missing.

    Raises:
        AdcliError: a grid does not fit, data or a model are missing, or the folder holds something else.
    """
    _choose_executor(executor, executor_options)
    folder, note = locate(Path(out)), (progress or Silent()).note
    number, count = parse_shard(shard)
    cells = _list_cells([grids] if isinstance(grids, Mapping) else grids, note)
    if cells:
        check_place(folder)
        before = [] if replace or not is_sweep(folder) else read_cells(folder)
        known = {cell.name for cell in before}
        cells = tell_apart([*before, *(cell for cell in cells if cell.name not in known)])
    else:
        cells = read_cells(folder)
    here = cells[number - 1 :: count]
    to_make = [cell for cell in here if not is_made(folder, cell) or has_failed(folder, cell)]
    seconds, unknown = _estimate(folder, to_make)
    return SweepPlan(folder, cells, here, to_make, seconds, unknown)


def _choose_executor(name: str, options: Mapping[str, Any] | None) -> tuple[Provided[ExecutorSpec], Options]:
    provided = registry().executors[name]
    return provided, provided.spec.options.parse(options or {})


def sweep(
    grids: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    *,
    out: str | Path,
    shard: str = "",
    executor: str = "local",
    executor_options: Mapping[str, Any] | None = None,
    replace: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> SweepResults:
    """Make all runs of a grid that are not there yet, and return what came out.

    The run folders are the state: a sweep that was interrupted goes on with what is missing, and one whose grid has
    grown makes what is new. A run that fails ends no other; it is tried again when the sweep is started again.

    Args:
        grids, out, shard, replace: as of :func:`plan_sweep`.
        executor: what carries the runs out; ``adcli executors`` lists them.
        executor_options: its options, such as ``jobs`` of ``local``.
        progress: receives progress and notes.
        command: the command line, for the runs' records.

    Raises:
        AdcliError: as of :func:`plan_sweep`, or the executor fails as a whole.
    """
    progress = progress or Silent()
    provided, options = _choose_executor(executor, executor_options)
    plan = plan_sweep(
        grids,
        out=out,
        shard=shard,
        executor=executor,
        executor_options=executor_options,
        replace=replace,
        progress=progress,
    )
    list_runs(plan.folder, plan.cells, replace=replace)
    execute = partial(_execute, provided, request=ExecutorRequest(options, len(plan.here), progress.note))
    try:
        left = _make_all(plan, plan.to_make, execute, progress, command)
        # Whoever held them may have been the last sweep here, which was killed a moment ago.
        _make_all(plan, left, execute, progress, command)
    finally:
        results = read_results(plan.folder)
        write_long_table(results, plan.folder)
    return results


def _make_all(
    plan: SweepPlan,
    cells: Sequence[Cell],
    execute: Callable[[Sequence[Task]], Generator[TaskOutcome]],
    progress: Progress,
    command: str,
) -> list[Cell]:
    """Have runs made, note what becomes of each, and return those that another process makes."""
    if not cells:
        return []
    known = {cell.name: cell for cell in cells}
    tasks = [_describe(plan.folder, cell, command) for cell in cells]
    left: list[Cell] = []
    done = len(plan.here) - len(cells)
    outcomes = execute(tasks)
    with contextlib.closing(outcomes):
        for outcome in progress.track(outcomes, len(tasks), "runs"):
            cell = known.pop(outcome.name, None)
            if cell is None:
                raise PluginError(f"the executor gave an outcome of '{outcome.name}', which it was not to make, twice.")
            if outcome.state == "elsewhere":
                left.append(cell)
                progress.note(f"{cell.name}: {outcome.problem}")
                continue
            done += 1
            keep_failure(plan.folder, outcome)
            progress.note(_report(outcome, done, len(plan.here)))
    if known:
        raise PluginError(f"the executor did not say what became of {len(known)} run(s), such as {next(iter(known))}.")
    return left


def _report(outcome: TaskOutcome, done: int, count: int) -> str:
    if outcome.state == "failed":
        return f"warning: {outcome.name} failed, {done} of {count}: {outcome.problem}"
    problem = f", but: {outcome.problem}" if outcome.problem else ""
    return f"{outcome.name}, {done} of {count}, in {outcome.seconds:.1f} s{problem}"


def _describe(folder: Path, cell: Cell, command: str) -> Task:
    return Task(cell.name, str(place_of(folder, cell)), cell.settings.to_dict(), command)


def _execute(
    provided: Provided[ExecutorSpec], tasks: Sequence[Task], *, request: ExecutorRequest
) -> Generator[TaskOutcome]:
    """Have an executor carry tasks out; what it raises is said to be its own."""
    execute = provided.load(provided.spec.target)
    outcomes = provided.guard("it cannot carry the runs out", lambda: execute(tasks, request))
    try:
        while True:
            outcome = provided.guard("it cannot carry the runs out", lambda: next(outcomes, None))
            if outcome is None:
                return
            yield outcome
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()


def _list_cells(grids: Sequence[Mapping[str, Any]], note: Callable[[str], None]) -> list[Cell]:
    """Return the runs of several grids, each once."""
    cells: dict[str, Cell] = {}
    for values in grids:
        for cell in _expand(parse_grid(values), note):
            cells.setdefault(cell.name, cell)
    return list(cells.values())


def _expand(grid: Grid, note: Callable[[str], None]) -> list[Cell]:
    parts = grid.axes.get("part", [None])
    found = find_data(grid.axes.get("data", [None]), grid.data_options, str(parts[0] or ""), note)
    cells = expand(grid, found, note)
    checked: list[TrainSettings] = []
    for cell in cells:
        places = [(each.calibration, each.validation, each.ignore) for each in checked]
        if (cell.settings.calibration, cell.settings.validation, cell.settings.ignore) not in places:
            check_places(cell.settings)
            checked.append(cell.settings)
    if not cells:
        raise OptionError("leaves no run of the grid.", option="skip")
    return cells


def parse_shard(text: str) -> tuple[int, int]:
    """Return the number and the count that ``2/8`` stands for; 1 and 1 for nothing.

    Raises:
        OptionError: it is no such text.
    """
    if not text:
        return 1, 1
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise OptionError(f"must be NUMBER/COUNT, such as 1/8 to 8/8, not '{text}'.", option="--shard")
    return int(found[1]), int(found[2])


def _estimate(folder: Path, cells: Sequence[Cell]) -> tuple[float | None, list[str]]:
    """Return how long runs take one after the other, by those that are there, and models that nothing is known of."""
    known: dict[str, list[float]] = {}
    earlier = [path for parent in (folder / RUNS, runs_folder()) for path in _list_latest(parent)]
    for path in earlier:
        with contextlib.suppress(OSError):
            model = re.search(rb"^model: (\S+)\r?$", (path / "run.yaml").read_bytes(), re.MULTILINE)
            if model and (seconds := sum(read_timings(path).values())):
                known.setdefault(model[1].decode(), []).append(seconds)
    unknown = list(dict.fromkeys(cell.settings.model for cell in cells if cell.settings.model not in known))
    expected = [fmean(known[cell.settings.model]) for cell in cells if cell.settings.model in known]
    return (sum(expected) if expected else None), unknown


def _list_latest(folder: Path) -> list[Path]:
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), reverse=True)[:_EARLIER]
    except OSError:
        return []
