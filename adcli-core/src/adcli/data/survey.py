"""What the images to train on have in common, before they are read: bits, whether they have colours, and sizes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from adcli.data.ahead import load_all
from adcli.data.bits import CEILINGS, WHITE, ceiling
from adcli.data.decoding import Header, Size, decode, decode_file, is_grey, read_bytes, read_header
from adcli.data.splitting import READERS
from adcli.data.view import Look, look_at_all
from adcli.errors import DataError

LOOKED_AT = 8
"""Images in colour modes whose pixels are looked at: many a grey photograph is saved in colours."""


class Survey(NamedTuple):
    """What images have in common.

    Attributes:
        learnt_from: ``"grey"``, ``"colours"``, or nothing if there are both.
        deep: number of images of 16 bits.
        highest: the largest value of these; once a camera of 16 bits is certain, the rest is not looked at.
        sizes: height, width, and the number of images that have them.
    """

    learnt_from: str
    deep: int
    highest: int
    sizes: Sequence[tuple[int, int, int]] = ()

    @property
    def white(self) -> int:
        """The largest value that a camera has which has taken the 16-bit images."""
        return ceiling(self.highest) if self.deep else WHITE

    def explain(self) -> str:
        """Say what white is and why; nothing if there are no 16-bit images."""
        if not self.deep:
            return ""
        images = "1 image" if self.deep == 1 else f"{self.deep} images"
        values = f"the values of {images} of 16 bits reach {self.highest}"
        if self.white == WHITE:
            return f"--white {WHITE}, as {values}."
        return f"--white {self.white}, as {values}; values above are clipped, and --white sets another."


def survey(paths: Sequence[Path], look: Look = look_at_all) -> Survey:
    """Look at headers, at the values of 16-bit images, and at the pixels of a few in colours.

    What cannot be read is passed over here.

    Args:
        paths: of the images.
        look: which part of them is judged for colours.
    """
    highest, deep, greys, coloured, sizes = 0, 0, 0, list[Path](), Counter[Size]()

    def inspect(path: Path) -> tuple[Header, int] | None:
        try:
            header = read_header(path)
            return header, _highest(path) if header.is_deep and highest <= CEILINGS[-2] else 0
        except DataError:
            return None

    for path, found in zip(paths, load_all(paths, inspect, READERS), strict=True):
        if found is not None:
            header, value = found
            highest, deep, greys = max(highest, value), deep + header.is_deep, greys + header.is_grey
            coloured += [] if header.is_grey else [path]
            sizes[header.size] += 1
    return Survey(
        _judge_colours(greys, coloured, look),
        deep,
        highest,
        [(*size, number) for size, number in sorted(sizes.items())],
    )


def _highest(path: Path) -> int:
    return decode(read_bytes(path), path).highest or 0


def _judge_colours(greys: int, coloured: Sequence[Path], look: Look) -> str:
    """Return what images are that have so many in grey modes, and these in others."""
    some = coloured[:: max(len(coloured) // LOOKED_AT, 1)][:LOOKED_AT]
    if all(_looks_grey(path, look) for path in some):
        return "grey" if greys or some else ""
    return "" if greys else "colours"


def _looks_grey(path: Path, look: Look) -> bool:
    try:
        return is_grey(decode_file(path, look=look).decoding.pixels)
    except DataError:
        return True
