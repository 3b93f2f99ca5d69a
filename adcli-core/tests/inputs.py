"""What a model gets of a file, for tests of what happens on the way."""

from pathlib import Path

from adcli.data import Decoded, Framing, ImageSource, Item, Size


def decode(path: Path, size: Size, framing: Framing | None = None) -> Decoded:
    """Return one image as a model sees it."""
    return ImageSource(size, workers=0, cache_bytes=0, framing=framing or Framing()).read(Item(path))
