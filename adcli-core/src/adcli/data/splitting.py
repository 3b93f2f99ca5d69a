"""Hold images out for testing when a data set has no split of its own."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from adcli._files import file_digest
from adcli.data.ahead import load_all
from adcli.errors import DataError

READERS = 8
"""Threads that read files; they wait for the disk, and hashing releases the interpreter."""


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def content_digests(paths: Sequence[Path], workers: int = READERS) -> list[str]:
    """Return the digest of each file, read in threads; raises as :func:`content_digest`."""
    return list(load_all(paths, content_digest, workers))


def held_out(paths: Sequence[Path], share: float, seed: int = 0) -> set[Path]:
    """Return about ``share`` of the files, chosen by the seed and by each file's own bytes.

    A file therefore stays on its side when others are added or when it is renamed, and two copies of an image are
    always on the same side. Every file is read once; raises as :func:`content_digest`.
    """
    digests = content_digests(paths)
    return {path for path, digest in zip(paths, digests, strict=True) if _draw_number(seed, digest) < share}


def _draw_number(seed: int, digest: str) -> float:
    """Return a number in [0, 1), the same for the same seed and digest."""
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:4], "big") / 2**32
