"""Windows as far as its files go, on Linux: what is open is held, folders are not synced, locks are msvcrt's."""

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adcli import _system


def open_paths() -> list[str]:
    """Return the paths that this process has open."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    return found


def refuse_held(root: Path, *paths: Any) -> None:
    """Raise what Windows does for a file that is open, or a folder that one is in, below a folder."""
    held = open_paths()
    for path in map(os.path.abspath, paths):
        if Path(path).is_relative_to(root) and any(other == path or other.startswith(path + os.sep) for other in held):
            raise PermissionError(errno.EACCES, "The process cannot access the file", path)


def locking(descriptor: int, mode: int, count: int) -> None:
    """Lock bytes from where a file is; only what lies behind its content may be locked, or nobody could read it."""
    assert (mode, count) == (1, 1)
    assert os.lseek(descriptor, 0, os.SEEK_CUR) > os.fstat(descriptor).st_size
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def simulate(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Have the core work as on Windows below a folder, until the patch is undone."""
    real = {name: getattr(os, name) for name in ("replace", "rename", "unlink", "remove", "open", "fsync")}

    def replace(source: Any, target: Any, **more: Any) -> None:
        refuse_held(root, source, target)
        real["replace"](source, target, **more)

    def rename(source: Any, target: Any, **more: Any) -> None:
        refuse_held(root, source)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "File exists", str(target))
        real["rename"](source, target, **more)

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        if dir_fd is None:
            refuse_held(root, path)
        real["unlink"](path, dir_fd=dir_fd)

    def open_file(path: Any, flags: int, *more: Any, **others: Any) -> int:
        inside = "dir_fd" not in others and not isinstance(path, int) and Path(path).absolute().is_relative_to(root)
        if inside and Path(path).is_dir() and sys._getframe(1).f_globals["__name__"] != "shutil":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return int(real["open"](path, flags, *more, **others))

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real["fsync"](descriptor)

    msvcrt = ModuleType("msvcrt")
    msvcrt.locking, msvcrt.LK_NBLCK = locking, 1  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "msvcrt", msvcrt)
    patch.setitem(sys.modules, "fcntl", None)
    patch.setattr(_system, "WINDOWS", True)
    patch.setattr(_system, "HELD_SECONDS", 0.4)
    for name, function in (("replace", replace), ("rename", rename), ("unlink", unlink), ("remove", unlink)):
        patch.setattr(os, name, function)
    patch.setattr(os, "open", open_file)
    patch.setattr(os, "fsync", fsync)
