"""Knowing data again: one digest over names and contents, and names without anybody's home."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from adcli.data.splitting import content_digests


def fingerprint(images: Sequence[Path], workers: int) -> str:
    """Return a sha256 over the names and contents of images: equal if and only if the data are.

    Raises:
        DataError: an image cannot be read.
    """
    paths = sorted(images)
    digests = content_digests(paths, workers)
    lines = (f"{name} {digest}\n" for name, digest in zip(relative_names(paths), digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def relative_names(paths: Iterable[Path]) -> list[str]:
    """Return the paths relative to the folder they have in common, so that no user's home is written into a run."""
    listed = list(paths)
    folders = {path.parent for path in listed}
    if not folders:
        return []
    root = min(folders, key=lambda folder: len(folder.parts))
    while not all(folder.is_relative_to(root) for folder in folders):
        root = root.parent
    return [path.relative_to(root).as_posix() for path in listed]
