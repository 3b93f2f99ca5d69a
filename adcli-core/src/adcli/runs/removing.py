"""Removing runs: what is to go is written down first, so that whoever comes after a killed process finishes it."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypedDict

from adcli import _system
from adcli._artefacts import Artefact
from adcli._artefacts.parsing import LARGEST_YAML
from adcli._changes import LOCK, inside
from adcli._files import remove_tree, seal, storing, write_atomically
from adcli._locking import Lock
from adcli.errors import AdcliError, RunError, StorageError
from adcli.runs.run import PARTIAL, RUN_FILE

PLAN_FILE = ".adcli-removing"
"""Names of the files and folders of a run that are to be removed; it is there until they are.

The removal begins when ``run.yaml`` is gone. As long as that is there, or there again, it is a run and nothing else.
"""

UNNAMED = ".new"
"""What a run is called under ``.partial`` until it can be resumed."""

_GONE = re.compile(r"\.adcli-[0-9a-f]{12}\.removed")
"""What a run is called of which nothing is left but the plan and the lock."""


class _Plan(TypedDict):
    files: list[str]
    folders: list[str]


def is_being_removed(folder: Path) -> bool:
    """Tell whether a process began to remove a run, and was killed or failed."""
    planned = os.path.isfile(folder / PLAN_FILE)  # noqa: PTH113 - Path.is_file raises an error if a name is too long
    return planned and not os.path.lexists(folder / RUN_FILE)


def remove_files(folder: Path, lock: Lock, names: Sequence[str], folders: Iterable[str] = ()) -> list[Path]:
    """Remove files from a run, and the folder if nothing else is in it; return what is left there.

    Args:
        folder: the run, finished or not.
        lock: of the folder, held; it is let go.
        names: of the files, below the folder.
        folders: names of further folders that are removed if they are empty then, as those of the files are.

    Raises:
        StorageError: something cannot be removed: nothing is if that is ``run.yaml``, else the rest is removed later.
    """
    parents = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents if parent.name}
    plan = {"files": list(names), "folders": sorted({*folders, *parents})}
    if is_being_removed(folder):
        before = _leave_newer(folder, _read_plan(folder))
        plan = {kind: sorted({*plan[kind], *before[kind]}) for kind in plan}
    # On a full disk nothing can be written down, and room is made all the same.
    with contextlib.suppress(StorageError):
        write_atomically(folder / PLAN_FILE, seal(plan))
    _carry_out(folder, lock, plan)
    return list_left(folder)


def list_left(folder: Path) -> list[Path]:
    """Return the files that are still in a folder, or that folder if it only holds others."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return files or [path for path in [folder] if path.exists()]


def _read_plan(folder: Path) -> dict[str, list[str]]:
    file = Artefact(inside(folder, PLAN_FILE), RunError, "it is damaged; remove it")
    try:
        plan = file.check(file.unseal(file.text(LARGEST_YAML)), _Plan)
    except FileNotFoundError:
        raise file.wrong("is missing") from None
    return {"files": plan["files"], "folders": plan["folders"]}


def _leave_newer(folder: Path, plan: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return a plan without the files that were put there since, such as by somebody who restores the run."""
    made = (folder / PLAN_FILE).lstat().st_ctime_ns
    return plan | {"files": [name for name in plan["files"] if not _is_newer(inside(folder, name), made)]}


def _is_newer(path: Path, time: int) -> bool:
    # A copy can have the time of its original, but not that of its last change of any kind.
    try:
        return path.lstat().st_ctime_ns > time
    except OSError:
        return False


def _carry_out(folder: Path, lock: Lock, plan: dict[str, list[str]]) -> None:
    """Remove what is planned; can be broken off at any point, and done again."""
    files = [inside(folder, name) for name in plan["files"]]
    with storing(folder):
        if RUN_FILE in plan["files"]:
            _begin(folder)
        for path in files:
            _system.remove(path)
        for name in sorted(plan["folders"], key=lambda name: -len(PurePosixPath(name).parts)):
            with contextlib.suppress(OSError, RunError):
                inside(folder, name).rmdir()
        if {path.name for path in folder.iterdir()} <= {LOCK, PLAN_FILE}:
            _remove_last(folder, lock)
        else:
            lock.release()
            _system.remove(folder / PLAN_FILE)


def _begin(folder: Path) -> None:
    """Remove what makes it a run, so that nobody opens half of one; if that fails, nothing was planned."""
    try:
        _system.remove(folder / RUN_FILE)
    except OSError:
        with contextlib.suppress(OSError):
            (folder / PLAN_FILE).unlink()
        raise


def _remove_last(folder: Path, lock: Lock) -> None:
    """Remove a folder that holds nothing but plan and lock: its name is free before either of them is gone."""
    gone = folder
    if not _GONE.fullmatch(folder.name):
        gone = folder.with_name(f".adcli-{secrets.token_hex(6)}.removed")
        lock.move(lambda: _system.rename(folder, gone), gone / LOCK)
    _system.remove(gone / PLAN_FILE)
    lock.release()
    # What was put into the folder at the last moment gets its place back.
    with contextlib.suppress(OSError):
        gone.rmdir()
        return
    with contextlib.suppress(OSError):
        _system.rename(gone, folder)


def finish_removals(folder: Path) -> None:
    """Finish what killed processes began to remove in a folder of runs, if it can be written and nobody is at it."""
    for place in (folder / PARTIAL, folder):
        for path in _list_folders(place):
            call_off(path)
            with contextlib.suppress(OSError, AdcliError):
                if is_being_removed(path):
                    _take_up(path)
                elif _GONE.fullmatch(path.name) and {item.name for item in path.iterdir()} <= {LOCK}:
                    with _trying(path):
                        pass
                    path.rmdir()
    with contextlib.suppress(OSError, AdcliError):
        _tidy_partial(folder / PARTIAL)


def _list_folders(place: Path) -> list[Path]:
    try:
        found = [] if place.is_symlink() else list(place.iterdir())
        return [path for path in found if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


@contextlib.contextmanager
def _trying(folder: Path) -> Iterator[Lock]:
    """Hold a folder's lock; raises :class:`RunError` if another process does."""
    lock = Lock(folder / LOCK, folder)
    with lock.held():
        yield lock


def _take_up(folder: Path) -> None:
    with _trying(folder) as lock:
        if is_being_removed(folder):
            _carry_out(folder, lock, _leave_newer(folder, _read_plan(folder)))


def call_off(folder: Path) -> None:
    """Forget that a killed process was about to remove a run, which is whole or was restored; never raises.

    If another process is at work on the run, or it cannot be written, that is left to a later command.
    """
    if _is_only_planned(folder):
        with contextlib.suppress(OSError, AdcliError), _trying(folder):
            if _is_only_planned(folder):
                (folder / PLAN_FILE).unlink()


def _is_only_planned(folder: Path) -> bool:
    return os.path.lexists(folder / PLAN_FILE) and os.path.lexists(folder / RUN_FILE)


def _tidy_partial(partial: Path) -> None:
    """Remove what a process left that was killed before its run had a name, and the folder if it is empty."""
    if partial.is_symlink() or not partial.is_dir():
        return
    if (partial / LOCK).exists() or (partial / UNNAMED).exists():
        with _trying(partial):
            remove_tree(partial / UNNAMED)
    partial.rmdir()
