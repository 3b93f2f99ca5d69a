"""The run folder: written under ``.partial``, renamed when complete, verified when read."""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adcli.calibration import Calibration
from adcli.errors import AdcliError, RunError, StorageError

FORMAT = 1
PARTIAL = ".partial"
RUN_FILE = "run.yaml"
WEIGHTS_FILE = "model.safetensors"
CALIBRATION_FILE = "calibration.json"
LOG_FILE = "log.txt"
CHECKPOINTS = "checkpoints"
_LOCK_FILE = "lock"
_DIGEST = "digest: "


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        settings: the settings of :class:`adcli.settings.TrainSettings`, complete, as plain values.
        record: what happened: versions, digests, counts, timings.
        calibration: threshold and p-values.
    """

    path: Path
    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    calibration: Calibration

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Read a run folder; everything but the weights is verified here.

        Raises:
            RunError: it is no finished run, comes from a newer core, or was changed since.
        """
        content = _read_run_file(path / RUN_FILE)
        if "weights" not in content.get("record", {}):
            raise RunError(f"{path}: the run was not finished; continue it with 'adcli train --resume {path.name}'.")
        settings = {key: value for key, value in content.items() if key not in ("format", "record", "digest")}
        return cls(path, settings, content["record"], _read_calibration(path / CALIBRATION_FILE))

    def verified_weights(self) -> Path:
        """Return the path of the weights after comparing them with their digest."""
        path = self.path / WEIGHTS_FILE
        try:
            digest = file_digest(path)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}); copy the whole run folder again.") from None
        if digest != self.record["weights"]:
            raise RunError(f"{path}: was changed or damaged since the run (its digest differs); restore it or retrain.")
        return path


def _read_run_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no run folder (it has no {RUN_FILE}).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())}).") from None
    content = unseal(text, path)
    if content.get("format", 0) > FORMAT:
        core = content.get("record", {}).get("core", "a newer version")
        raise RunError(f"{path}: was written by adcli-core {core}, newer than this one; upgrade adcli-core to read it.")
    return content


def _read_calibration(path: Path) -> Calibration:
    try:
        return Calibration.from_json(path.read_text(encoding="utf-8"), source=path)
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())}).") from None


def seal(content: Mapping[str, Any]) -> str:
    """Return YAML that ends with the digest of all before it."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return f"{text}{_DIGEST}{hashlib.sha256(text.encode()).hexdigest()}\n"


def unseal(text: str, path: Path, error: type[AdcliError] = RunError) -> dict[str, Any]:
    """Return the content of YAML that :func:`seal` wrote; raises ``error`` naming the file if it was changed since."""
    changed = error(f"{path}: was changed or damaged since it was written (its digest differs).")
    body, found, digest = text.rpartition(_DIGEST)
    if not found or hashlib.sha256(body.encode()).hexdigest() != digest.rstrip("\n"):
        raise changed
    content = yaml.safe_load(body)
    if not isinstance(content, dict):
        raise changed
    return content


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a :class:`StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --out."
        ) from None


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that its name never stands for half of it."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with storing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    """Have the system write a file or the entries of a folder to disk, where it can."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Give a complete folder its name, replacing a folder of that name; both lie on one file system."""
    with storing(final):
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        retired = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(retired)
        temporary.rename(final)
        _sync(final.parent)
        shutil.rmtree(retired, ignore_errors=True)


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
