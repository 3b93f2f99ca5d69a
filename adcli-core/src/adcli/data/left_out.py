"""What a reader passes over, and why: collected as files are listed and decoded, and said in one line.

An image of which something is passed over has *oddities*: reasons that stand below. Nothing heavy is imported.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adcli._showing import introduce
from adcli.errors import printable

KEPT = 1000
"""Examples that are kept of each reason; a stream of photographs has no end."""

SHOWN = 2
"""Examples that a line shows of each reason."""

REASONS_SHOWN = 8
"""Reasons that a line shows."""

NAME_LENGTH = 60
"""Characters of an example in a line, at most: its end, which tells more."""


class Reason(NamedTuple):
    """Why something is passed over: what is said of one, and of several, after their number."""

    one: str
    many: str
    is_problem: bool = False

    def __repr__(self) -> str:
        return introduce(self, "", self.many)


OUTSIDE = Reason("image outside of the folders that are read", "images outside of the folders that are read")
DANGLING = Reason("link that leads nowhere", "links that lead nowhere", True)
LOOP = Reason("linked folder that holds the folder it is in", "linked folders that hold the folder they are in", True)
SPECIAL = Reason("name of a pipe, a socket or a device", "names of pipes, sockets or devices", True)
NO_IMAGE = Reason("mask that belongs to no image", "masks that belong to no image", True)
SURPLUS_MASK = Reason("mask of an image that has another mask", "masks of images that have another mask", True)
MARKED_GOOD = Reason(
    "mask that marks something on a good image, and is not used",
    "masks that mark something on good images, and are not used",
    True,
)
FULL_MASK = Reason("mask that marks most of its image", "masks that mark most of their image", True)
EMPTY_MASK = Reason("mask that marks nothing", "masks that mark nothing", True)
CLEAR = Reason("image that is transparent, and so black", "images that are transparent, and so black", True)
PAGES = Reason("image with more pages than its first", "images with more pages than their first")
CLIPPED = Reason("image with values above white, clipped", "images with values above white, clipped")
COARSE = Reason(
    "image of 16 bits that keeps 16 grey levels at most (see --white)",
    "images of 16 bits that keep 16 grey levels at most (see --white)",
)
GREY = Reason("grey image, though the run learnt from colours", "grey images, though the run learnt from colours")
COLOUR = Reason(
    "image in colours, though the run learnt from grey ones", "images in colours, though the run learnt from grey ones"
)


def no_format(path: Path) -> Reason:
    """Return the reason for which a file is passed over that is called neither an image nor what lies beside images."""
    kind = printable(path.suffix.lower())[:NAME_LENGTH] or "nameless"
    return Reason(f"{kind} file, which is no format that is read", f"{kind} files, which are no format that is read")


@dataclass(frozen=True)
class LeftOut:
    """What was passed over for one reason.

    Attributes:
        reason: in words that follow the number.
        count: of how many.
        examples: names, the first of them at least.
        is_problem: whether ``adcli datasets check`` counts it as something wrong.
    """

    reason: str
    count: int
    examples: tuple[str, ...] = ()
    is_problem: bool = False

    def __repr__(self) -> str:
        return introduce(self, "", str(self))

    def __str__(self) -> str:
        shown = ", ".join(map(_shorten, self.examples[:SHOWN]))
        more = ", ..." if self.count > SHOWN else ""
        return f"{self.count:,} {self.reason}" + (f" ({shown}{more})" if shown else "")


class Omissions:
    """Collects what is left out, from any thread; what was taken once is not given again."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._names: dict[Reason, list[str]] = {}
        self._counts: dict[Reason, int] = {}

    def add(self, reason: Reason, name: object) -> None:
        """Note that something of a name is passed over."""
        with self._counting:
            names = self._names.setdefault(reason, [])
            if len(names) < KEPT:
                names.append(str(name))
            self._counts[reason] = self._counts.get(reason, 0) + 1

    def take(self) -> tuple[LeftOut, ...]:
        """Return what was left out since this was called before."""
        with self._counting:
            names, counts, self._names, self._counts = self._names, self._counts, {}, {}
        return tuple(
            LeftOut(reason.one if count == 1 else reason.many, count, tuple(names[reason]), reason.is_problem)
            for reason, count in counts.items()
        )


def describe(left_out: Iterable[LeftOut], what: str = "left out") -> str:
    """Return what was left out, or what else ``what`` calls it, in one line; nothing if there is nothing."""
    listed = [str(entry) for entry in left_out]
    if not listed:
        return ""
    more = len(listed) - REASONS_SHOWN
    return f"{what}: " + "; ".join(listed[:REASONS_SHOWN]) + (f"; and {more} more reasons" if more > 0 else "")


def say(left_out: "Omissions | Iterable[LeftOut]", note: Callable[[str], None], what: str = "left out") -> None:
    """Note what was left out, as :func:`describe` has it, if anything was; of a collector, what was not said before."""
    text = describe(left_out.take() if isinstance(left_out, Omissions) else left_out, what)
    if text:
        note(text)


def _shorten(name: str) -> str:
    name = printable(name)
    return name if len(name) <= NAME_LENGTH else f"...{name[3 - NAME_LENGTH :]}"
