"""How much memory the process can still have."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes that the machine, or what its groups leave of it, can still give; None if nobody says."""
    free = [*_of_machine(), *_of_groups()]
    return min(free) if free else None


def _of_machine() -> Iterator[int]:
    """Yield what can be had without writing anything to disk, and the room for swapping."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        yield (kibibytes["MemAvailable"] + kibibytes.get("SwapFree", 0)) << 10
    except (OSError, ValueError, KeyError, IndexError):
        # What others have of it is not known there.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups() -> Iterator[int]:
    """Yield what each control group of the process leaves, of version 2 and of version 1."""
    try:
        lines = _OWN_GROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if not controllers or "memory" in controllers.split(","):
            root = _GROUPS / "memory" if controllers else _GROUPS
            own = root / place.lstrip("/")
            for folder in (own, *own.parents):
                yield from _left_in(folder)
                if folder == root:
                    break


def _left_in(group: Path) -> Iterator[int]:
    """Yield what a group's limit leaves, counting files that the system can drop as free; nothing without a limit."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        # "max" stands for no limit.
        with contextlib.suppress(OSError, ValueError):
            most, now = (int((group / name).read_text()) for name in (limit, used))
            stated = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield most - now + int(stated.get(dropped, 0))
