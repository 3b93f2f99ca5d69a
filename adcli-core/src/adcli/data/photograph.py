"""A photograph is a value: its pixels as they are in the file, a name, and the digest of its bytes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adcli._showing import introduce
from adcli.data.bits import WHITE
from adcli.data.decoding import DecodedFile, Pixels, decode, decode_file, share_channels
from adcli.data.left_out import Reason
from adcli.data.view import Look, View, look_at_all
from adcli.errors import DataError


class Photograph(NamedTuple):
    """One photograph at its own size.

    Attributes:
        name: what tables print: a path, or what the caller calls it.
        pixels: upright, RGB, (H, W, 3) uint8, as in the file. They may be read-only.
        digest: sha256 of the file's bytes, from the same read as the pixels; of an array, of its shape and values.
        path: the file, or None if the photograph came from memory.
        oddities: what of the file is not in the pixels.
        view: which pixels of the photograph were decoded; None for all of them.
        rest: decodes all of them, if not all were.
    """

    name: str
    pixels: Pixels
    digest: str
    path: Path | None = None
    oddities: tuple[Reason, ...] = ()
    view: View | None = None
    rest: Callable[[], "Photograph"] | None = None

    def __repr__(self) -> str:
        height, width = self.size
        return introduce(self, self.name, f"{width}x{height} pixels")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole photograph in pixels."""
        return self.view.size if self.view else (self.pixels.shape[0], self.pixels.shape[1])

    def whole(self) -> "Photograph":
        """Return the photograph with all of its pixels; raises as :func:`open_photograph`."""
        return self.rest() if self.rest else self


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

    def __repr__(self) -> str:
        return introduce(self, self.name, self.problem.removeprefix(f"{self.name}: "))


ImageLike = Photograph | Path | str | bytes | NDArray[np.uint8]
"""What :func:`open_photograph` takes: a photograph, a path, the bytes of a file, or an array (H, W, 3) or (H, W)."""


def open_photograph(
    source: ImageLike, name: str = "", white: int = WHITE, look: Look = look_at_all, *, keep_rest: bool = False
) -> Photograph:
    """Return the photograph that a source stands for.

    Args:
        source: a photograph, which is passed on; a path; the bytes of an image file; or an array of RGB (H, W, 3) or
            grey (H, W) values from 0 to 255.
        name: what to call it if it has no path.
        white: the value of 16-bit files that becomes 255.
        look: tells what of a file is to be decoded.
        keep_rest: keep all pixels that are decoded, whatever is looked at: pictures will show them.

    Raises:
        DataError: it cannot be decoded, or the array is of another shape or type.
        LackOfMemoryError: it has too many pixels for the memory that is free.
    """
    if isinstance(source, Photograph):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, (str, Path)):
        path, name = Path(source), str(source)
        found = decode_file(path, white, look, keep_rest=keep_rest)
        return _from_file(found, name, white, path, path if found.content is None else found.content)
    if isinstance(source, bytes):
        decoding = decode(source, name, white, look, keep_rest=keep_rest)
        return _from_file(DecodedFile(decoding, hashlib.sha256(source).hexdigest()), name, white, None, source)
    return _from_array(source, name)


def _from_file(found: DecodedFile, name: str, white: int, path: Path | None, source: Path | bytes) -> Photograph:
    decoding, digest = found.decoding, found.digest
    if decoding.view.is_whole:
        return Photograph(name, decoding.pixels, digest, path, decoding.oddities)
    rest = partial(_open_again, source, name, white, path, digest)
    return Photograph(name, decoding.pixels, digest, path, decoding.oddities, decoding.view, rest)


def _open_again(source: Path | bytes, name: str, white: int, path: Path | None, digest: str) -> Photograph:
    photograph = open_photograph(source, name, white)._replace(path=path)
    if photograph.digest != digest:
        raise DataError(f"{name}: was changed after it was read; read it again.")
    return photograph


def _from_array(array: NDArray[np.uint8], name: str) -> Photograph:
    if getattr(array, "dtype", None) != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{name}: an image in memory must be (H, W, 3) or (H, W) and uint8, not {found}.")
    if 0 in array.shape:
        raise DataError(f"{name}: an image in memory needs at least one pixel, not {array.shape}.")
    pixels = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    return Photograph(name, share_channels(pixels) if pixels.ndim == 2 else pixels, digest)
