"""Room in memory for large photographs: asked for before they are decoded, and shared among threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from adcli._process.memory import free_memory
from adcli.data.bits import has_deep_colours
from adcli.data.strips import find_orientation
from adcli.data.view import Size
from adcli.errors import LackOfMemoryError

SMALL = 256 << 20
"""Bytes that nobody asks for: looking what is free takes as long as decoding a small photograph."""

STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory, by mode; all others have four."""

BESIDES = {"WEBP": 10, "AVIF": 4}
"""Bytes of a pixel that decoders of formats need beside that."""

GREY = ("1", "L", "I", *(mode for mode, size in STORED.items() if size == 2))
"""Modes of which one level is taken from a pixel, and not three."""

POLL_SECONDS = 0.5
"""How often a thread looks again whether there is room: others may have given memory back."""


class _Room:
    """What those who decode large photographs at the same time have asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._promised = 0

    def enter(self, needed: int) -> int | None:
        """Promise some bytes, once others leave room for them; return what is free if there is too little anyway."""
        with self._changed:
            while True:
                free = free_memory()
                # Of what was promised, part is taken already, and counted twice: better than not at all.
                if free is None or needed + self._promised <= free:
                    self._promised += needed
                    return None
                if not self._promised:
                    return free
                self._changed.wait(POLL_SECONDS)

    def leave(self, needed: int) -> None:
        """Take a promise back."""
        with self._changed:
            self._promised -= needed
            self._changed.notify_all()


_ROOM = _Room()


@contextmanager
def room_for(needed: int, what: str, remedy: str) -> Iterator[None]:
    """Let a photograph be decoded once there is memory for it.

    Args:
        needed: bytes, at least.
        what: the photograph, with its size, for the message.
        remedy: what to do if there is too little.

    Raises:
        LackOfMemoryError: there is too little, even if nothing else is being decoded.
    """
    if needed <= SMALL:
        yield
        return
    free = _ROOM.enter(needed)
    if free is not None:
        raise LackOfMemoryError(
            f"{what}: decoding it takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free",
            remedy=remedy,
        )
    try:
        yield
    finally:
        _ROOM.leave(needed)


def count_bytes(image: Image.Image, size: Size, taken: int) -> int:
    """Return what decoding an image takes in memory at most, beside its file.

    Args:
        image: opened, and not yet decoded; perhaps at a scale.
        size: height and width in its file.
        taken: pixels that are taken from it.
    """
    stored, besides = STORED.get(image.mode, 4), BESIDES.get(image.format or "", 0)
    if "progressive" in image.info:
        # The coefficients of all channels wait for the last pass.
        besides += 2 * len(image.getbands())
    if image.format == "JPEG2000":
        besides += 4 * len(image.getbands())
    if has_deep_colours(image):
        # Their lower bits are decoded by themselves.
        besides += 4
    if image.format == "TIFF" and find_orientation(image) != 1:
        # Pillow turns it in memory.
        besides += stored
    return image.width * image.height * stored + size[0] * size[1] * besides + taken * (1 if image.mode in GREY else 3)
