"""A run that is being made: a folder under ``.partial``, renamed when it is complete."""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adcli._files import publish, seal, storing, write_atomically
from adcli.errors import RunError, StorageError
from adcli.runs.run import FORMAT, PARTIAL, RUN_FILE, Run, _read_run_file

LOG_FILE = "log.txt"
CHECKPOINTS = "checkpoints"
_LOCK_FILE = "lock"


def check_free(final: Path) -> None:
    """Check that a run can become ``final``; raises :class:`StorageError` where something stands in its way."""
    if final.exists():
        raise StorageError(f"--out {final}: exists already; choose another folder or remove it.")
    folder = final.parent / PARTIAL / final.name
    if folder.exists():
        raise StorageError(
            f"--out {final}: an interrupted run of that name lies in {folder}; "
            f"continue it with 'adcli train --resume {folder}', or remove it."
        )


class PartialRun:
    """A run that is being made: a folder under ``.partial`` that only this process writes to."""

    def __init__(self, folder: Path, final: Path) -> None:
        self.folder = folder
        self.final = final
        self._lock = _lock(folder / _LOCK_FILE)
        if self._lock is None:
            raise RunError(f"{folder}: another process is working on this run.")

    @classmethod
    def create(cls, final: Path, content: Mapping[str, Any]) -> "PartialRun":
        """Start a run that will become ``final``.

        Raises:
            StorageError: something stands there already, or nothing can be written there.
        """
        check_free(final)
        folder = final.parent / PARTIAL / final.name
        # Named when it can be resumed: a process killed before leaves nothing under the run's name.
        unnamed = folder.with_name(f".{folder.name}.{os.getpid()}")
        with storing(final):
            unnamed.mkdir(parents=True, exist_ok=True)
            write_atomically(unnamed / RUN_FILE, seal({"format": FORMAT, **content}))
            unnamed.rename(folder)
            return cls(folder, final)

    @classmethod
    def resume(cls, folder: Path) -> tuple["PartialRun", dict[str, Any]]:
        """Take up an interrupted run; returns it and the content of its ``run.yaml``."""
        content = _read_run_file(folder / RUN_FILE)
        final = folder.parent.parent / folder.name
        if final.exists():
            raise RunError(f"{final}: exists, so the interrupted run {folder} cannot become it; remove one of the two.")
        return cls(folder, final), content

    def read(self) -> dict[str, Any]:
        """Return the content of its ``run.yaml``."""
        return _read_run_file(self.folder / RUN_FILE)

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file of the run."""
        write_atomically(self.folder / name, content)

    def log(self, text: str) -> None:
        """Append a line to the run's log."""
        with storing(self.folder / LOG_FILE), (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def finish(self) -> Run:
        """Turn the folder into the finished run."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        self._release()
        publish(self.folder, self.final)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # only where no other run is interrupted
        return Run.open(self.final)

    def abandon(self) -> None:
        """Remove the folder: nothing in it is worth continuing."""
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        (self.folder / _LOCK_FILE).unlink(missing_ok=True)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds an exclusive lock, which the system releases even when the process is killed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows has no flock; two processes on one run are the user's to avoid there
        pass
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
