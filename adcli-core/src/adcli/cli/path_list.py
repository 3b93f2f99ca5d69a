"""A list of paths on stdin, one a line, as it comes."""

import codecs
import sys
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from adcli._files import exists
from adcli._spelling import unspell
from adcli.data.texts import MARKS
from adcli.errors import DataError, OptionError

LINE_BYTES = 1 << 16
"""What a line may take; no system has longer paths."""


def read_paths(stdin: TextIO | None) -> Iterator[str]:
    """Return the lines of a stream that are not empty, each as soon as it is there.

    A byte order mark says that it is UTF-8 or UTF-16, as PowerShell writes; else it is what the system says. Of what is
    there, a line may also give the bytes of its name, as most systems have them, or spell it as a table does.

    Raises:
        OptionError: there is no stream.
        DataError: a line is too long for a path, or the stream cannot be read; raised when it is reached.
    """
    if stdin is None:
        raise OptionError("reads a list of paths from stdin, which is closed.", option="'-'")
    return _paths(stdin)


def _paths(stdin: TextIO) -> Iterator[str]:
    stream = stdin.buffer
    head = _read(stream)
    while len(head) < 3 and any(mark.startswith(head) for mark in MARKS) and (more := _read(stream)):
        head += more
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    encoding = codecs.lookup(MARKS.get(mark, stdin.encoding)).name
    if encoding.startswith(("utf-16", "utf-32")):
        # A name that such a system has is text.
        chunks = codecs.iterdecode(_chunks(stream, head.removeprefix(mark)), encoding, "replace")
        for text in _lines(chunk.encode(errors="surrogatepass") for chunk in chunks):
            yield _meant(text, "utf-8")
        return
    for line in _lines(_chunks(stream, head.removeprefix(mark))):
        yield _meant(line, encoding)


def _meant(line: bytes, encoding: str) -> str:
    """Return the path that a line stands for: its bytes, its text or what that spells, whichever is there."""
    as_bytes = line.decode(sys.getfilesystemencoding(), "surrogateescape")
    path = line.decode(encoding, "surrogateescape")
    readings = (as_bytes, path, unspell(path))
    return next((reading for reading in readings if exists(reading)), path)


def _chunks(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    """Yield what comes, each piece as soon as it is there."""
    yield head
    while chunk := _read(stream):
        yield chunk


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines that are not empty, without what ends them."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(bytes.strip, map(_checked, lines))
        _checked(rest)
    if rest.strip():
        yield _checked(rest)


def _read(stream: BinaryIO) -> bytes:
    """Return what is there, or wait for it; nothing at the end."""
    try:
        return stream.read1(LINE_BYTES)  # type: ignore[attr-defined, no-any-return]
    except OSError as error:
        raise DataError(f"the list of paths on stdin cannot be read ({error.strerror or error}).") from None


def _checked(line: bytes) -> bytes:
    """Return a line without the end that Windows gives it, after making sure that it may be a path."""
    if len(line) > LINE_BYTES:
        raise DataError(
            f"the list on stdin has a line of more than {LINE_BYTES} bytes, which is no path; give a path a line."
        )
    return line.removesuffix(b"\r")
