"""Changing a finished folder, a run or an export: everything that belongs together appears in one step.

A command prepares its files in ``.adcli-changes`` in that folder. Renaming what it prepared to ``committed`` is the
step: before it nothing has changed, and after it the files are moved to their places, by whoever comes next if need be.
A new folder is made in ``.adcli-NAME.making`` beside its place, and renamed.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TypedDict

from adcli import _system
from adcli._artefacts import Artefact, load_json
from adcli._artefacts.declaring import FileName, Ordinal, closed
from adcli._files import list_leftovers, remove_leftovers, remove_tree, storing, sync, sync_all
from adcli._locking import Lock
from adcli.errors import AdcliError, RunError, StorageError, one_line

CHANGES = ".adcli-changes"
LOCK = ".adcli-lock"
_COMMITTED, _STAGED, _PLAN = "committed", "staged", ".plan.json"
_BEGINNING, _MAKING, _NEW, _MARKER = ".adcli-", ".making", "new", ".adcli-making"

_LARGEST_PLAN = 16 << 20

_ATTEMPTS = 100
"""How often a folder is made that others remove."""

_WAIT_SECONDS = 30.0
"""How long a command waits for another to move its files into place, which takes milliseconds."""


@closed
class _Plan(TypedDict):
    removed: list[str]


class _Marker(TypedDict):
    making: FileName
    process: Ordinal


def inside(root: Path, name: str | PurePosixPath, error: type[AdcliError] = RunError) -> Path:
    """Return the path of what belongs to a folder, by its name below it, after making sure that it lies there.

    Raises:
        RunError: the name leads out of the folder, or a link stands at it or on the way to it; or another error.
    """
    path = root
    for part in PurePosixPath(name).parts:
        if _leads_out(part):
            raise error(f"{root}: '{one_line(name)}' does not lie in it.")
        path = path / part
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises if a name is too long
            raise error(f"{path}: is a link, and what belongs to {root} must lie in it; replace it by what it names.")
    return path


@contextlib.contextmanager
def noticing_removal(root: Path, marker: str) -> Iterator[None]:
    """Say of a folder that it is gone, where that is why reading it fails.

    Args:
        root: a run or an export that was opened.
        marker: the file that it has as long as it is one.

    Raises:
        RunError: another command has removed or renamed it meanwhile.
    """
    try:
        yield
    except AdcliError:
        if not (root / marker).exists():
            raise RunError(f"{root}: is gone; another command has just removed or renamed it.") from None
        raise


def _leads_out(part: str) -> bool:
    """Tell whether a part of a name could lead elsewhere, or can name nothing."""
    try:
        os.fsencode(part)
    except UnicodeEncodeError:
        return True
    return part in ("..", "/") or "\\" in part or "\0" in part or (_system.WINDOWS and ":" in part)


@contextlib.contextmanager
def changing(root: Path, target: str, *, marker: str = "", replaced: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty folder; what it holds at the end replaces what has the same names in ``root``, in one step.

    If an error is raised, nothing changes. Two commands never change the same target at once.

    Args:
        root: a finished run or export.
        target: what is changed, such as ``"evaluations/test"``.
        marker: a file that a folder of that name has if it is of the kind that is changed; any other is left alone.
        replaced: names of files that what is new takes the place of: those that it does not have are removed.

    Raises:
        RunError: another process changes the target, or a link leads out of ``root``.
        StorageError: something else has the target's name, or nothing can be written.
    """
    _check_marker(root, target, marker)
    work = inside(root, f"{CHANGES}/{hashlib.sha256(target.encode()).hexdigest()[:16]}")
    working, staged = Lock(work / LOCK, root / target), work / _STAGED
    with _moving(root), _storing(root):
        work.mkdir(parents=True, exist_ok=True)
        working.acquire()
        remove_tree(staged)
        staged.mkdir()
    try:
        yield staged
        _check_marker(root, target, marker)
        _commit(root, staged, replaced)
    finally:
        with contextlib.suppress(RunError, StorageError), _moving(root):
            remove_tree(staged)
            working.release()
            _remove_empty(work, work.parent)
        # Perhaps what was committed is stuck.
        working.release()


def _check_marker(root: Path, target: str, marker: str) -> None:
    final = inside(root, target)
    if marker and final.exists() and not (final / marker).exists():
        raise StorageError(f"{final}: exists, and holds no {marker}, so that it was not made by adcli; move it away.")


