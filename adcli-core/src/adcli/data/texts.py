"""Texts that other programs wrote: their encodings, and what is no text."""

import codecs
import os
from pathlib import Path

from adcli._locking import open_regular
from adcli.data.formats import explain_refusal
from adcli.errors import DataError

MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""Byte order marks that a text may begin with, and the encoding that each stands for."""

_SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
_SPREADSHEET_MAGIC = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

_LARGEST = 1 << 30
"""Bytes of the largest text that is read."""


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or, if its byte order mark says so, in UTF-16.

    Raises:
        DataError: it cannot be read, or is no such text; the message says what to save it as.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path}: {explain_refusal(error)}.") from None
    if len(content) > _LARGEST:
        raise DataError(f"{path}: has more than {_LARGEST >> 30} gigabyte; split it.")
    if path.suffix.lower() in _SPREADSHEETS or content.startswith(_SPREADSHEET_MAGIC):
        raise DataError(f"{path}: is a spreadsheet, not text; save it as CSV (Excel: Save As, 'CSV UTF-8').")
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    try:
        return content.removeprefix(mark).decode(MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8.") from None
