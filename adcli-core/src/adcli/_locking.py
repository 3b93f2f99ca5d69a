"""One process at a time: locks on files, which the system releases even if their holder is killed."""

import contextlib
import errno
import json
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from adcli import _system
from adcli.errors import RunError, StorageError, one_line

_POLL_SECONDS = 0.05
_LONGEST = 4096
"""Bytes that are read of who holds a lock."""
_NO_LOCK = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What a system answers if a folder, a link or something else that is no file has the name of a lock."""

_LOCKED_BYTE = 1 << 30

_HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
"""What a system answers if another holds a lock."""


class Lock:
    """An exclusive lock on a file that is there while the lock is held; a killed holder leaves a file without a lock.

    Args:
        path: the file; its folder must exist, and it must not be a link.
        what: what it protects, for messages.
    """

    def __init__(self, path: Path, what: Path) -> None:
        self.path, self.what = path, what
        self._descriptor: int | None = None

    def acquire(self, wait: float = 0) -> None:
        """Take the lock.

        Args:
            wait: seconds to wait for another holder.

        Raises:
            RunError: another process holds it; the message says which.
            StorageError: the file cannot be written.
        """
        end = time.monotonic() + wait
        while not self.try_acquire():
            if time.monotonic() >= end:
                raise RunError(f"{self.what}: {_describe_holder(self.path)} is at work on it; wait until that ends.")
            time.sleep(_POLL_SECONDS)

    def try_acquire(self) -> bool:
        """Take the lock unless another process holds it; raises :class:`StorageError` if it cannot be written."""
        try:
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            folder = self.path.parent
            raise StorageError(f"{folder}: is gone; another command has just removed or renamed it.") from None
        except OSError as error:
            remedy = "; remove it" if error.errno in _NO_LOCK else ""
            raise StorageError(f"cannot write {self.path}: {error.strerror}{remedy}.") from None
        try:
            if not (lock_file(descriptor, self.path) and self._is_same(descriptor)):
                os.close(descriptor)
                return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        try:
            _write_self(descriptor)
        except BaseException:
            self.release()
            raise
        return True

    def find_holder(self) -> str:
        """Return which other process holds the lock, in words; nothing if none does."""
        try:
            descriptor = open_regular(self.path, os.O_RDWR)
        except OSError:
            return ""
        try:
            free = self._descriptor is not None or lock_file(descriptor, self.path)
            return "" if free else _describe_holder(self.path)
        finally:
            os.close(descriptor)

    def _is_same(self, descriptor: int) -> bool:
        """Tell whether the file still has its name: whoever held the lock before removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat(follow_symlinks=False))
        except OSError:
            return False

    def release(self) -> None:
        """Remove the file, and let the lock go."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if _system.WINDOWS:
            # What is open cannot be removed there, not even by whoever has it open.
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if not _system.WINDOWS:
            os.close(descriptor)

    def move(self, rename: Callable[[], object], path: Path) -> None:
        """Rename the folder of a lock that is held, which is then held at ``path``."""
        if _system.WINDOWS:
            # A folder with an open file is not renamed there.
            self.release()
        rename()
        self.path = path

    @contextlib.contextmanager
    def held(self, wait: float = 0) -> Iterator[None]:
        """Hold the lock; raises as :meth:`acquire`."""
        self.acquire(wait)
        try:
            yield
        finally:
            self.release()


def _write_self(descriptor: int) -> None:
    """Write who holds a lock into its file; a full disk does not keep anybody from holding it."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(_describe_self()).encode())


def _describe_self() -> dict[str, object]:
    name = Path(sys.argv[0]).name
    command = ["adcli" if name in ("__main__.py", "adcli") else name, *sys.argv[1:]]
    return {
        "command": shlex.join(command),
        "process": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%H:%M:%S"),
    }


def _describe_holder(path: Path) -> str:
    """Return who holds a lock, as far as that can be read."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            holder = json.loads(file.read(_LONGEST))
        words = f"'{one_line(holder['command'])}' (process {int(holder['process'])}"
        host = "" if holder["host"] == platform.node() else f" on {one_line(holder['host'])}"
        return f"{words}{host}, since {one_line(holder['since'])})"
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return "another process"


def open_regular(path: Path, flags: int, *, follow: bool = False) -> int:
    """Open a file as :func:`os.open` does, but no link and nothing that is no file, such as a pipe, never waiting.

    Args:
        path: the file.
        flags: as of :func:`os.open`.
        follow: let a link stand for its file.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    wanted = ("O_NONBLOCK", "O_BINARY") if follow else ("O_NONBLOCK", "O_BINARY", "O_NOFOLLOW")
    for name in wanted:
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Is no file, but a folder, a pipe or a device", str(path))
    return descriptor


def lock_file(descriptor: int, path: Path) -> bool:
    """Lock an open file unless another has it locked; closing it, or the end of the process, lets it go.

    Raises:
        StorageError: its file system has no locks.
    """
    try:
        _lock_on_windows(descriptor) if _system.WINDOWS else _lock_elsewhere(descriptor)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise StorageError(
            f"{path}: cannot be locked ({error.strerror}); choose a place on a file system that has locks."
        ) from None
    return True


def _lock_elsewhere(descriptor: int) -> None:
    fcntl: Any = import_module("fcntl")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_on_windows(descriptor: int) -> None:
    """Lock a byte behind all that is written: what is locked there, nobody else can read."""
    msvcrt: Any = import_module("msvcrt")
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