@contextlib.contextmanager
def _moving(root: Path) -> Iterator[None]:
    """Hold the lock under which files are moved to their places, after finishing what a killed command left of that."""
    with Lock(inside(root, LOCK), root).held(_WAIT_SECONDS):
        _finish(root)
        remove_leftovers(root)
        yield


@contextlib.contextmanager
def _storing(root: Path) -> Iterator[None]:
    """Turn a failure to write below a folder into one line: perhaps the folder is gone, or is no longer its own."""
    changes = inside(root, CHANGES)
    if os.path.lexists(changes) and not changes.is_dir():
        raise StorageError(f"{changes}: is no folder; remove it.")
    try:
        with storing(root):
            yield
    except StorageError:
        if not root.is_dir():
            raise StorageError(f"{root}: is gone; another command has just removed or renamed it.") from None
        raise


def _commit(root: Path, staged: Path, replaced: Collection[str]) -> None:
    with _storing(root):
        removed = [name for name in replaced if not (staged / name).exists()]
        # What is committed must not get stuck.
        _find_places(root, staged, removed)
        (staged / _PLAN).write_text(json.dumps({"removed": removed}), encoding="utf-8")
        sync_all(staged)
    with _moving(root), _storing(root):
        _system.rename(staged, root / CHANGES / _COMMITTED)
        sync(root / CHANGES)
        _finish(root)


