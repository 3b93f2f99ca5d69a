"""A run that is being made: a folder under ``.partial``, renamed when it is complete."""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adcli import _system
from adcli._changes import LOCK, enter, inside
from adcli._commands import quote
from adcli._files import is_unfinished, locate, remove_tree, seal, storing, sync, sync_all, write_atomically
from adcli._locking import Lock, open_regular
from adcli.errors import OptionError, RunError, StorageError, printable
from adcli.runs.find import LAST, new_run_path
from adcli.runs.removing import PLAN_FILE, UNNAMED, finish_removals, list_left, remove_files
from adcli.runs.run import FORMAT, PARTIAL, RUN_FILE, UPDATING_FILE, WEIGHTS_FILE, Run, read_run_file

LOG_FILE = "log.txt"
CHECKPOINTS = "checkpoints"
CHECKPOINT_FILE = "training.safetensors"
"""The one file that checkpoints are written to."""

TRAINING_FILE = "training.csv"
"""The training images that it began with, as in ``images.csv``; gone in a finished run, which has that."""

_OF_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""What safetensors calls a file until it is written."""

_WAIT_SECONDS = 30.0
"""How long a run waits for another to get its name, which takes milliseconds."""


class _TakenError(StorageError):
    """Another run has the name."""


def check_free(final: Path) -> None:
    """Check that a run can become ``final``.

    Raises:
        OptionError: no run can have that name.
        StorageError: something stands in its way, or another process makes a run of that name.
    """
    if final.name.casefold() == LAST:
        raise OptionError(f"{final}: '{LAST}' stands for the run finished last; choose another name.", option="--out")
    folder = _place(final)
    finish_removals(final.parent)
    if os.path.lexists(final):
        raise _TakenError(f"--out {final}: exists already; choose another folder or remove it.")
    if not os.path.lexists(folder):
        return
    holder = Lock(folder / LOCK, final).find_holder()
    if holder:
        raise _TakenError(f"--out {final}: {holder} is making a run of that name; choose another folder.")
    if not os.path.lexists(folder / RUN_FILE):
        raise _TakenError(
            f"--out {final}: files that adcli did not make lie where it would be made; move {folder} away, or choose "
            "another folder."
        )
    raise _TakenError(
        f"--out {final}: an interrupted run of that name lies in {folder}; continue it: "
        f"{_resuming(folder)}; or remove it: {quote('adcli', 'runs', 'rm', folder)}"
    )


def _resuming(folder: Path) -> str:
    return quote("adcli", "train", "--resume", folder)


def _place(final: Path) -> Path:
    """Return where a run is made that will become ``final``."""
    return inside(final.parent, f"{PARTIAL}/{final.name}", StorageError)


class PartialRun:
    """A run that is being made: a folder under ``.partial`` that only this process writes to."""

    def __init__(self, folder: Path, final: Path, lock: Lock) -> None:
        self.folder = folder
        self.final = final
        self._lock = lock
        self._complete = False

    @classmethod
    def create(cls, final: Path, content: Mapping[str, Any]) -> "PartialRun":
        """Start a run that will become ``final``.

        Raises:
            StorageError: something stands there already, or nothing can be written there.
        """
        folder = _place(final)
        # Named when it can be resumed: a process killed before leaves nothing under the run's name.
        with _naming(folder.parent) as unnamed:
            check_free(final)
            lock = Lock(unnamed / LOCK, final)
            lock.acquire()
            try:
                write_atomically(unnamed / RUN_FILE, seal({"format": FORMAT, **content}))
                with storing(final):
                    lock.move(lambda: _system.rename(unnamed, folder), folder / LOCK)
            except BaseException:
                lock.release()
                raise
        return cls(folder, final, lock)

    @classmethod
    def create_named(cls, model: str, data: str, content: Mapping[str, Any]) -> "PartialRun":
        """Start a run with a new name under the folder of runs; raises as :meth:`create`."""
        while True:
            try:
                return cls.create(new_run_path(model, data), content)
            except _TakenError:
                # By a process that started in the same second.
                continue

    @classmethod
    def resume(cls, folder: Path) -> tuple["PartialRun", dict[str, Any]]:
        """Take up an interrupted run; returns it and the content of its ``run.yaml``.

        Raises:
            RunError: another process is at work on it, a link is in it, or a run of its name exists.
        """
        folder = locate(folder)
        final = folder.parent.parent / folder.name
        folder = inside(final.parent, f"{PARTIAL}/{folder.name}")
        _refuse_links(folder)
        lock = Lock(folder / LOCK, folder)
        lock.acquire(wait=1)
        try:
            content = read_run_file(folder / RUN_FILE)
            if os.path.lexists(final):
                raise RunError(
                    f"{final}: exists, so the interrupted run {folder} cannot become it; move one of the two away, and "
                    f"continue: {_resuming(folder)}"
                )
        except BaseException:
            lock.release()
            raise
        _remove_unfinished(folder)
        with contextlib.suppress(OSError):
            # A process was killed that was about to remove the run.
            (folder / PLAN_FILE).unlink()
        return cls(folder, final, lock), content

    def read(self) -> dict[str, Any]:
        """Return the content of its ``run.yaml``."""
        return read_run_file(inside(self.folder, RUN_FILE))

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file of the run, perhaps in a folder of its own."""
        path = inside(self.folder, name)
        with storing(path):
            path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)

    def log(self, text: str, *more: str) -> None:
        """Append a line to the run's log, whatever is in the text, and perhaps more lines, which are indented."""
        path = inside(self.folder, LOG_FILE)
        lines = [
            f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {printable(text)}",
            *(f"    {printable(line)}" for line in more),
        ]
        with storing(path), path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def finish(self) -> Run:
        """Turn the folder into the finished run.

        Raises:
            StorageError: something has the run's name by now; the run stays where it was made.
        """
        self._complete = True
        _remove_checkpoints(self.folder)
        with storing(self.folder):
            _system.remove(self.folder / TRAINING_FILE)
        if os.path.lexists(self.final):
            self._lock.release()
            raise StorageError(
                f"{self.final}: appeared meanwhile, and is left as it is; the run lies complete in {self.folder}: move "
                f"{self.final} away, and give the run its name: {_resuming(self.folder)}"
            )
        with storing(self.final):
            sync_all(self.folder)
            self._lock.move(lambda: _system.rename(self.folder, self.final), self.final / LOCK)
            sync(self.final.parent)
        self._lock.release()
        self._remove_empty_parent()
        return Run.open(self.final)

    def leave(self) -> None:
        """Let another process take the run up."""
        self._lock.release()

    def abandon(self, made: Sequence[str]) -> Sequence[Path]:
        """Remove the run, as nothing in it is worth continuing, and return what is left; one that is complete stays.

        Args:
            made: names of the files in its folder that adcli made.
        """
        left: Sequence[Path] = ()
        if not self._complete:
            try:
                left = remove_files(self.folder, self._lock, made, [CHECKPOINTS])
            except StorageError:
                left = list_left(self.folder)
        self._lock.release()
        self._remove_empty_parent()
        return left

    def _remove_empty_parent(self) -> None:
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # only where no other run is interrupted


