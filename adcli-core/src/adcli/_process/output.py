"""What is printed, if whoever reads it has seen enough."""

import io
import sys
from typing import Any


class _Patient(io.FileIO):
    """A pipe, or a file, that takes what nobody reads any more."""

    is_left = False

    def write(self, data: Any, /) -> int:
        """Write, or drop what cannot be written because the reader has gone."""
        if not self.is_left:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self.is_left = True
        return len(memoryview(data).cast("B"))


def outlive_readers() -> None:
    """Have a command go on to its end, and to its own exit code, if the reader of what it prints has seen enough."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and isinstance(_raw(stream), io.FileIO):
            setattr(sys, name, _rewrap(stream))


def _raw(stream: Any) -> Any:
    """Return what a stream writes to in the end; with PYTHONUNBUFFERED nothing is between."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _rewrap(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = _Patient(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        raw if isinstance(stream.buffer, io.FileIO) else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def has_lost_reader() -> bool:
    """Tell whether nobody reads what is printed on stdout any more."""
    raw = _raw(sys.stdout)
    return isinstance(raw, _Patient) and raw.is_left
