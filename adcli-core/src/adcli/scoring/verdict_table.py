"""A table of verdict records that grows: a row that is written is on disk, and a later command goes on with it."""

import codecs
import contextlib
import csv
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from adcli._files import storing
from adcli._locking import Lock, open_regular
from adcli.errors import StorageError, one_line
from adcli.scoring.verdict import COLUMNS, FORMAT, VERDICTS, VerdictRecord, csv_line

_HEADER = csv_line(COLUMNS).encode()
_LONGEST = 1 << 24
"""Bytes of a row that was not finished, at most."""

_ROW = f"\n{FORMAT},".encode()
"""What a row begins with, after the one before."""


@contextlib.contextmanager
def growing_table(path: Path, *, append: bool) -> Iterator["VerdictTable"]:
    """Give a table to write to, which is this process's own; without an error it is there at the end, rows or none.

    Args:
        path: the file; its folder is made if need be.
        append: go on with the table that is there.

    Raises:
        StorageError: a file is there and is not to be gone on with, or is no such table, or nothing can be written.
        RunError: another process writes it.
    """
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Lock(path.with_name(f".{path.name}.lock"), path).held():
            table = VerdictTable(path, append=append)
            with contextlib.closing(table):
                yield table
                table.begin()
    finally:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


class VerdictTable:
    """Writes records at the end of a file.

    Args:
        path: the file, which is made with the first row.
        append: go on with the file if there is one; what a killed process left of a row is cut off, and nothing else.

    Attributes:
        cut: bytes that were cut off.
        torn: the beginning of what was cut off, as text.

    Raises:
        StorageError: the file is not to be gone on with, or holds anything but whole rows and the beginning of one.
    """

    def __init__(self, path: Path, *, append: bool) -> None:
        self.path, self.cut, self.torn = path, 0, ""
        self._file: BinaryIO | None = None
        if os.path.lexists(path):
            self._go_on(append)

    def _go_on(self, append: bool) -> None:
        with storing(self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not append:
            raise StorageError(f"{self.path}: exists already; go on with it with --append, or choose another --out.")
        with storing(self.path), os.fdopen(open_regular(self.path, os.O_RDONLY, follow=True), "rb") as found:
            head = found.read(len(_HEADER))
            whole = _whole_bytes(found)
            tail = found.read(_LONGEST + 1)
        if not _HEADER.startswith(head):
            raise StorageError(f"{self.path}: {_explain_header(head)}; choose another --out.")
        if _ROW in tail or len(tail) > _LONGEST:
            raise StorageError(
                f"{self.path}: a quote in row '{one_line(tail[:40].decode(errors='replace'))}...' is not closed; close "
                "it, or choose another --out."
            )
        if whole:
            _check_rows(self.path, whole)
        self.cut = 0 if (whole or head == _HEADER[:-1]) and _is_row(tail) else len(tail)
        if self.cut and whole and not _may_begin_row(tail):
            raise StorageError(
                f"{self.path}: ends with '{one_line(tail[:40].decode(errors='replace'))}', which is no row and no "
                "beginning of one; move that elsewhere, or choose another --out."
            )
        self.torn = one_line(tail[:80].decode(errors="replace")) if self.cut else ""
        with storing(self.path):
            self._file = self.path.open("r+b", buffering=0)
            self._file.truncate(whole + len(tail) - self.cut)
            size = self._file.seek(0, os.SEEK_END)
        if not size:
            self._put(_HEADER)
        elif tail and not self.cut:
            self._put(b"\n")

    def begin(self) -> None:
        """Make the file, unless it is there."""
        if self._file is None:
            with storing(self.path):
                self._file = self.path.open("xb", buffering=0)
            self._put(_HEADER)

    def write(self, record: VerdictRecord) -> None:
        """Add a row."""
        self.begin()
        self._put(csv_line(record.to_cells()).encode())

    def _put(self, line: bytes) -> None:
        assert self._file is not None
        start = self._file.tell()
        with storing(self.path):
            try:
                while line:
                    line = line[self._file.write(line) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(start)
                raise

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _whole_bytes(file: BinaryIO) -> int:
    """Go to where the last whole row of a table ends, and return that; a line break within quotes ends no row."""
    file.seek(0)
    whole = at = quotes = 0
    for line in iter(lambda: file.readline(1 << 20), b""):
        at += len(line)
        quotes += line.count(b'"')
        if line.endswith(b"\n") and quotes % 2 == 0:
            whole = at
    file.seek(whole)
    return whole


def _explain_header(head: bytes) -> str:
    """Say what is wrong with the first line of a table."""
    plain = head.removeprefix(codecs.BOM_UTF8)
    if plain.startswith(_HEADER[:-1] + b"\r") or (plain != head and _HEADER.startswith(plain)):
        return (
            "was saved by another program, such as a spreadsheet (it has a byte order mark, or line ends of Windows), "
            "which may have changed numbers and names too; go on with a copy of the file as adcli wrote it"
        )
    return "is no table of verdict records of this version"


def _check_rows(path: Path, size: int) -> None:
    """Check that each row has a cell for each column.

    Args:
        path: of the table.
        size: bytes of its whole rows.

    Raises:
        StorageError: one has not; the message names its line.
    """
    csv.field_size_limit(_LONGEST)
    with storing(path), path.open("rb") as file:
        lines = (line.decode(errors="replace") for line in iter(file.readline, b"") if file.tell() <= size)
        rows = csv.reader(lines)
        problem = ""
        try:
            # An empty line is no row.
            wrong = next((row for row in rows if row and len(row) != len(COLUMNS)), None)
            problem = "" if wrong is None else f"has {len(wrong)} cells instead of {len(COLUMNS)}"
        except csv.Error as error:
            problem = one_line(str(error))
    if problem:
        raise StorageError(f"{path}: line {rows.line_num}: {problem}; mend it, or choose another --out.")


def _may_begin_row(tail: bytes) -> bool:
    """Tell whether the end of a table can be what a killed process wrote of a row."""
    # A name may end within a letter.
    text = tail.decode(errors="ignore")
    try:
        (cells,) = csv.reader([text])
    except (ValueError, csv.Error):
        return False
    *whole, last = zip(COLUMNS, cells, strict=False)
    begins = all(_FORMS.get(name, _ANY).fullmatch(cell) for name, cell in whole)
    return len(cells) <= len(COLUMNS) and begins and (bool(whole) or str(FORMAT).startswith(last[1]))


_ANY = re.compile(r".*", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9][0-9.e+-]*|")
_DIGEST = re.compile(r"[0-9a-f]*")
_FORMS = {
    "format": re.compile(str(FORMAT)),
    "time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"),
    "model": _DIGEST,
    "calibration": _DIGEST,
    "score": _NUMBER,
    "p_value": _NUMBER,
    "threshold": _NUMBER,
    "verdict": re.compile("|".join(VERDICTS)),
    "regions": re.compile(r"[0-9e+;. -]*"),
}
"""What the cells of a row look like, but for those that hold any text."""


def _is_row(tail: bytes) -> bool:
    """Tell whether the end of a table lacks nothing of a row but its line break, as some editors leave it."""
    try:
        rows = list(csv.reader([tail.decode()], strict=True))
    except (UnicodeDecodeError, csv.Error):
        return False
    return [len(row) for row in rows] == [len(COLUMNS)]
