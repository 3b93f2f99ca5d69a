"""What Windows does differently, in one place, so that tests can have it elsewhere.

There, a file that anybody has open can be neither replaced nor removed, nor a folder around it renamed; virus scanners
and indexers have files open for moments.
"""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

WINDOWS = os.name == "nt"

HELD_SECONDS = 5.0
"""How long to wait for a file that somebody has open."""

_POLL_SECONDS = 0.05

LONGEST_PATH = 259
"""Characters of a path, unless Windows was told to take longer ones."""

RESERVED = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{kind}{i}" for kind in ("COM", "LPT") for i in range(10))})
"""What no file is called there, whatever follows a dot."""


def is_reserved(name: str) -> bool:
    """Tell whether a name stands for a device there."""
    return name.partition(".")[0].rstrip().upper() in RESERVED


def replace(source: Path, target: Path) -> None:
    """Give a file the name of another, which it replaces; waits a while if somebody has that one open.

    Raises:
        OSError: it cannot be; ``filename`` is the target.
    """
    _patiently(lambda: source.replace(target), target)


def rename(source: Path, target: Path) -> None:
    """Rename a file or a folder; waits and raises as :func:`replace`."""
    _patiently(lambda: source.rename(target), target)


def remove(path: Path) -> None:
    """Remove a file if it is there; waits and raises as :func:`replace`."""
    _patiently(lambda: path.unlink(missing_ok=True), path)


def _patiently(act: Callable[[], object], path: Path) -> None:
    end = time.monotonic() + HELD_SECONDS
    while True:
        try:
            act()
        except PermissionError:
            if not WINDOWS:
                raise
            if time.monotonic() >= end:
                raise OSError(errno.EBUSY, "Another program has it open", str(path)) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
