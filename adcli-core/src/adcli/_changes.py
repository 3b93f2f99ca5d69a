"""Changing a finished folder, a run or an export: everything that belongs together appears in one step.

A command prepares its files in ``.adcli-changes`` in that folder. Renaming what it prepared to ``committed`` is the
step: before it nothing has changed, and after it the files are moved to their places, by whoever comes next if need be.
A new folder is made in ``.NAME.making`` beside its place, and renamed.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from adcli._files import storing, sync, sync_all
from adcli._locking import Lock
from adcli.errors import AdcliError, RunError, StorageError, one_line

CHANGES = ".adcli-changes"
LOCK = ".adcli-lock"
_COMMITTED, _STAGED, _PLAN = "committed", "staged", ".plan.json"
_MAKING, _NEW = ".making", "new"

_ATTEMPTS = 100
"""How often a folder is made that others remove."""

_WAIT_SECONDS = 30.0
"""How long a command waits for another to move its files into place, which takes milliseconds."""


def inside(root: Path, name: str | PurePosixPath, error: type[AdcliError] = RunError) -> Path:
    """Return the path of what belongs to a folder, by its name below it, after making sure that it lies there.

    Raises:
        RunError: the name leads out of the folder, or a link stands at it or on the way to it; or another error.
    """
    path = root
    for part in PurePosixPath(name).parts:
        if part in ("..", "/") or "\\" in part or "\0" in part or (os.name == "nt" and ":" in part):
            raise error(f"{root}: '{one_line(name)}' does not lie in it.")
        path = path / part
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises if a name is too long
            raise error(f"{path}: is a link, and what belongs to {root} must lie in it; replace it by what it names.")
    return path


@contextlib.contextmanager
def changing(
    root: Path, target: str, *, marker: str = "", whole: bool = False, replaced: Collection[str] = ()
) -> Iterator[Path]:
    """Give an empty folder; what it holds at the end replaces what has the same names in ``root``, in one step.

    If an error is raised, nothing changes. Two commands never change the same target at once.

    Args:
        root: a finished run or export.
        target: what is changed, such as ``"evaluations/test"``.
        marker: a file that a folder of that name has if it is of the kind that is changed; any other is left alone.
        whole: the target is a folder that is replaced with all in it, rather than file by file.
        replaced: names of files that what is new takes the place of: those that it does not have are removed.

    Raises:
        RunError: another process changes the target, or a link leads out of ``root``.
        StorageError: something else has the target's name, or nothing can be written.
    """
    _check_marker(root, target, marker)
    work = inside(root, f"{CHANGES}/{hashlib.sha256(target.encode()).hexdigest()[:16]}")
    working, staged = Lock(work / LOCK, root / target), work / _STAGED
    with _moving(root), storing(root):
        work.mkdir(parents=True, exist_ok=True)
        working.acquire()
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
    try:
        yield staged
        _check_marker(root, target, marker)
        _commit(root, staged, [target] if whole else [], replaced)
    finally:
        with contextlib.suppress(RunError, StorageError), _moving(root):
            shutil.rmtree(staged, ignore_errors=True)
            working.release()
            _remove_empty(work, work.parent)


def _check_marker(root: Path, target: str, marker: str) -> None:
    final = inside(root, target)
    if marker and final.exists() and not (final / marker).exists():
        raise StorageError(f"{final}: exists, and holds no {marker}, so that it was not made by adcli; move it away.")


@contextlib.contextmanager
def _moving(root: Path) -> Iterator[None]:
    """Hold the lock under which files are moved to their places, after finishing what a killed command left of that."""
    with Lock(inside(root, LOCK), root).held(_WAIT_SECONDS):
        with storing(root):
            _finish(root)
        yield


def _commit(root: Path, staged: Path, whole: Collection[str], replaced: Collection[str]) -> None:
    with storing(root):
        removed = [name for name in replaced if not (staged / name).exists()]
        (staged / _PLAN).write_text(json.dumps({"whole": list(whole), "removed": removed}), encoding="utf-8")
        _check_places(root, staged, removed)
        sync_all(staged)
    with _moving(root), storing(root):
        staged.rename(root / CHANGES / _COMMITTED)
        sync(root / CHANGES)
        _finish(root)


def _check_places(root: Path, staged: Path, removed: Collection[str]) -> None:
    """Make sure that everything can be moved to its place: what is committed must not get stuck."""
    for name in removed:
        inside(root, name)
    for path in staged.rglob("*"):
        final = inside(root, path.relative_to(staged).as_posix())
        if final.exists() and final.is_dir() != path.is_dir():
            what = "a folder" if final.is_dir() else "a file"
            raise StorageError(f"{final}: is {what}, and stands in the way; move it away.")


def _finish(root: Path) -> None:
    """Move what was committed to its places; can be broken off at any point, and done again."""
    committed, old = inside(root, f"{CHANGES}/{_COMMITTED}"), inside(root, f"{CHANGES}/old")
    if (committed / _PLAN).is_file():
        whole, removed = _read_plan(committed / _PLAN)
        for name in whole:
            if (committed / name).is_dir():
                _replace_folder(committed / name, inside(root, name), old)
        for path in sorted(committed.rglob("*")):
            if path.is_file() and path.name != _PLAN:
                final = inside(root, path.relative_to(committed).as_posix())
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
        for name in removed:
            inside(root, name).unlink(missing_ok=True)
        sync(root)
        (committed / _PLAN).unlink()
    for left in (committed, old):
        shutil.rmtree(left, ignore_errors=True)


def _read_plan(path: Path) -> tuple[list[str], list[str]]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        return [str(name) for name in plan["whole"]], [str(name) for name in plan["removed"]]
    except (ValueError, TypeError, KeyError):
        raise RunError(f"{path}: is damaged; remove {path.parent}.") from None


def _replace_folder(new: Path, final: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    final.parent.mkdir(parents=True, exist_ok=True)
    new.rename(final)
    sync(final.parent)


def settle(root: Path) -> None:
    """Finish what a killed command had committed, and remove what it left; does nothing if that cannot be written.

    Raises:
        RunError: a link leads out of the folder, or another process holds on to it.
    """
    changes = inside(root, CHANGES)
    if not (changes.is_dir() or inside(root, LOCK).exists()):
        return
    try:
        with _moving(root):
            found = list(changes.iterdir()) if changes.is_dir() else []
            for work in [path for path in found if path.is_dir() and not path.is_symlink()]:
                _remove_dead(work, root, _STAGED)
            _remove_empty(changes)
    except (OSError, StorageError):
        # On a medium that cannot be written, there is nothing that this process could settle.
        return


def _remove_dead(work: Path, what: Path, name: str) -> None:
    """Remove what a command prepared that no longer runs."""
    lock = Lock(work / LOCK, what)
    if lock.try_acquire():
        shutil.rmtree(work / name, ignore_errors=True)
        lock.release()
        _remove_empty(work)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def holding(root: Path) -> Iterator[Lock]:
    """Hold a whole folder, so that no other command changes anything in it; gives the lock, to be moved with it.

    Raises:
        RunError: another process is at work in it, or a link leads out of it.
        StorageError: it cannot be written.
    """
    lock = Lock(inside(root, LOCK), root)
    with lock.held():
        with storing(root):
            _finish(root)
        for path in [path for path in root.rglob(LOCK) if path != lock.path]:
            holder = Lock(path, root).find_holder()
            if holder:
                raise RunError(f"{root}: {holder} is at work on it; wait until that ends.")
        yield lock


@contextlib.contextmanager
def making(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``final`` at the end; nothing that exists is replaced.

    If an error is raised, nothing is left behind. What killed commands left beside ``final`` is removed.

    Raises:
        RunError: another process makes a folder of that name.
        StorageError: something has that name by the end, when the message says where the result lies; or nothing can
            be written.
    """
    made = [folder for folder in final.parents if not folder.exists()]
    work = final.with_name(f".{final.name}{_MAKING}")
    try:
        with _working(work, final):
            with storing(final):
                shutil.rmtree(work / _NEW, ignore_errors=True)
                (work / _NEW).mkdir()
            yield work / _NEW
            with storing(final):
                sync_all(work / _NEW)
                give_name(work / _NEW, final)
                sync(final.parent)
    except BaseException:
        _remove_empty(*made)
        raise


