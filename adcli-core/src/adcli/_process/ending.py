"""The end of the program."""

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn


def end(code: int) -> NoReturn:
    """End the process with an exit code, at once where nothing stands against it.

    The interpreter takes apart what it holds object by object, and torch's objects take half a second; the system frees
    a process as a whole. Whatever was registered to run at exit is run, and output is written.
    """
    if not _alone():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(code)


def _alone() -> bool:
    """Whether no thread is at work still, and nobody waits for the program's end to print what they measured."""
    threads = [thread for thread in threading.enumerate() if not thread.daemon]
    return threads == [threading.main_thread()] and sys.getprofile() is None and sys.gettrace() is None
