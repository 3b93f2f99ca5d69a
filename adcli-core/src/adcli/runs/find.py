"""Finding runs: by path, by name, or as ``last``."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adcli.errors import AdcliError, RunError, suggest
from adcli.runs.run import PARTIAL, RUN_FILE, Run

_STAMP = re.compile(r"\d{8}-\d{6}-")


def runs_folder() -> Path:
    """Return where runs without ``--out`` go: ``ADCLI_RUNS``, else ``runs`` in the current folder."""
    return Path(os.environ.get("ADCLI_RUNS") or "runs")


def new_run_path(model: str, data: str) -> Path:
    """Return a new run's folder, such as ``runs/20261123-141502-patchcore-bottle``."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", data).strip("-.") or "data"
    moment = time.time()
    while True:
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(moment))}-{model.rpartition('/')[2]}-{slug}"
        path = runs_folder() / name
        if not path.exists() and not (path.parent / PARTIAL / name).exists():
            return path
        moment += 1


@dataclass(frozen=True)
class Listed:
    """A line of ``adcli runs``: a run that can be opened, one that was interrupted, or a folder that is damaged."""

    path: Path
    state: Literal["finished", "interrupted", "damaged"]
    run: Run | None = None
    problem: str = ""


def list_runs(folder: Path) -> Iterator[Listed]:
    """Yield the runs in a folder by name, the interrupted ones last."""
    for path in _run_folders(folder):
        try:
            yield Listed(path, "finished", Run.open(path))
        except AdcliError as error:
            yield Listed(path, "damaged", problem=error.format_message())
    for path in _run_folders(folder / PARTIAL):
        yield Listed(path, "interrupted")


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and (path / RUN_FILE).is_file())


def find_folder(reference: str) -> Path:
    """Return the folder that a path, a name under the runs' folder, or ``last`` stands for.

    A path into a run can begin in each of these ways, as in ``last/exports/openvino``.

    Raises:
        RunError: there is no such folder.
    """
    first, _, rest = reference.partition("/")
    if first == "last" and not Path(reference).is_dir():
        path = _last() / rest if rest else _last()
        if not path.is_dir():
            raise RunError(f"{path}: no such folder.")
        return path
    for path in (Path(reference), runs_folder() / reference):
        if path.is_dir():
            return path
    names = [path.name for path in _run_folders(runs_folder())]
    raise RunError(f"no run '{reference}'.{suggest(reference, names) if names else ' See adcli runs.'}")


def _last() -> Path:
    stamped = [path for path in _run_folders(runs_folder()) if _STAMP.match(path.name)]
    if not stamped:
        raise RunError(f"no run in {runs_folder()} yet; make one with 'adcli train', or give a run's path.")
    return stamped[-1]


def find_interrupted(reference: str) -> Path:
    """Return the folder of the interrupted run that a path or a name stands for."""
    given = Path(reference)
    for path in (given, given.parent / PARTIAL / given.name, runs_folder() / PARTIAL / reference):
        if path.parent.name == PARTIAL and path.is_dir():
            return path
    for path in (given, runs_folder() / reference):
        if (path / RUN_FILE).is_file():
            raise RunError(f"{path}: this run is finished; there is nothing to resume.")
    names = [path.name for path in _run_folders(runs_folder() / PARTIAL)]
    raise RunError(f"no interrupted run '{reference}'.{suggest(reference, names) if names else ' See adcli runs.'}")