def _find_places(root: Path, folder: Path, removed: Collection[str]) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return what is to be moved, each file with its place, and what is to be removed.

    Raises:
        RunError: a place is not in ``root``, or something that would be moved is no file.
        StorageError: something is in the way.
    """
    moved = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == _PLAN:
            continue
        mode = inside(folder, name).lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise RunError(f"{path}: is neither a file nor a folder.")
        final = _find_place(root, name, folder=stat.S_ISDIR(mode))
        if stat.S_ISREG(mode):
            moved.append((path, final))
    return moved, [_find_place(root, name, folder=False) for name in removed]


def _find_place(root: Path, name: str, *, folder: bool) -> Path:
    """Return the place of a file or folder, which nothing of the other kind has."""
    final = inside(root, name)
    if final == root or {CHANGES, LOCK} & set(PurePosixPath(name).parts):
        raise RunError(f"{root}: '{one_line(name)}' is nothing that a command changes.")
    if final.exists() and final.is_dir() != folder:
        what = "a folder" if final.is_dir() else "a file"
        raise StorageError(f"{final}: is {what}, and stands in the way; move it away.")
    return final


def _finish(root: Path) -> None:
    """Move what was committed to its places; can be broken off at any point, and done again.

    Raises:
        RunError: what was committed is nothing that adcli could have committed, or something is in its way.
        StorageError: it cannot be moved.
    """
    committed = inside(root, f"{CHANGES}/{_COMMITTED}")
    plan = committed / _PLAN
    if os.path.lexists(plan):
        moved, removed = _read_plan(root, plan)
        try:
            for path, final in moved:
                final.parent.mkdir(parents=True, exist_ok=True)
                _system.replace(path, final)
            for path in removed:
                _system.remove(path)
            sync(root)
            _system.remove(plan)
        except OSError as error:
            stuck = f"{error.filename}: " if error.filename else ""
            raise StorageError(f"{plan}: cannot be carried out ({stuck}{error.strerror or error}).") from None
    if committed.is_dir():
        remove_tree(committed)
    elif os.path.lexists(committed):
        raise RunError(f"{committed}: is no folder; remove {root / CHANGES}.")


def _read_plan(root: Path, plan: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return what a plan moves and removes, after making sure that all of it lies in the folder."""
    try:
        content = load_json(Artefact(plan, RunError), _Plan, _LARGEST_PLAN)
        return _find_places(root, plan.parent, content["removed"])
    except (OSError, RunError, StorageError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise RunError(
            f"{plan}: cannot be carried out ({one_line(reason)}); put that right, or remove {root / CHANGES}."
        ) from None


def settle(root: Path) -> None:
    """Finish what a killed command had committed, and remove what it left; if that cannot be written, it stays.

    Raises:
        RunError: something committed cannot be finished, so that the folder is neither old nor new; a link leads out
            of it; or another process holds on to it.
    """
    changes = inside(root, CHANGES)
    if not (os.path.lexists(changes) or os.path.lexists(root / LOCK) or list_leftovers(root)):
        return
    try:
        with _moving(root):
            found = list(changes.iterdir()) if changes.is_dir() else []
            for work in [path for path in found if path.is_dir() and not path.is_symlink()]:
                _remove_dead(work, root, _STAGED)
            _remove_empty(changes)
    except (OSError, StorageError) as error:
        # Without a plan, nothing has changed, and what is on a medium that cannot be written may stay there.
        if os.path.lexists(inside(root, f"{CHANGES}/{_COMMITTED}/{_PLAN}")):
            reason = str(error).rstrip(".")
            raise RunError(
                f"{root}: an earlier command was killed while it changed this, and that cannot be finished: "
                f"{one_line(reason)}; make it writable and run any command on it, or copy it to where you may write."
            ) from None


def _remove_dead(work: Path, what: Path, name: str) -> None:
    """Remove what a command prepared that no longer runs."""
    lock = Lock(work / LOCK, what)
    if lock.try_acquire():
        remove_tree(work / name)
        lock.release()
        _remove_empty(work)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def holding(root: Path, *, removing: bool = False) -> Iterator[Lock]:
    """Hold a whole folder, so that no other command changes anything in it; gives the lock, to be moved with it.

    Args:
        root: the folder.
        removing: it is to be removed, so that what cannot be finished of what was committed is dropped.

    Raises:
        RunError: another process is at work in it, or a link leads out of it.
        StorageError: it cannot be written.
    """
    lock = Lock(inside(root, LOCK), root)
    with lock.held():
        try:
            _finish(root)
        except (RunError, StorageError):
            if not removing:
                raise
            remove_tree(inside(root, CHANGES) / _COMMITTED)
        remove_leftovers(root)
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
    work = _work_of(final)
    try:
        with _working(work, final):
            yield work / _NEW
            with storing(final):
                sync_all(work / _NEW)
                give_name(work / _NEW, final)
                sync(final.parent)
    except BaseException:
        _remove_empty(*made)
        raise


def _work_of(final: Path) -> Path:
    return final.with_name(f"{_BEGINNING}{final.name}{_MAKING}")


@contextlib.contextmanager
def _working(work: Path, final: Path) -> Iterator[None]:
    """Hold the lock of a folder in which another is made, and remove it at the end."""
    clean_beside(final)
    lock = Lock(work / LOCK, final)
    enter(lock)
    try:
        _begin(work, final)
        yield
    finally:
        _remove_work(work, lock)


def _begin(work: Path, final: Path) -> None:
    """Make the new folder, after the marker without which nothing is ever removed."""
    if os.path.lexists(work / _NEW) and not _is_marked(work):
        raise StorageError(f"{work}: exists, and was not made by adcli; move it away.")
    with storing(final):
        remove_tree(work / _NEW)
        (work / _MARKER).write_text(json.dumps({"making": final.name, "process": os.getpid()}), encoding="utf-8")
        sync(work / _MARKER)
        (work / _NEW).mkdir()


def clean_beside(final: Path) -> None:
    """Remove what killed commands left that made folders beside ``final``, or ``final`` itself; never raises."""
    if not final.name:
        return
    with contextlib.suppress(OSError, StorageError):
        left = [path for path in final.parent.glob(f"{_BEGINNING}*{_MAKING}") if _is_marked(path)]
        for work in [*left, *([_work_of(final)] if _is_begun(_work_of(final)) else [])]:
            lock = Lock(work / LOCK, final)
            if lock.try_acquire():
                _remove_work(work, lock)


def _remove_work(work: Path, lock: Lock) -> None:
    """Remove a folder in which another was made; what adcli did not make in it stays."""
    if _is_marked(work):
        remove_tree(work / _NEW)
    if not os.path.lexists(work / _NEW):
        with contextlib.suppress(OSError):
            (work / _MARKER).unlink()
    lock.release()
    _remove_empty(work)


def _is_begun(work: Path) -> bool:
    """Tell whether a folder has what a command makes first, and nothing else."""
    return _is_folder(work) and {path.name for path in work.iterdir()} <= {LOCK, _MARKER}


def _is_marked(work: Path) -> bool:
    """Tell whether adcli wrote into a folder that it makes another in it."""
    try:
        marker = load_json(Artefact(work / _MARKER, RunError), _Marker)
        wanted = work.name == _work_of(work.with_name(marker["making"])).name
        return wanted and _is_folder(work) and {path.name for path in work.iterdir()} <= {LOCK, _MARKER, _NEW}
    except (OSError, RunError):
        return False


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


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
            _system.rename(new, final)
        except OSError:
            if not os.path.lexists(final):
                raise
        else:
            return
    number = 2
    while os.path.lexists(other := final.with_name(f"{final.name}-{number}")):
        number += 1
    _system.rename(new, other)
    raise StorageError(f"{final}: appeared meanwhile, and is left as it is; the finished result lies in {other}.")
