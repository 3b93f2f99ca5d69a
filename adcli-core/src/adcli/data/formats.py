"""Which files are images, and how they are opened: a new format begins here."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif", ".jp2"})
"""How the names of images end, in lower case."""


@contextmanager
def open_image(file: Path | bytes) -> Iterator["Image.Image"]:
    """Open an image by Pillow, from a file or its bytes; raises whatever Pillow raises."""
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns from half its limit on; only its limit itself is an error here.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            yield image
