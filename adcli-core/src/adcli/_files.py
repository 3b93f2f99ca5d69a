"""Files that are whole or not there: written atomically, sealed with a digest, published by renaming."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from adcli.errors import AdcliError, RunError, StorageError

_DIGEST = "digest: "


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


@contextlib.contextmanager
def writing_lines(path: Path) -> Iterator[Callable[[str], object]]:
    """Give a function that writes text to a file, which has its name once everything is written, or is not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("w", encoding="utf-8", newline="")
        with file:
            yield file.write
            with storing(path):
                file.flush()
                os.fsync(file.fileno())
        with storing(path):
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


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


def sync(path: Path) -> None:
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
            sync(path)
        retired = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(retired)
        temporary.rename(final)
        sync(final.parent)
        shutil.rmtree(retired, ignore_errors=True)
