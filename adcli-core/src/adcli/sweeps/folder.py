"""The folder of a sweep: what it consists of, its runs, and why some failed.

``sweep.json`` lists the runs, made or not; ``runs/`` holds those that are made, under their names; ``failures/`` says
why others were not. The run folders are the state: nothing else says which runs are made.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from adcli._artefacts import Artefact, load_json
from adcli._artefacts.declaring import Ordinal, Time
from adcli._changes import LOCK, enter, inside
from adcli._files import is_unfinished, write_atomically
from adcli._locking import Lock
from adcli.errors import OptionError, RunError, StorageError
from adcli.runs.calibrations import now
from adcli.runs.find import read_timings
from adcli.runs.metrics import read_metrics
from adcli.runs.run import RUN_FILE, read_run_file
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import NAMED, Cell, Factor, tell_apart
from adcli.sweeps.results import Outcome, SweepResults, flatten_metrics
from adcli.sweeps.tasks import TaskOutcome

FORMAT = 1
SWEEP_FILE = "sweep.json"
RUNS = "runs"
FAILURES = "failures"

_LARGEST = 256 << 20
_WAIT_SECONDS = 30.0
"""How long to wait for another process that lists its runs."""


class _Cell(TypedDict):
    name: str
    factors: dict[str, Any]
    settings: dict[str, Any]


class _Sweep(TypedDict):
    format: Ordinal
    runs: list[_Cell]


class _Failure(TypedDict):
    problem: str
    exit_code: int
    time: Time


def check_place(folder: Path) -> None:
    """Check that a sweep can lie in a folder; raises :class:`StorageError` if something else does."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise StorageError(f"{folder}: is a file; choose another folder.")
    # Listed first: another process may just be beginning the sweep.
    others = [path for path in folder.iterdir() if not (path.name == LOCK or is_unfinished(path))]
    if others and not os.path.lexists(folder / SWEEP_FILE):
        raise StorageError(f"{folder}: holds something else than a sweep; choose a new folder.")


def is_sweep(folder: Path) -> bool:
    """Tell whether a folder holds a sweep."""
    return os.path.isfile(folder / SWEEP_FILE)  # noqa: PTH113 - Path.is_file raises an error if a name is too long