@contextlib.contextmanager
def _naming(parent: Path) -> Iterator[Path]:
    """Give a folder to be named, and hold the lock under which runs get their names, so that nobody else uses it."""
    lock, unnamed = Lock(parent / LOCK, parent), parent / UNNAMED
    enter(lock, _WAIT_SECONDS)
    try:
        remove_tree(unnamed)
        with storing(parent):
            unnamed.mkdir()
        yield unnamed
    finally:
        remove_tree(unnamed)
        lock.release()
        with contextlib.suppress(OSError):
            parent.rmdir()


def _refuse_links(folder: Path) -> None:
    """Refuse a run, perhaps somebody else's, that would have this process read or write elsewhere, or wait."""
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise RunError(f"{path}: is a link, and what belongs to {folder} must lie in it; remove it.")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise RunError(f"{path}: is neither a file nor a folder; remove it.")


def _remove_unfinished(folder: Path) -> None:
    for name in list_unfinished(folder):
        with contextlib.suppress(OSError):
            inside(folder, name).unlink()


def list_unfinished(folder: Path) -> list[str]:
    """Return the names of the files in a run's folder that a killed process did not finish."""
    found = list(filter(is_unfinished, folder.rglob(".adcli-*.tmp")))
    for place in (folder, folder / CHECKPOINTS):
        found += [path for path in place.glob(".tmp*") if _OF_SAFETENSORS.fullmatch(path.name) and _is_tensors(path)]
    found += [folder / f".{name}.new" for name in (WEIGHTS_FILE, UPDATING_FILE)]
    found += [folder / CHECKPOINTS / f".{CHECKPOINT_FILE}"]
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _is_tensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors writes it, or is empty as it is at first."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return not start.strip(b"\0") or (len(start) == 9 and start.endswith(b"{") and not any(start[5:8]))


def _remove_checkpoints(folder: Path) -> None:
    """Remove what a run was resumed from, and nothing else that lies beside it."""
    with storing(folder):
        _system.remove(folder / CHECKPOINTS / CHECKPOINT_FILE)
    _remove_unfinished(folder)
    with contextlib.suppress(OSError):
        (folder / CHECKPOINTS).rmdir()
