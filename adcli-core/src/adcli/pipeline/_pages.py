"""Pages that a user names: nothing of theirs is written over. Nothing here imports torch."""

import os
from pathlib import Path

from adcli._files import check_reachable, exists, read_bytes, storing
from adcli.errors import OptionError, StorageError

_HEAD = 4096
"""Bytes of a page within which it says what made it."""

_LARGEST = 64 << 20


def check_out(out: Path, generator: str | None) -> None:
    """Check that a page can be written, before photographs are read.

    Args:
        out: the file.
        generator: what made the page that may be replaced; None if none may.

    Raises:
        OptionError: its name is no page's.
        StorageError: it is a folder, or a file that is no such page.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"must be a file that ends in .html, not '{out}'.", option="out")
    check_reachable(out, StorageError)
    if out.is_dir():
        raise StorageError(f"{out}: is a folder; choose another name.")
    with storing(out):
        if out.exists() and generator is None:
            raise StorageError(f"{out}: is there already; choose another name.")
        if out.exists() and generator is not None and generator.encode() not in read_bytes(out, _LARGEST)[:_HEAD]:
            raise StorageError(f"{out}: is there already, and is no page of {generator}; choose another name.")
    parent = next(folder for folder in out.absolute().parents if exists(folder))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StorageError(f"{out}: cannot be written, as {parent} may not be changed; choose another place.")