def list_runs(folder: Path, cells: Sequence[Cell], *, replace: bool = False) -> list[Cell]:
    """Write down the runs of a sweep beside those that it had, and return all of them, the former first.

    Args:
        folder: of the sweep; made if need be.
        cells: its runs.
        replace: whether these are all, and those that it had are no longer part of it; what was made stays.

    Raises:
        RunError: the folder's file is damaged, or another process has held it for long.
        StorageError: something cannot be written.
        OptionError: two runs could not be told apart.
    """
    lock = Lock(folder / LOCK, folder)
    enter(lock, _WAIT_SECONDS)
    try:
        before = [] if replace or not is_sweep(folder) else read_cells(folder)
        known = {cell.name: cell for cell in before}
        every = [*(cells if replace else before), *(cell for cell in cells if not replace and cell.name not in known)]
        every = tell_apart(every)
        if replace or len(every) > len(before) or not before:
            content = {"format": FORMAT, "runs": [_to_json(cell) for cell in every]}
            write_atomically(folder / SWEEP_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    finally:
        lock.release()
    return every


def _to_json(cell: Cell) -> _Cell:
    return {"name": cell.name, "factors": dict(cell.factors), "settings": cell.settings.to_dict()}


def read_cells(folder: Path) -> list[Cell]:
    """Return the runs of a sweep, made or not.

    Raises:
        RunError: the folder holds no sweep, or its file is damaged.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112
        raise RunError(f"{folder}: is a file, and no sweep, which is a folder.")
    file = Artefact(folder / SWEEP_FILE, RunError, "copy it again, or give the grid once more with --replace")
    try:
        content = load_json(file, _Sweep, _LARGEST)
    except FileNotFoundError:
        raise RunError(f"{folder}: is no sweep (it has no {SWEEP_FILE}); make one with 'adcli sweep'.") from None
    if content["format"] != FORMAT:
        raise RunError(
            f"{file.path}: has format {content['format']}, and this adcli reads {FORMAT}; use the adcli that wrote it."
        )
    try:
        return tell_apart([_from_json(file, cell) for cell in content["runs"]])
    except OptionError as error:
        raise file.wrong(error.format_message().partition(";")[0]) from None


def _from_json(file: Artefact, cell: _Cell) -> Cell:
    inside(file.path.parent, f"{RUNS}/{cell['name']}")
    factors: dict[str, Factor] = {}
    for name, value in cell["factors"].items():
        if not (value is None or isinstance(value, (str, int, float, bool))):
            raise file.wrong(f"the run {cell['name']} has a factor '{name}' that is no plain value")
        factors[name] = value
    try:
        settings = TrainSettings.parse(cell["settings"])
    except OptionError as error:
        raise file.wrong(f"the run {cell['name']}: {error.format_message().rstrip('.')}") from None
    for name in NAMED:
        if name not in factors or (name in ("model", "seed") and factors[name] != getattr(settings, name)):
            raise file.wrong(f"the run {cell['name']} lacks the factor '{name}', or has another than its settings")
    return Cell(cell["name"], factors, settings)


def place_of(folder: Path, cell: Cell) -> Path:
    """Return the folder of a run, made or not."""
    return inside(folder, f"{RUNS}/{cell.name}", StorageError)


def is_made(folder: Path, cell: Cell) -> bool:
    """Tell whether a run is there."""
    return os.path.isfile(place_of(folder, cell) / RUN_FILE)  # noqa: PTH113


def has_failed(folder: Path, cell: Cell) -> bool:
    """Tell whether making or evaluating a run failed when it was last tried."""
    return os.path.lexists(inside(folder, f"{FAILURES}/{cell.name}.json"))


def keep_failure(folder: Path, outcome: TaskOutcome) -> None:
    """Write down why a run failed, or that it no longer does."""
    path = inside(folder, f"{FAILURES}/{outcome.name}.json", StorageError)
    if outcome.state == "made" and not outcome.problem:
        with contextlib.suppress(OSError):
            path.unlink()
        return
    failure: _Failure = {"problem": outcome.problem, "exit_code": outcome.exit_code, "time": now()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(failure, ensure_ascii=False) + "\n")


def read_results(folder: str | Path) -> SweepResults:
    """Return what came out of a sweep so far.

    Raises:
        RunError: the folder holds no sweep, or something in it is damaged.
    """
    folder = Path(folder)
    return SweepResults(folder, [_read_outcome(folder, cell) for cell in read_cells(folder)])


def _read_outcome(folder: Path, cell: Cell) -> Outcome:
    problem = _read_failure(folder, cell)
    if not is_made(folder, cell):
        return Outcome(cell, error=problem)
    path = place_of(folder, cell)
    content = read_run_file(path / RUN_FILE)
    other = _find_other(cell.settings.to_dict(), content)
    if other:
        raise RunError(f"{path}: is not the run of the sweep, as its {other} is another; remove it, and sweep again.")
    data = content["record"].get("data", {})
    images = f"{data.get('fingerprint', '')} {data.get('test', '')}".strip()
    return Outcome(cell, path, flatten_metrics(read_metrics(path)), read_timings(path), problem, images)


def _find_other(asked: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Return which setting of a run is not what the sweep asked for; nothing if none is."""
    for name in ("model", "data", "seed", "shots", "calibration"):
        if asked[name] != content[name]:
            return name
    for kind in ("options", "data_options"):
        given: Mapping[str, Any] = asked[kind]
        for name, value in given.items():
            # A backbone is looked up, and weights may be found elsewhere.
            if name not in ("backbone", "weights") and content[kind].get(name) != value:
                return name
    return ""


def _read_failure(folder: Path, cell: Cell) -> str:
    file = Artefact(inside(folder, f"{FAILURES}/{cell.name}.json"), RunError, "remove it")
    try:
        return load_json(file, _Failure)["problem"]
    except FileNotFoundError:
        return ""
