"""A list of paths on stdin is read as it comes, whatever writes it, in bounded memory."""

import codecs
import io
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from adcli.cli.path_list import LINE_BYTES, read_paths
from adcli.errors import DataError, OptionError

NAMES = ["a.png", "b c.png", "写真/é.png", "cr\rname.png", "esc\x1b[0m.png"]


def text_stream(raw: Any, encoding: str = "utf-8") -> Any:
    return io.TextIOWrapper(raw, encoding=encoding)


class Pieces(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self.pieces = [content[i : i + size] for i in range(0, len(content), size)]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_every_encoding_and_line_end_gives_the_same_names(
    mark: bytes, encoding: str, ending: str, last: bool, size: int
) -> None:
    text = ending + ending.join([*NAMES[:2], "", " ", *NAMES[2:]]) + (ending if last else "")
    raw = Pieces(mark + text.encode(encoding), size)
    assert list(read_paths(text_stream(io.BufferedReader(raw)))) == NAMES


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    (name,) = read_paths(text_stream(io.BytesIO(b"caf\xe9.png\n")))
    assert name.encode(errors="surrogateescape") == b"caf\xe9.png"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b" \n\n"])
def test_an_empty_list_has_no_paths(content: bytes) -> None:
    assert list(read_paths(text_stream(io.BytesIO(content)))) == []


class Endless(io.RawIOBase):
    """A stream without an end of line, after some lines."""

    def __init__(self) -> None:
        self.read = 0
        self.first = b"a.png\nb.png\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece, self.first = self.first or b"x" * len(buffer), b""
        self.read += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_line_without_an_end_is_an_error_after_what_came_before() -> None:
    raw, found = Endless(), list[str]()
    with pytest.raises(DataError, match="no path"):
        found.extend(read_paths(text_stream(io.BufferedReader(raw))))
    assert found == ["a.png", "b.png"]
    assert raw.read < 4 * LINE_BYTES


def test_a_line_is_there_before_the_next_is_written() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        paths: Iterator[str] = read_paths(text_stream(file))
        for name in NAMES[:3]:
            os.write(writing, f"{name}\n".encode())
            assert next(paths) == name
        os.close(writing)
        assert list(islice(paths, 1)) == []


def test_a_closed_stdin_is_one_line() -> None:
    with pytest.raises(OptionError, match="stdin, which is closed"):
        read_paths(None)
