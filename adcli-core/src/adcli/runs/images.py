"""The images that a run saw, and what it used each for: ``images.csv``, one line for each image and use."""

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from adcli._artefacts.parsing import read_rows
from adcli._changes import inside
from adcli._files import read_bytes
from adcli.errors import RunError, one_line
from adcli.runs.run import RUN_FILE, read_run_file

IMAGES_FILE = "images.csv"
COLUMNS = ("name", "digest", "role")

Role = Literal["fitted", "known-defect", "held-out", "calibration", "validation", "test"]
"""What an image was used for; ``calibration`` are good images of a folder of their own, and folds are ``fitted``."""

LEARNT_FROM: tuple[Role, ...] = ("fitted", "known-defect")
"""What images were used for that the model knows."""

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}

LARGEST = 512 << 20
"""Bytes that the file has at most, which is room for millions of images."""

_REMEDY = "copy the whole run folder again, or train it again"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ESCAPE = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


class SeenImage(NamedTuple):
    """An image that a run saw.

    Attributes:
        name: relative to the folder that it has in common with the others of its role.
        digest: sha256 of the file's bytes.
        role: what it was used for.
    """

    name: str
    digest: str
    role: Role


def format_images(images: Iterable[SeenImage]) -> bytes:
    """Return the content of ``images.csv``: UTF-8, and a line for each image whatever characters its name has."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((_escape(image.name), image.digest, image.role) for image in images)
    return text.getvalue().encode()


def read_images(run_path: Path) -> list[SeenImage]:
    """Return the images that a finished run saw, in the order of the file.

    Raises:
        RunError: the file is missing, was changed since the run, or is none that a run writes.
    """
    path = inside(run_path, IMAGES_FILE)
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != read_run_file(run_path / RUN_FILE)["record"].get("images"):
        raise RunError(f"{path}: was changed or damaged since the run (its digest differs); {_REMEDY}.")
    return list(_parse(content, path))


def parse_images(path: Path) -> list[SeenImage]:
    """Return the images in a file of this kind, whose digest nothing records; raises as :func:`read_images`."""
    return list(_parse(_read(path), path))


def fitted_digests(run_path: Path) -> frozenset[str]:
    """Return the digests of the images that a run's model learnt from; raises as :func:`read_images`."""
    return frozenset(image.digest for image in read_images(run_path) if image.role in LEARNT_FROM)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise RunError(f"{path}: is missing; {_REMEDY}.") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}.") from None


def _parse(content: bytes, path: Path) -> Iterator[SeenImage]:
    try:
        # Only "\n" ends a line: a row is never made of two.
        rows = read_rows(io.StringIO(content.decode(), newline="\n"), strict=True)
        if tuple(next(rows, (1, []))[1]) != COLUMNS:
            raise RunError(f"{path}: line 1: must be '{','.join(COLUMNS)}'; {_REMEDY}.")
        for line, row in rows:
            yield _parse_row(row, f"{path}: line {line}")
    except ValueError as error:
        raise RunError(f"{path}: cannot be read ({one_line(str(error))}); {_REMEDY}.") from None


def _parse_row(row: list[str], where: str) -> SeenImage:
    if len(row) != len(COLUMNS):
        raise RunError(f"{where}: has {len(row)} cells instead of {len(COLUMNS)}; {_REMEDY}.")
    name, digest, given = row
    role = _ROLES.get(given)
    if not name or not _DIGEST.fullmatch(digest) or role is None:
        raise RunError(f"{where}: names no image, no sha256 or no role; {_REMEDY}.")
    return SeenImage(_ESCAPE.sub(_unescape, name), digest, role)


def _escape(name: str) -> str:
    """Return a name without control characters, line breaks and bytes that are no text; :func:`_unescape` undoes it."""
    return "".join(map(_escape_character, name)) if not name.isprintable() or "\\" in name else name


def _escape_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    # Control characters, surrogates (bytes of a name that is not UTF-8), and what some readers end lines at.
    special = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if special else character


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else "\\"
