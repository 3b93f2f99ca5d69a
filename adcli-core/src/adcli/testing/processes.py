"""Running a function in two processes that meet as torchrun's do."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from adcli.testing._failures import from_process

_CODE = "import sys; from adcli.specs import load_target; load_target(sys.argv[1])(*sys.argv[2:])"


def run_together(target: str, arguments: Sequence[Sequence[str]]) -> None:
    """Run ``package.module:function`` in as many processes as there are lists of arguments, and wait for all.

    Raises:
        AssertionError: a process failed; with the error that the first of them printed.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, target, *given],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for given, environment in zip(arguments, environments(len(arguments)), strict=True)
    ]
    said = [process.communicate()[1] for process in started]
    for process, printed in zip(started, said, strict=True):
        if process.returncode:
            raise from_process(printed, process.returncode)


def environments(count: int) -> list[dict[str, str]]:
    """Return what torchrun sets for processes that meet at a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]
