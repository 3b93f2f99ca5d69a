"""What stands for ``adcli`` in a test: asks the server of :mod:`forking` for a command, and is as the command is.

Run as ``python -I -S relay.py ADDRESS ARGUMENT ...``, it starts in a few milliseconds.
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence


def ask(address: str, request: Mapping[str, object], streams: Sequence[int]) -> socket.socket:
    """Send a request with the standard streams of its command; return where it is answered."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    content = json.dumps(request).encode()
    socket.send_fds(connection, [struct.pack("<Q", len(content))], streams)
    connection.sendall(content)
    return connection


def receive(connection: socket.socket) -> tuple[Mapping[str, object], Sequence[int]]:
    """Return a request and the streams that were sent."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    return json.loads(connection.recv(*struct.unpack("<Q", length), socket.MSG_WAITALL)), streams


def relay(address: str, arguments: Sequence[str]) -> int:
    """Return the exit code of a command that has this process's streams, folder and environment."""
    request = {"arguments": arguments, "cwd": os.path.realpath("."), "environment": dict(os.environ)}
    answers = ask(address, request, (0, 1, 2)).makefile()
    pid = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    return int(answers.readline())


if __name__ == "__main__":
    code = relay(sys.argv[1], sys.argv[2:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
