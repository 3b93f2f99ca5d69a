"""Commands in processes of their own that need not import torch each: a server that has imported it, and forks.

As a script, it is the server: whoever connects sends a request and the three standard streams, and is answered with
two lines, the process's number and, once that has ended, its exit code. A command ends with whoever asked for it.
"""

import atexit
import contextlib
import gc
import io
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from relay import ask, receive

HEAVY = (
    *("torch.onnx", "torch.export", "onnxscript", "onnxruntime", "timm"),
    *("adcli.cli", "adcli.pipeline", "adcli.nn", "adcli_onnx.graph"),
    *("adcli_padim.model", "adcli_patchcore.model", "adcli_stfpm.model", "adcli_embedded.resnet"),
)
"""What commands import; openvino starts threads, which would not be there after a fork."""


class End(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    seconds: float


class Running:
    """A command at work."""

    def __init__(self, connection: socket.socket, out: int) -> None:
        self._connection, self._out = connection, out
        self._answers = connection.makefile()
        self.pid = int(self._answers.readline())
        self._start = time.monotonic()
        self._end: End | None = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; it may have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> End:
        """Wait for its end."""
        if self._end is None:
            with os.fdopen(self._out, "rb") as out:
                said = out.read().decode(errors="replace")
            code = int(self._answers.readline())
            self._end = End(code, said, time.monotonic() - self._start)
            self._connection.close()
        return self._end


class Server:
    """Starts commands."""

    def __init__(self) -> None:
        self.address = str(Path(tempfile.mkdtemp(prefix="adcli-forks-")) / "socket")
        # Threads that torch had started would not be there after a fork.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"

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
        request |= {"closed": list(closed), "files_left": files_left}
        source, (out, into) = os.open(stdin, os.O_RDONLY), os.pipe()
        connection = ask(self.address, request, (source, into, into))
        os.close(source)
        os.close(into)
        return Running(connection, out)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(Path(self.address).parent)


def serve(address: str) -> None:
    """Answer requests until whoever started the server is gone."""
    for name in HEAVY:
        import_module(name)
    from adcli import BackboneOptions
    from adcli._plugins.registry import registry
    from adcli.exports import agreement
    from adcli.nn import _checkpoint, create_backbone

    # What it imports depends on what is imported already, and takes a second; what plugins there are, commands find.
    create_backbone(BackboneOptions(backbone="random:resnet18", layers=(1,)), image_size=(32, 32))
    registry.cache_clear()
    # Imported above, it opens files at the end of every command.
    atexit.unregister(import_module("torch._dynamo.utils").dump_compile_times)
    # So that a short training has some, and that no time goes into measuring it.
    _checkpoint.CHECKPOINT_SECONDS = 0.0
    agreement.ROUND_SECONDS = 0.0
    gc.freeze()
    # Nobody waits for who serves a request.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("listening", flush=True)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if listening not in ready:
            return
        connection, _ = listening.accept()
        if not os.fork():
            listening.close()
            try:
                _answer(connection)
            finally:
                # Whatever fails before the command begins, this is no second server.
                os._exit(99)
        connection.close()


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = receive(connection)
    pid = os.fork()
    if not pid:
        connection.close()
        try:
            _become(request, streams)
        finally:
            os._exit(99)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Become the command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(request["cwd"])
    if "environment" in request:
        os.environ.clear()
        os.environ.update(request["environment"])
        _open_streams()
    _limit(request)
    if request.get("fresh"):
        os.execv(sys.executable, [sys.executable, "-m", "adcli", *request["arguments"]])
    sys.argv = ["adcli", *request["arguments"]]
    import faulthandler

    from adcli.cli import main

    if sys.stderr is not None:
        # Asked for when it does not end in time.
        faulthandler.register(signal.SIGUSR1)
    main()


def _open_streams() -> None:
    """Open streams as the interpreter does at its start, as the environment asks for."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    encoding, errors = encoding or "utf-8", errors or "strict"
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    out, err = (os.fdopen(number, "wb", 0 if unbuffered else -1, closefd=False) for number in (1, 2))
    sys.stdin = os.fdopen(0, encoding=encoding, errors=errors, closefd=False)
    sys.stdout = io.TextIOWrapper(out, encoding, errors, write_through=unbuffered)
    sys.stderr = io.TextIOWrapper(err, encoding, "backslashreplace", line_buffering=True, write_through=unbuffered)


def _limit(request: Mapping[str, Any]) -> None:
    """Close streams as the interpreter finds them, and set limits."""
    import resource

    for number in request.get("closed", ()):
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    file_bytes, files_left = request.get("file_bytes"), request.get("files_left")
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if files_left is not None:
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + files_left, lowest + files_left))


if __name__ == "__main__":
    serve(sys.argv[1])