@contextlib.contextmanager
def _working(work: Path, final: Path) -> Iterator[None]:
    """Hold the lock of a folder in which another is made, and remove it at the end."""
    with contextlib.suppress(OSError, StorageError):
        for left in [path for path in final.parent.glob(f".*{_MAKING}") if _is_work(path)]:
            _remove_dead(left, final, _NEW)
    lock = Lock(work / LOCK, final)
    enter(lock)
    try:
        yield
    finally:
        shutil.rmtree(work / _NEW, ignore_errors=True)
        lock.release()
        _remove_empty(work)


def _is_work(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and {item.name for item in path.iterdir()} <= {LOCK, _NEW}


def enter(lock: Lock, wait: float = 1) -> None:
    """Take a lock in a folder that is made if need be, and that whoever held the lock last may just be removing.

    Raises:
        RunError: another process holds it.
        StorageError: the folder cannot be made.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with storing(lock.path.parent):
                lock.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(wait)
        except StorageError:
            if attempt == _ATTEMPTS - 1 or lock.path.parent.exists():
                raise
        else:
            return


def give_name(new: Path, final: Path) -> None:
    """Rename a folder that is complete, unless something has that name by now.

    Raises:
        StorageError: something has; the folder is renamed to one beside, which the message names.
    """
    if not os.path.lexists(final):
        try:
            new.rename(final)
        except OSError:
            if not os.path.lexists(final):
                raise
        else:
            return
    number = 2
    while os.path.lexists(other := final.with_name(f"{final.name}-{number}")):
        number += 1
    new.rename(other)
    raise StorageError(f"{final}: appeared meanwhile, and is left as it is; the finished result lies in {other}.")
