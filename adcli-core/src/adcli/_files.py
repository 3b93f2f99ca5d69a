"""Files that are whole or not there: written atomically, sealed with a digest."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from adcli import _system
from adcli._locking import lock_file, open_regular
from adcli.errors import AdcliError, StorageError

DIGEST = "digest: "
"""What the last line of a sealed file begins with."""

LARGEST = 256 << 20
"""Bytes of the largest file that is read into memory: a calibration on a million images has less."""

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)
"""What a system answers that cannot write a folder to disk."""

_REMEDIES = {
    errno.EBUSY: "close it there, and run this again",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space, or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place where you may write"),
}


def cache_folder() -> Path:
    """Return the folder of what can be made again: ``ADCLI_CACHE``, else ``adcli`` in the system's cache folder."""
    if "ADCLI_CACHE" in os.environ:
        return Path(os.environ["ADCLI_CACHE"])
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adcli"


def read_state(path: Path, largest: int = LARGEST) -> str:
    """Return the text of a file that adcli wrote, if it may be such: UTF-8, and as :func:`read_bytes`."""
    try:
        return read_bytes(path, largest).decode()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "Is no UTF-8 text", str(path)) from None


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a file that is one, no link, and of bounded size.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        OSError: it is none, or cannot be read; ``strerror`` says why.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        # It may grow while it is read.
        content = file.read(largest + 1) if size <= largest else b""
        if max(size, len(content)) > largest:
            raise OSError(errno.EFBIG, f"Is larger than {largest >> 10} KiB", str(path))
    return content


def seal(content: Mapping[str, Any]) -> str:
    """Return YAML that ends with the digest of all before it."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes no aliases, which nobody reads, and escapes what a reader would take for the end of a line."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> yaml.ScalarNode:
            return self.represent_scalar("tag:yaml.org,2002:str", data, None if data.isprintable() else '"')

    Plain.add_representer(str, Plain.represent_str)

    text = yaml.dump(dict(content), Dumper=Plain, sort_keys=False, allow_unicode=True)
    return f"{text}{DIGEST}{hashlib.sha256(text.encode()).hexdigest()}\n"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_text(path: str | Path) -> bool:
    """Tell whether a path is text, as most libraries want it; on Linux it may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def named_in_text(path: Path) -> Iterator[Path]:
    """Give a file a path that is text, if its own is not, for as long as it is read."""
    if is_text(path):
        yield path
        return
    descriptor = open_regular(path, os.O_RDONLY, follow=True)
    try:
        yield Path(f"/dev/fd/{descriptor}")
    finally:
        os.close(descriptor)


def exists(path: str | Path) -> bool:
    """Tell whether there is such a file or folder; a name that none can have, such as a very long one, has none."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists() raises an error for such a name


def is_folder(path: str | Path) -> bool:
    """Tell whether there is such a folder; see :func:`exists`."""
    return os.path.isdir(path)  # noqa: PTH112


def find_shut(path: str | Path) -> Path:
    """Return the first folder above a path that may not be entered; the path if all may, or if one is not there."""
    path = Path(path)
    for folder in reversed(path.parents):
        try:
            os.stat(os.path.join(folder, os.curdir))  # noqa: PTH116, PTH118 - a Path would drop the dot
        except PermissionError:
            return folder
        except (OSError, ValueError):
            break
    return path


def check_reachable(path: str | Path, error: Callable[[str], AdcliError]) -> None:
    """Raise an error if the system refuses to say whether there is such a file or folder; it names what is shut."""
    try:
        os.stat(path)  # noqa: PTH116 - as in :func:`exists`
    except PermissionError as refused:
        raise error(f"{find_shut(path)}: cannot be read ({refused.strerror}).") from None
    except (OSError, ValueError):
        # That it is not there, or cannot be, is for the caller to say.
        return


def named(path: Path) -> Path:
    """Return a path of the same folder that ends with its name: for ``.`` and ``..`` that of the real folder.

    Raises:
        StorageError: the current folder is gone.
    """
    if path.name not in ("", ".."):
        return path
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError:
        raise StorageError(f"{path}: the current folder is gone; change to another.") from None


def locate(path: Path) -> Path:
    """Return the absolute path of a folder that may be renamed or removed, without ``..``; it may itself be a link.

    Raises:
        StorageError: the current folder is gone.
    """
    path = named(path)
    try:
        return Path(os.path.realpath(path.parent)) / path.name if ".." in path.parts else path.absolute()
    except FileNotFoundError:
        raise StorageError(f"{path}: the current folder is gone; change to another.") from None


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a :class:`StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "choose another place")
        if _system.WINDOWS and len(str(path.absolute())) > _system.LONGEST_PATH:
            remedy = f"Windows may take no more than {_system.LONGEST_PATH} characters; choose a shorter path"
        path = Path(error.filename) if error.errno == errno.EBUSY and error.filename else path
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {remedy}.") from None


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that its name never stands for half of it; a text is UTF-8, what is none with backslashes."""
    with writing(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name at the end, if no error is raised; see :func:`write_atomically`."""
    with _temporary(path) as file, storing(path):
        yield file
        file.flush()
        _replace(file, path)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """Give a new file beside a path, which is removed at the end unless it replaced that one.

    It is locked meanwhile, so that :func:`remove_leftovers` knows it from what a killed process left.
    """
    with storing(path):
        temporary, file = _create(path)
    try:
        yield file
    finally:
        # Closing writes again what could not be written, of which the caller has been told.
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()


def _create(path: Path) -> tuple[Path, BinaryIO]:
    """Create a locked file beside a path, again if somebody who removes leftovers was faster than the lock."""
    while True:
        temporary = path.with_name(f".adcli-{secrets.token_hex(6)}.tmp")
        file = temporary.open("xb")
        try:
            if lock_file(file.fileno(), temporary) and os.path.lexists(temporary):
                return temporary, file
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        file.close()


def _replace(file: BinaryIO, path: Path) -> None:
    """Give a file that is written the name of another, which it replaces."""
    os.fsync(file.fileno())
    if _system.WINDOWS:
        # An open file keeps its name there.
        file.close()
    _system.replace(Path(file.name), path)


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, or whatever else has its name, as far as that is possible; no link is followed."""
    # What removes folders would wait for somebody to write into a pipe.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def is_unfinished(path: Path) -> bool:
    """Tell whether a file has the name of one that :func:`write_atomically` has not finished."""
    return re.fullmatch(r"\.adcli-[0-9a-f]{12}\.tmp", path.name) is not None


def list_leftovers(folder: Path) -> list[Path]:
    """Return the unfinished files in a folder, of living processes and of others."""
    return list(filter(is_unfinished, folder.glob(".adcli-*.tmp")))


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files in a folder whose processes were killed; those of living ones stay."""
    for path in list_leftovers(folder):
        with contextlib.suppress(OSError, StorageError):
            descriptor = open_regular(path, os.O_RDWR)
            try:
                if lock_file(descriptor, path):
                    path.unlink()
            finally:
                os.close(descriptor)


def sync(path: Path) -> None:
    """Have the system write a file or the entries of a folder to disk, where it can."""
    folder = path.is_dir()
    if _system.WINDOWS and folder:
        return
    # Windows writes only what may be written to.
    descriptor = os.open(path, os.O_RDWR if _system.WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems of networks have nothing to write of a folder.
        if not (folder and error.errno in _NO_SYNC):
            raise
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """Have the system write a folder and all in it to disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)
