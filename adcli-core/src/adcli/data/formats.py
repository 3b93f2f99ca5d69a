"""Which files are images, and how they are opened: a new format begins here."""

import errno
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from adcli._locking import open_regular
from adcli.errors import OptionError, one_line

if TYPE_CHECKING:
    from PIL import Image, ImageFile

_PLUGINS = {
    "JPEG": ("Jpeg", {".jpg", ".jpeg", ".jfif", ".jpe"}),
    "PNG": ("Png", {".png"}),
    "BMP": ("Bmp", {".bmp"}),
    "DIB": ("Bmp", {".dib"}),
    "TIFF": ("Tiff", {".tif", ".tiff"}),
    "WEBP": ("WebP", {".webp"}),
    "GIF": ("Gif", {".gif"}),
    "PPM": ("Ppm", {".ppm", ".pgm", ".pbm", ".pnm"}),
    "JPEG2000": ("Jpeg2K", {".jp2"}),
    "AVIF": ("Avif", {".avif"}),
    # Has no mark that it begins with, so that it is tried last.
    "TGA": ("Tga", {".tga"}),
}
"""Pillow's formats that are opened, with the module of each and its suffixes."""

IMAGE_SUFFIXES = frozenset().union(*(suffixes for _, suffixes in _PLUGINS.values()))
"""How the names of images end, in lower case."""

LIMIT_VARIABLE = "ADCLI_MAX_MEGAPIXELS"
MOST_MEGAPIXELS = 2000
"""Megapixels that the variable may allow; positions in larger images overflow in Pillow."""

BYTES_PER_PIXEL = 11
"""What a photograph takes in memory while it is read and resized, per pixel."""

LARGE = 16_000_000
"""Pixels from which an image must hold some bytes for them."""

MOST_PIXELS_PER_BYTE = 4000
"""What a photograph of this size has at most: a black PNG has 350, and a sensor has noise."""

MOST_SCANS = 100
"""Passes over a progressive JPEG; encoders make about ten, and each takes as long as all pixels."""


@cache
def _readable_formats() -> tuple[str, ...]:
    """Return the formats that this Pillow has, and register them; all others would be imported with them otherwise."""
    found = []
    for name, (module, _) in _PLUGINS.items():
        try:
            import_module(f"PIL.{module}ImagePlugin")
        except ImportError:
            continue
        found.append(name)
    return tuple(found)


@contextmanager
def open_image(file: Path | bytes) -> Iterator["ImageFile.ImageFile"]:
    """Open an image by Pillow, from a file or its bytes; raises whatever Pillow and the system raise."""
    from PIL import Image

    _raise_limit()
    with warnings.catch_warnings():
        # Pillow warns from half its limit on; only its limit itself is an error here.
        warnings.simplefilter("ignore")
        with _open_binary(file) as source, Image.open(source, formats=_readable_formats()) as image:
            yield image


def _open_binary(file: Path | bytes) -> IO[bytes]:
    # A device may never end, and a pipe never begin.
    return (
        io.BytesIO(file) if isinstance(file, bytes) else os.fdopen(open_regular(file, os.O_RDONLY, follow=True), "rb")
    )


def explain_refusal(error: OSError) -> str:
    """Return why the system gives no content of a file, which says nothing of what is in it, to follow its name."""
    if error.errno == errno.EINVAL and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return f"cannot be read ({error.strerror or one_line(str(error))})"


def find_bomb(image: "Image.Image", content: bytes) -> str:
    """Return why a photograph would take long to decode for what its file holds; nothing if it would not.

    Args:
        image: opened, and not yet decoded.
        content: the bytes of its file.
    """
    pixels = image.width * image.height
    if pixels > LARGE and pixels > MOST_PIXELS_PER_BYTE * len(content):
        return f"declares {pixels / 1e6:.0f} megapixels, but has {len(content):,} bytes: no photograph is that empty"
    if "progressive" in image.info and content.count(b"\xff\xda") > MOST_SCANS:
        return f"has more than {MOST_SCANS} scans, as no photograph needs; save it again"
    return ""


def refuse_gaps(image: "Image.Image") -> None:
    """Check that the strips or tiles of a TIFF cover it, since Pillow leaves the rest black.

    Raises:
        ValueError: they do not.
    """
    boxes = (tile[1] for tile in getattr(image, "tile", ()))
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if image.format == "TIFF" and covered < image.width * image.height:
        raise ValueError("its parts do not cover it")


def _raise_limit() -> None:
    """Have Pillow decode as many pixels as the user allows; what a program that imports this has set stays else."""
    from PIL import Image

    text = os.environ.get(LIMIT_VARIABLE)
    if text:
        # Pillow refuses twice of this, and warns from it on.
        Image.MAX_IMAGE_PIXELS = _parse_limit(text) * 500_000


@cache
def _parse_limit(text: str) -> int:
    """Return the megapixels that the variable allows; raises :class:`OptionError` if it does not say."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_MEGAPIXELS):
        raise OptionError(f"must be a number of megapixels from 1 to {MOST_MEGAPIXELS}.", option=LIMIT_VARIABLE)
    return int(text)


def say_limit(pixels: int) -> str:
    """Return, in words, how many pixels are decoded at most, and, for an image of so many, what to do about it."""
    from PIL import Image

    limit = (Image.MAX_IMAGE_PIXELS or 0) * 2 / 1e6
    words = f"has more pixels than are decoded, {int(limit)} megapixels; shrink it"
    if pixels > MOST_MEGAPIXELS * 1_000_000:
        return words
    return (
        f"{words}, or set {LIMIT_VARIABLE} to the megapixels that it has, of which each takes {BYTES_PER_PIXEL} MB of "
        "memory in each thread"
    )


def count_pixels(error: "Image.DecompressionBombError") -> int:
    """Return the pixels of an image that Pillow refuses, which it says in words alone; 0 if it does not."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    return int(found[1]) if found else 0
