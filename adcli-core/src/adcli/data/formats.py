"""Which files are images, and how they are opened: a new format begins here."""

import errno
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from adcli._locking import open_regular
from adcli.errors import NO_DESCRIPTORS, OptionError, one_line

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

LIMIT_OPTION = "--max-megapixels"
LIMIT_VARIABLE = "ADCLI_MAX_MEGAPIXELS"
"""What the option of a command sets for it, so that one place decides, in all threads and processes of a command."""

DEFAULT_MEGAPIXELS = 600
"""A line-scan camera's photograph of 16,384 pixels a line has as many after 36,000 lines."""

MOST_MEGAPIXELS = 2000
"""Megapixels that may be allowed; positions in larger images overflow in Pillow."""

_limits = {(1 << 30) // 12}
"""Limits of Pillow that nobody else chose: its own, and those that were set here."""

LARGE = 16_000_000
"""Pixels from which an image must hold some bytes for them."""

MOST_PIXELS_PER_BYTE = 4000
"""What a photograph of this size has at most: a black PNG has 350, and a sensor has noise."""

_BITS, _PLANES = 258, 284
"""Numbers of what a TIFF says about itself."""

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
def open_image(file: Path | bytes | IO[bytes]) -> Iterator["ImageFile.ImageFile"]:
    """Open an image by Pillow, from a file or its bytes; raises whatever Pillow and the system raise.

    A file that is open already stays so.
    """
    from PIL import Image

    _raise_limit()
    with warnings.catch_warnings():
        # Pillow warns from half its limit on; only its limit itself is an error here.
        warnings.simplefilter("ignore")
        with _open_binary(file) as source, Image.open(source, formats=_readable_formats()) as image:
            yield image


def _open_binary(file: Path | bytes | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    if isinstance(file, bytes):
        return io.BytesIO(file)
    # A device may never end, and a pipe never begin.
    return open_binary(file) if isinstance(file, Path) else nullcontext(file)


def open_binary(path: Path) -> IO[bytes]:
    """Open a file that is no device and no pipe; raises whatever the system raises."""
    return os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb")


def explain_refusal(error: OSError) -> str:
    """Return why the system gives no content of a file, which says nothing of what is in it, to follow its name.

    Raises:
        OSError: the error, if it says nothing of the file either.
    """
    if error.errno in NO_DESCRIPTORS:
        raise error
    if error.errno == errno.EINVAL and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return f"cannot be read ({error.strerror or one_line(str(error))})"


def find_bomb(image: "Image.Image", length: int) -> str:
    """Return why a photograph would take long to decode for what its file holds; nothing if it would not.

    Args:
        image: opened, and not yet decoded.
        length: bytes of its file.
    """
    pixels = image.width * image.height
    if pixels > LARGE and pixels > MOST_PIXELS_PER_BYTE * length:
        return f"declares {pixels / 1e6:.0f} megapixels, but has {length:,} bytes: no photograph is that empty"
    return ""


def find_scans(image: "Image.Image", content: bytes) -> str:
    """Return that a progressive JPEG has too many passes; nothing if it has not; takes what :func:`open_image` took."""
    if "progressive" in image.info and content.count(b"\xff\xda") > MOST_SCANS:
        return f"has more than {MOST_SCANS} scans, as no photograph needs; save it again"
    return ""


def refuse_gaps(image: "Image.Image") -> None:
    """Check that the strips or tiles of a TIFF cover it, since Pillow leaves the rest black, and has their channels.

    Raises:
        ValueError: they do not; or they have a channel each, of 16 bits, of which Pillow makes something else.
    """
    tags = getattr(image, "tag_v2", {})
    raw = [tile for tile in getattr(image, "tile", ()) if tile[0] == "raw"]
    if raw and tags.get(_PLANES) == 2 and max(tags.get(_BITS, (1,))) > 8:
        raise ValueError("it has 16 bits in separate planes; save it with its channels side by side, or compressed")
    boxes = (tile[1] for tile in getattr(image, "tile", ()))
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if image.format == "TIFF" and covered < image.width * image.height:
        raise ValueError("its parts do not cover it")


def _raise_limit() -> None:
    """Have Pillow decode as many pixels as are allowed; what a program that imports this has set itself stays."""
    from PIL import Image

    text = os.environ.get(LIMIT_VARIABLE)
    if text or Image.MAX_IMAGE_PIXELS in _limits:
        # Pillow refuses twice of this, and warns from it on.
        Image.MAX_IMAGE_PIXELS = (parse_limit(text) if text else DEFAULT_MEGAPIXELS) * 500_000
        _limits.add(Image.MAX_IMAGE_PIXELS)


def most_pixels() -> int:
    """Return how many pixels an image may have."""
    from PIL import Image

    _raise_limit()
    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else MOST_MEGAPIXELS * 1_000_000


@cache
def parse_limit(text: str, option: str = LIMIT_VARIABLE) -> int:
    """Return the megapixels that an option or the variable allows; raises :class:`OptionError` if it does not say."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_MEGAPIXELS):
        raise OptionError(
            f"must be a number of megapixels from 1 to {MOST_MEGAPIXELS}, not '{text[:20]}'.", option=option
        )
    return int(text)


def say_limit(pixels: int) -> str:
    """Return, in words, how many pixels are decoded at most, and, for an image of so many, what to do about it."""
    words = f"has more pixels than are decoded, {most_pixels() // 1_000_000} megapixels; shrink it"
    if pixels > MOST_MEGAPIXELS * 1_000_000:
        return words
    needed = -(-pixels // 1_000_000) or "N"
    return f"{words}, or allow it with {LIMIT_OPTION} {needed} (in Python, {LIMIT_VARIABLE}={needed})"


def count_pixels(error: "Image.DecompressionBombError") -> int:
    """Return the pixels of an image that Pillow refuses, which it says in words alone; 0 if it does not."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    return int(found[1]) if found else 0
