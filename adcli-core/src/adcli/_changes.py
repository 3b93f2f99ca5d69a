"""Changing a finished folder, a run or an export: everything that belongs together appears in one step.

A command prepares its files in ``.changes`` in that folder. Renaming what it prepared to ``.changes/committed`` is the
step: before it nothing has changed, and after it the files are moved to their places, by whoever comes next if need be.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from adcli._files import storing, sync
from adcli._locking import Lock
from adcli.errors import RunError, StorageError

CHANGES = ".changes"
_COMMITTED, _STAGED, _LOCK, _PLAN = "committed", "staged", ".lock", ".plan.json"

_WAIT_SECONDS = 30.0
"""How long a command waits for another to move its files into place, which takes milliseconds."""


def inside(root: Path, name: str | PurePosixPath) -> Path:
    """Return the path of what belongs to a folder, by its name below it, after making sure that it lies there.

    Raises:
        RunError: the name leads out of the folder, or a link stands at it or on the way to it.
    """
    path = root
    for part in PurePosixPath(name).parts:
        if part in ("..", "/") or "\\" in part:
            raise RunError(f"{root}: '{name}' does not lie in it.")
        path = path / part
        if path.is_symlink():
            raise RunError(
                f"{path}: is a link, and what belongs to {root} must lie in it; replace it by what it names."
            )
    return path


@contextlib.contextmanager
def changing(root: Path, target: str, *, marker: str = "") -> Iterator[Path]:
    """Give an empty folder; what it holds at the end replaces what has the same names in ``root``, in one step.

    If an error is raised, nothing changes. Two commands never change the same target at once.

    Args:
        root: a finished run or export.
        target: what is changed, such as ``"evaluations/test"``; a folder of that name is replaced as a whole.
        marker: a file that such a folder has if it is of the kind that is replaced; any other is left alone.

    Raises:
        RunError: another process changes the target, or a link leads out of ``root``.
        StorageError: something else has the target's name, or nothing can be written.
    """
    work = inside(root, CHANGES) / hashlib.sha256(target.encode()).hexdigest()[:16]
    working, staged = Lock(work / _LOCK, root / target), work / _STAGED
    with _moving(root), storing(root):
        work.mkdir(parents=True, exist_ok=True)
        working.acquire()
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
    try:
        yield staged
        _commit(root, staged, target, marker)
    finally:
        with contextlib.suppress(RunError, StorageError), _moving(root):
            shutil.rmtree(staged, ignore_errors=True)
            working.release()
            _remove_empty(work, work.parent)


@contextlib.contextmanager
def _moving(root: Path) -> Iterator[None]:
    """Hold the lock under which files are moved to their places, after finishing what a killed command left of that."""
    with Lock(inside(root, _LOCK), root).held(_WAIT_SECONDS):
        with storing(root):
            _finish(root)
        yield


def _commit(root: Path, staged: Path, target: str, marker: str) -> None:
    final = inside(root, target)
    if marker and final.exists() and not (final / marker).exists():
        raise StorageError(f"{final}: exists, and holds no {marker}, so that it was not made by adcli; move it away.")
    whole = [target] if (staged / target).is_dir() else []
    with storing(root):
        (staged / _PLAN).write_text(json.dumps(whole), encoding="utf-8")
        for path in [*staged.rglob("*"), staged]:
            sync(path)
    with _moving(root), storing(root):
        staged.rename(root / CHANGES / _COMMITTED)
        sync(root / CHANGES)
        _finish(root)


def _finish(root: Path) -> None:
    """Move what was committed to its places; can be broken off at any point, and done again."""
    committed, old = root / CHANGES / _COMMITTED, root / CHANGES / "old"
    if (committed / _PLAN).is_file():
        for name in json.loads((committed / _PLAN).read_text(encoding="utf-8")):
            if (committed / name).is_dir():
                _replace_folder(committed / name, inside(root, name), old)
        for path in sorted(committed.rglob("*")):
            if path.is_file() and path.name != _PLAN:
                final = inside(root, path.relative_to(committed).as_posix())
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
        sync(root)
        (committed / _PLAN).unlink()
    for left in (committed, old):
        shutil.rmtree(left, ignore_errors=True)


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
    if not (changes.is_dir() or inside(root, _LOCK).exists()):
        return
    try:
        with _moving(root):
            found = list(changes.iterdir()) if changes.is_dir() else []
            for work in [path for path in found if path.is_dir() and not path.is_symlink()]:
                _remove_dead(work, root)
            _remove_empty(changes)
    except (OSError, StorageError):
        # On a medium that cannot be written, there is nothing that this process could settle.
        return


def _remove_dead(work: Path, root: Path) -> None:
    """Remove what a command prepared that no longer runs."""
    lock = Lock(work / _LOCK, root)
    if lock.try_acquire():
        shutil.rmtree(work / _STAGED, ignore_errors=True)
        lock.release()
        _remove_empty(work)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
