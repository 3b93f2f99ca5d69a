"""Commands in processes of their own that need not import torch each: a server that has imported it, and forks.

As a script, it is the server: it reads requests from stdin, a line of JSON each, and answers with two lines, the
process's number and, once that has ended, its end.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

HEAVY = (
    *("torch.onnx", "torch.export", "onnxscript", "onnxruntime"),
    *("adcli.cli", "adcli.pipeline", "adcli.nn", "adcli_onnx.graph"),
    *("adcli_padim.model", "adcli_stfpm.model", "adcli_embedded.resnet"),
)
"""What commands import; openvino starts threads, which would not be there after a fork."""


class End(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    seconds: float


class Running:
    """A command at work."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.pid = int(server.read())
        self._start = time.monotonic()
        self._end: End | None = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; it may have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> End:
        """Wait for its end."""
        if self._end is None:
            answer = json.loads(self._server.read())
            self._end = End(answer["code"], answer["said"], time.monotonic() - self._start)
        return self._end


class Server:
    """Starts commands, one at a time."""

    def __init__(self) -> None:
        # Threads that torch had started would not be there after a fork.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path,
        *,
        fresh: bool = False,
        file_bytes: int | None = None,
        stdin: Path = Path(os.devnull),
        closed: Sequence[int] = (),
        files_left: int | None = None,
    ) -> Running:
        """Start a command.

        Args:
            arguments: after ``adcli``.
            cwd: where.
            fresh: in an interpreter of its own, so that it also imports everything.
            file_bytes: how large any file that it writes may become.
            stdin: what it reads from.
            closed: which of its standard streams are closed.
            files_left: how many files it may open.
        """
        request = {"arguments": list(arguments), "cwd": str(cwd), "fresh": fresh, "file_bytes": file_bytes}
        request |= {"stdin": str(stdin), "closed": list(closed), "files_left": files_left}
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Running(self)

    def read(self) -> str:
        """Return the next line of an answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        return line

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Answer requests until there are none."""
    for name in HEAVY:
        import_module(name)
    from adcli.exports import agreement
    from adcli.nn import _checkpoint

    # So that a short training has some, and that no time goes into measuring it.
    _checkpoint.CHECKPOINT_SECONDS = 0.0
    agreement.ROUND_SECONDS = 0.0
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        out, into = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(out)
            try:
                _become(request, into)
            finally:
                # Whatever fails before the command begins, this is no second server.
                os._exit(99)
        os.close(into)
        print(pid, flush=True)
        text = _read_all(out).decode(errors="replace")
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "said": text}), flush=True)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def _become(request: Mapping[str, Any], into: int) -> None:
    """Become the command."""
    source = os.open(request["stdin"], os.O_RDONLY)
    for number, stream in enumerate((source, into, into)):
        os.dup2(stream, number)
    for stream in (source, into):
        os.close(stream)
    os.chdir(request["cwd"])
    _limit(request)
    if request["fresh"]:
        os.execv(sys.executable, [sys.executable, "-m", "adcli", *request["arguments"]])
    sys.argv = ["adcli", *request["arguments"]]
    import faulthandler

    from adcli.cli import main

    if sys.stderr is not None:
        # Asked for when it does not end in time.
        faulthandler.register(signal.SIGUSR1)
    main()


def _limit(request: Mapping[str, Any]) -> None:
    """Close streams as the interpreter finds them, and set limits."""
    import resource

    for number in request["closed"]:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    if request["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], request["file_bytes"]))
    if request["files_left"] is not None:
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        allowed = lowest + request["files_left"]
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))


if __name__ == "__main__":
    serve()
