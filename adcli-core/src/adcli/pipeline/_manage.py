"""Removing, renaming and annotating runs, in whatever state they are."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from adcli._changes import CHANGES, changing, holding, inside
from adcli._files import remove_tree, storing, write_atomically
from adcli.data.framing import IGNORE_FILE
from adcli.errors import AdcliError, OptionError, RunError, StorageError, one_line
from adcli.exports.export import MANIFEST_FILE, list_files
from adcli.pipeline._evaluate import ORIGIN_FILE
from adcli.pipeline._evaluation_pass import EVALUATIONS, METRICS_FILE, REPORT_FILE, SCORES_FILE
from adcli.runs.find import check_name
from adcli.runs.images import IMAGES_FILE
from adcli.runs.partial import CHECKPOINTS, LOG_FILE, TRAINING_FILE
from adcli.runs.run import CALIBRATION_FILE, EXPORTS, MAX_NOTE, NOTE_FILE, PARTIAL, RUN_FILE, WEIGHTS_FILE, Run

_EVALUATION = (METRICS_FILE, SCORES_FILE, REPORT_FILE, ORIGIN_FILE)
_PATTERNS = (
    # Without it nothing takes the folder for a run that can be used; with the last one, it can be removed again.
    CALIBRATION_FILE,
    *_EVALUATION,
    *(f"{EVALUATIONS}/*/{name}" for name in _EVALUATION),
    "calibrations/[0-9]*.json",
    "calibrations/[0-9]*.jpg",
    f"{CHECKPOINTS}/*",
    WEIGHTS_FILE,
    IMAGES_FILE,
    TRAINING_FILE,
    IGNORE_FILE,
    NOTE_FILE,
    LOG_FILE,
    RUN_FILE,
)
"""What adcli writes into a run, besides exports."""


def remove_run(path: Path) -> Sequence[Path]:
    """Remove a run, finished, interrupted or damaged; files that adcli did not make are left, and returned.

    Raises:
        RunError: it is no run, or another process is at work on it.
        StorageError: something cannot be removed.
    """
    _check(path)
    with holding(path, removing=True), storing(path):
        folders = set()
        for file in _list_made(path):
            file.unlink(missing_ok=True)
            folders |= {parent for parent in file.parents if parent.is_relative_to(path)}
        remove_tree(inside(path, CHANGES))
    for folder in sorted({*folders, path}, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    if path.parent.name == PARTIAL:
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return sorted(left for left in path.rglob("*") if left.is_symlink() or not left.is_dir()) or [
        left for left in [path] if left.exists()
    ]


def _check(path: Path) -> None:
    if not os.path.lexists(path / RUN_FILE):
        raise RunError(f"{path}: is no run (it has no {RUN_FILE}).")
    if path.is_symlink():
        raise RunError(f"{path}: is a link; name the folder that it stands for: {path.resolve()}.")


def _list_made(path: Path) -> Iterator[Path]:
    """Yield the files of a run that adcli made: never a link, nor what lies behind one."""
    exports = (folder for folder in path.glob(f"{EXPORTS}/*") if _is_own(path, folder))
    made = [file for folder in exports for file in _list_export(folder)]
    for file in [*made, *(file for pattern in _PATTERNS for file in path.glob(pattern))]:
        if _is_own(path, file) and file.is_file():
            yield file


def _list_export(folder: Path) -> list[Path]:
    try:
        names = [name for name in list_files(folder) if name != MANIFEST_FILE]
        return [inside(folder, name) for name in [*names, MANIFEST_FILE]]
    except AdcliError:
        return []


def _is_own(path: Path, found: Path) -> bool:
    try:
        inside(path, found.relative_to(path).as_posix())
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
    check_name(name, "NEW")
    _check(path)
    new = path.with_name(name)
    other = path.parent.with_name(name) if path.parent.name == PARTIAL else path.parent / PARTIAL / name
    with holding(path) as lock:
        for taken in (new, other):
            if os.path.lexists(taken):
                raise StorageError(f"{taken}: exists already; choose another name.")
        with storing(new):
            lock.move(lambda: path.rename(new), new / lock.path.name)
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
        if note:
            write_atomically(staged / NOTE_FILE, f"{note}\n")
