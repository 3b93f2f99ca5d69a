"""Images of 16 bits: what of their range they use, and how their values become the 256 levels that models see."""

import re
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adcli.data.framing_standalone import find_levels
from adcli.errors import DataError

WHITE = 65535
"""What is white in images of 16 bits, unless something else is declared."""

CEILINGS = (255, 1023, 4095, 16383, WHITE)
"""Largest values of cameras: 8, 10, 12, 14 and 16 bits. Most fill the low bits of a file's 16."""

_GREY_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}
_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The other order of bytes: by it, Pillow takes the low byte of each value for the high one."""


def has_sixteen_bits(image: Image.Image) -> bool:
    """Tell whether an image is grey with values from 0 to 65535."""
    return image.mode in _GREY_MODES or (image.mode == "I" and image.format in ("PNG", "PPM", None))


def has_deep_colours(image: Image.Image) -> bool:
    """Tell whether an image that is not decoded yet has colours of 16 bits, of which Pillow reads the upper 8."""
    return image.mode in ("RGB", "RGBA") and (";16" in _raw_mode(image) or is_deep_pnm(image))


def is_deep_pnm(image: Image.Image) -> bool:
    """Tell whether an image that is not decoded yet is a PNM of 16 bits, grey or RGB, which Pillow would scale."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ()
    return image.format == "PPM" and image.mode in ("I", "RGB") and isinstance(args, tuple) and args[-1] > 255


def read_pnm(image: Image.Image, content: bytes) -> NDArray[np.uint16]:
    """Return the values in a PNM of 16 bits as they are in the file, (H, W) or (H, W, 3).

    Pillow would scale them by the largest value that the file declares, which no other format has.

    Args:
        image: opened, and not yet decoded.
        content: the bytes of its file.

    Raises:
        ValueError: the file lacks values, or has some that are no numbers of 16 bits.
    """
    tile = getattr(image, "tile")[0]  # noqa: B009 - only images from files have it
    shape = (image.height, image.width) if image.mode == "I" else (image.height, image.width, 3)
    count = int(np.prod(shape))
    if tile[0] == "ppm_plain":
        words = re.sub(rb"#[^\r\n]*", b"", content[tile[2] :]).split()
        values = np.array([_parse_value(word) for word in words[:count]], np.uint16)
    else:
        # An odd byte at the end would be half a value.
        found = content[tile[2] : tile[2] + 2 * count]
        values = np.frombuffer(found[: len(found) // 2 * 2], ">u2").astype(np.uint16)
    if len(values) < count:
        raise ValueError(f"it has {len(values)} of {count} values")
    return values.reshape(shape)


def _parse_value(word: bytes) -> int:
    if not (word.isdigit() and len(word) < 6 and int(word) <= WHITE):
        raise ValueError(f"'{word[:8]!r}' is no value of 16 bits")
    return int(word)


_CODESTREAM, _PRECISION = b"\xff\x4f\xff\x51", 42
"""What the image in a JPEG 2000 begins with, and how far behind the bits of its first channel are written."""


def find_shift(image: Image.Image, content: bytes) -> int:
    """Return by how many bits Pillow shifts the grey values of a JPEG 2000 of fewer than 16 bits to fill 16."""
    place = content.find(_CODESTREAM) + _PRECISION
    if image.format != "JPEG2000" or image.mode not in _GREY_MODES or place >= len(content):
        return 0
    return max(15 - (content[place] & 0x7F), 0)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    found = args[0] if isinstance(args, tuple) and args else args
    return found if isinstance(found, str) else ""


def ceiling(highest: int) -> int:
    """Return the largest value of a camera that has a value."""
    return next(value for value in CEILINGS if value >= highest)


def scale(values: NDArray[np.generic], white: int) -> NDArray[np.uint8]:
    """Return 16-bit values as levels from 0 to 255; what is above white is 255."""
    return find_levels(np.asarray(values, dtype=np.uint16), white)


def merge_bytes(high: NDArray[np.uint8], low: NDArray[np.uint8] | None, white: int) -> tuple[int, NDArray[np.uint8]]:
    """Return the largest value of 16-bit colours, and levels that white is 255 of; a fourth channel stays as it is.

    Args:
        high: their upper 8 bits, (H, W, C).
        low: their lower ones; without them, white is :data:`WHITE`.
        white: the value that becomes 255.
    """
    if low is None:
        # As Pillow has it: the lower bits would move nothing by more than a level.
        return int(high[:, :, :3].max()) << 8 | 255, high
    values = high.astype(np.uint16) << 8 | low
    levels = scale(values, white)
    levels[:, :, 3:] = high[:, :, 3:]
    return int(values[:, :, :3].max()), levels


def take_low_bytes(image: Image.Image, name: object) -> None:
    """Have an image with 16-bit colours, which is not decoded yet, decode to their lower 8 bits.

    Raises:
        DataError: Pillow cannot read them from such a file.
    """
    kind = re.fullmatch(r"(RGB|RGBA|RGBX);16([BLN])", _raw_mode(image))
    if kind is None:
        raise DataError(f"{name}: of its 16 bits only the upper 8 can be read; save it without transparency.")
    other = f"{kind[1]};16{_OTHER[kind[2]]}"
    tiles = getattr(image, "tile")  # noqa: B009 - only images from files have it
    tiles[:] = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other) for tile in tiles
    ]
