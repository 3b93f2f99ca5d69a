"""Removing, renaming and annotating runs, in whatever state they are."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from adcli import _system
from adcli._changes import CHANGES, changing, holding, inside, settle
from adcli._files import locate, storing, write_atomically
from adcli.data.framing import IGNORE_FILE
from adcli.errors import AdcliError, OptionError, RunError, StorageError, one_line
from adcli.exports.export import MANIFEST_FILE
from adcli.exports.export import list_files as list_export
from adcli.pipeline._evaluate import ORIGIN_FILE, read_origin
from adcli.pipeline._evaluation_pass import EVALUATIONS, METRICS_FILE, OWN, REPORT_FILE, SCORES_FILE
from adcli.runs.calibrations import FOLDER as CALIBRATIONS
from adcli.runs.calibrations import list_files, list_numbers, number_of, read_kept, read_stored
from adcli.runs.find import check_run_name
from adcli.runs.images import IMAGES_FILE
from adcli.runs.partial import CHECKPOINT_FILE, CHECKPOINTS, LOG_FILE, TRAINING_FILE, list_unfinished
from adcli.runs.removing import PLAN_FILE, finish_removals, remove_files
from adcli.runs.run import (
    CALIBRATION_FILE,
    EXPORTS,
    MAX_NOTE,
    NOTE_FILE,
    PARTIAL,
    RUN_FILE,
    UPDATING_FILE,
    WEIGHTS_FILE,
    Run,
    read_run_file,
)
from adcli.scoring.part_verdicts import PARTS_FILE

_EVALUATION = (METRICS_FILE, SCORES_FILE, PARTS_FILE, REPORT_FILE, ORIGIN_FILE)
_TOP = (
    RUN_FILE,
    WEIGHTS_FILE,
    UPDATING_FILE,
    CALIBRATION_FILE,
    IMAGES_FILE,
    NOTE_FILE,
    LOG_FILE,
    METRICS_FILE,
    SCORES_FILE,
    PARTS_FILE,
    REPORT_FILE,
    f"{CHECKPOINTS}/{CHECKPOINT_FILE}",
)
_FOLDERS = (CALIBRATIONS, EVALUATIONS, f"{EVALUATIONS}/{OWN}", EXPORTS, CHECKPOINTS, CHANGES)
"""What adcli makes in a run whatever it is trained on."""


def remove_run(path: Path) -> Sequence[Path]:
    """Remove a run, finished, interrupted or damaged; files that are no part of it are left, and returned.

    If the process is killed, the run is still one, or the next command that looks at its folder goes on.

    Raises:
        RunError: it is no run, or another process is at work on it.
        StorageError: something cannot be removed.
    """
    path = locate(path)
    _check(path, RUN_FILE, PLAN_FILE)
    with holding(path, removing=True):
        pass
    # Nobody is at work in it: what was prepared there is left by the dead.
    settle(path)
    with holding(path) as lock:
        left = remove_files(path, lock, list_made(path), _FOLDERS)
    if path.parent.name == PARTIAL:
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return left


def _check(path: Path, *markers: str) -> None:
    if not any(os.path.lexists(path / name) for name in markers):
        raise RunError(f"{path}: is no run (it has no {RUN_FILE}).")
    if path.is_symlink():
        raise RunError(f"{path}: is a link; name the folder that it stands for: {path.resolve()}.")


def list_made(path: Path) -> list[str]:
    """Return the names of the files in a run that adcli made: never a link, nor what lies behind one."""
    names = [*_TOP, *_list_optional(path), *list_unfinished(path), *_list_history(path), *_list_evaluations(path)]
    for manifest in path.glob(f"{EXPORTS}/*/{MANIFEST_FILE}"):
        names += [(manifest.parent / name).relative_to(path).as_posix() for name in _list_export(manifest.parent)]
    return [name for name in dict.fromkeys(names) if _is_own(path, name) and (path / name).is_file()]


def _list_optional(path: Path) -> list[str]:
    """Return what only some runs have; other files of these names are their owner's."""
    names = [TRAINING_FILE] if path.parent.name == PARTIAL else []
    with contextlib.suppress(RunError):
        names += [IGNORE_FILE] if read_run_file(inside(path, RUN_FILE)).get("ignore") else []
    return names


def _list_history(root: Path) -> list[str]:
    """Return the files that are kept of the calibrations that a run or an export had."""
    try:
        names, known = list_files(root), _find_newest(root)
    except RunError:
        return []
    return [name for name in names if number_of(name) <= known]


def _find_newest(root: Path) -> int:
    """Return the number of the newest calibration that can be read."""
    found = [0]
    with contextlib.suppress(RunError):
        found.append(read_stored(root).number)
    for number in list_numbers(root):
        with contextlib.suppress(RunError):
            found.append(read_kept(root, number).number)
    return max(found)


def _list_evaluations(path: Path) -> list[str]:
    """Return the files of evaluations, which have metrics and, but for the run's own, say what data they are of."""
    names = []
    for folder in path.glob(f"{EVALUATIONS}/*"):
        name = f"{EVALUATIONS}/{folder.name}"
        if _is_own(path, name) and (folder / METRICS_FILE).is_file() and _says_its_data(folder):
            names += [f"{name}/{file}" for file in _EVALUATION]
    return names


def _says_its_data(folder: Path) -> bool:
    try:
        return read_origin(folder) is not None
    except RunError:
        return False


def _list_export(folder: Path) -> list[str]:
    try:
        names = list_export(folder)
        history = set(list_files(folder))
        return [name for name in names if name not in history] + _list_history(folder)
    except AdcliError:
        return []


def _is_own(path: Path, name: str) -> bool:
    try:
        inside(path, name)
    except RunError:
        return False
    return True


def rename_run(path: Path, name: str) -> Path:
    """Give a run another name, beside the one it has, and return its folder.

    Raises:
        OptionError: that is no name.
        RunError: it is no run, or another process is at work on it.
        StorageError: something has that name.
    """
    check_run_name(name, "NEW")
    path = locate(path)
    _check(path, RUN_FILE)
    finish_removals(path.parent)
    new = path.with_name(name)
    other = path.parent.with_name(name) if path.parent.name == PARTIAL else path.parent / PARTIAL / name
    with holding(path) as lock:
        for taken in (new, other):
            if os.path.lexists(taken):
                raise StorageError(f"{taken}: exists already; choose another name.")
        with storing(new):
            lock.move(lambda: _system.rename(path, new), new / lock.path.name)
    return new


def annotate_run(run: Run, text: str) -> None:
    """Keep a note with a run, in place of the one that it has; an empty one removes that.

    Raises:
        OptionError: it is too long.
        RunError: another process changes the note.
    """
    note = " ".join(text.split())
    if len(note) > MAX_NOTE:
        raise OptionError(f"has {len(note)} characters; {MAX_NOTE} are kept at most.", option="TEXT")
    if not note.isprintable():
        raise OptionError(f"has control characters: '{one_line(note)}'.", option="TEXT")
    with changing(run.path, NOTE_FILE, replaced=[NOTE_FILE]) as staged:
        # By now another command may have removed the run from a folder that stays.
        _check(run.path, RUN_FILE)
        if note:
            write_atomically(staged / NOTE_FILE, f"{note}\n")
