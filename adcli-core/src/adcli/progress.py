"""How long work is reported: a protocol that the command line fills with bars and a notebook can leave silent."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Receives what a person would like to see while a command works."""

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        """Yield the items while showing how many of ``total`` are done; 0 where that is not known."""
        ...

    def note(self, text: str) -> None:
        """Tell the user one line that matters: a fallback, a skipped image, a weakened promise."""
        ...


class Silent:
    """Shows nothing and keeps the notes, for callers who print none."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        yield from items

    def note(self, text: str) -> None:
        self.notes.append(text)
