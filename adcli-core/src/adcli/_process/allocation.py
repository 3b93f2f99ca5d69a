"""How the process keeps its memory between batches."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next batch, instead of giving it back to the system.

    Feature maps of a batch take tens of megabytes each. By default glibc maps them anew every time, and the kernel
    clears every page again: half of the time of a pass over the images. Blocks beyond 1 GB are given back as before.
    Where the C library is another one, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
