"""The end of the program."""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from adcli._process.interruption import stop_noticing, told_code


def run_to_the_end(command: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with the exit code that it returns, or with that of being told to end."""
    try:
        end(command())
    except KeyboardInterrupt:
        end(told_code())


def end(code: int) -> NoReturn:
    """End the process with an exit code: run what was registered for the exit, write the output, and stop.

    Saves half a second or more of each command that imports torch: the interpreter takes apart what it holds object by
    object, and the system frees a process as a whole. If a thread is still at work and nobody told the process to end,
    or somebody measures, the end is the usual one.
    """
    stop_noticing()
    code = told_code() or code
    if not (_is_alone() or told_code()) or _is_measured():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(code)


def _is_alone() -> bool:
    """Tell whether no other thread is at work."""
    return [thread for thread in threading.enumerate() if not thread.daemon] == [threading.main_thread()]


def _is_measured() -> bool:
    """Tell whether a profiler waits for the end to print what it measured."""
    return sys.getprofile() is not None or sys.gettrace() is not None
