"""A list of paths on stdin, one a line, as it comes."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from adcli.errors import DataError, OptionError

LINE_BYTES = 1 << 16
"""What a line may take; no system has longer paths."""

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_paths(stdin: TextIO | None) -> Iterator[str]:
    """Return the lines of a stream that are not empty, each as soon as it is there.

    A byte order mark says that it is UTF-8 or UTF-16, as PowerShell writes; else it is what the system says.

    Raises:
        OptionError: there is no stream.
        DataError: a line is too long for a path, or the stream cannot be read; raised when it is reached.
    """
    if stdin is None:
        raise OptionError("reads a list of paths from stdin, which is closed.", option="'-'")
    return _lines(stdin)


def _lines(stdin: TextIO) -> Iterator[str]:
    stream = stdin.buffer
    head = _read(stream)
    while len(head) < 3 and any(mark.startswith(head) for mark in _MARKS) and (more := _read(stream)):
        head += more
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    # Names are bytes to most systems, so that what is no text must stay what it is.
    errors = "replace" if _MARKS.get(mark, "").startswith("utf-16") else "surrogateescape"
    decoder = codecs.getincrementaldecoder(_MARKS.get(mark, stdin.encoding))(errors)
    text, chunk, ended = "", head.removeprefix(mark), not head
    while True:
        *lines, text = (text + decoder.decode(chunk, ended)).split("\n")
        for line in [*lines, text] if ended else lines:
            _check_length(line)
            if line.strip():
                yield line.rstrip("\r")
        _check_length(text)
        if ended:
            return
        chunk = _read(stream)
        ended = not chunk


def _read(stream: BinaryIO) -> bytes:
    """Return what is there, or wait for it; nothing at the end."""
    try:
        return stream.read1(LINE_BYTES)  # type: ignore[attr-defined, no-any-return]
    except OSError as error:
        raise DataError(f"the list of paths on stdin cannot be read ({error.strerror or error}).") from None


def _check_length(line: str) -> None:
    if len(line) > LINE_BYTES:
        raise DataError(
            f"the list on stdin has a line of more than {LINE_BYTES} characters, which is no path; give a path a line."
        )
