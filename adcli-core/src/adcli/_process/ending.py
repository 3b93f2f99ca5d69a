"""The end of the program."""

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn


def end(code: int) -> NoReturn:
    """End the process with an exit code: run what was registered for the exit, write the output, and stop.

    Saves half a second or more of each command that imports torch: the interpreter takes apart what it holds object by
    object, and the system frees a process as a whole. If a thread is still at work, or somebody measures, the end is
    the usual one.
    """
    if not _is_alone():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(code)


def _is_alone() -> bool:
    """Tell whether no other thread is at work, and no profiler waits for the end to print what it measured."""
    threads = [thread for thread in threading.enumerate() if not thread.daemon]
    return threads == [threading.main_thread()] and sys.getprofile() is None and sys.gettrace() is None
