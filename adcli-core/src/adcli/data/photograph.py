"""A photograph is a value: its pixels as they are in the file, a name, and the digest of its bytes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli.data.bits import WHITE
from adcli.data.decoding import Pixels, decode, read_bytes, share_channels
from adcli.data.left_out import Reason
from adcli.errors import DataError


class Photograph(NamedTuple):
    """One photograph at its own size.

    Attributes:
        name: what tables print: a path, or what the caller calls it.
        pixels: upright, RGB, (H, W, 3) uint8, as in the file. They may be read-only.
        digest: sha256 of the file's bytes, from the same read as the pixels; of an array, of its shape and values.
        path: the file, or None if the photograph came from memory.
        oddities: what of the file is not in the pixels.
    """

    name: str
    pixels: Pixels
    digest: str
    path: Path | None = None
    oddities: tuple[Reason, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a photograph that cannot be had.

    Attributes:
        name: what tables print.
        problem: why, in one line that names it.
        path: the file, or None if it was to come from memory.
    """

    name: str
    problem: str
    path: Path | None = None
    digest: ClassVar[str] = ""
    size: ClassVar[tuple[int, int]] = (0, 0)


ImageLike = Photograph | Path | str | bytes | NDArray[np.uint8]
"""What :func:`open_photograph` takes: a photograph, a path, the bytes of a file, or an array (H, W, 3) or (H, W)."""


def open_photograph(source: ImageLike, name: str = "", white: int = WHITE) -> Photograph:
    """Return the photograph that a source stands for.

    Args:
        source: a photograph, which is passed on; a path; the bytes of an image file; or an array of RGB (H, W, 3) or
            grey (H, W) values from 0 to 255.
        name: what to call it if it has no path.
        white: the value of 16-bit files that becomes 255.

    Raises:
        DataError: it cannot be decoded, or the array is of another shape or type.
    """
    if isinstance(source, Photograph):
        return source
    if isinstance(source, (str, Path)):
        content, path = read_bytes(Path(source)), Path(source)
        return _from_file(content, str(source), white, path)
    if isinstance(source, bytes):
        return _from_file(source, name, white, None)
    return _from_array(source, name)


def _from_file(content: bytes, name: str, white: int, path: Path | None) -> Photograph:
    found = decode(content, name, white)
    return Photograph(name, found.pixels, hashlib.sha256(content).hexdigest(), path, found.oddities)


def _from_array(array: NDArray[np.uint8], name: str) -> Photograph:
    if getattr(array, "dtype", None) != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{name}: an image in memory must be (H, W, 3) or (H, W) and uint8, not {found}.")
    if 0 in array.shape:
        raise DataError(f"{name}: an image in memory needs at least one pixel, not {array.shape}.")
    pixels = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    return Photograph(name, share_channels(pixels) if pixels.ndim == 2 else pixels, digest)
