"""How long work is reported: a protocol that the command line fills with bars and a notebook can leave silent."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class ProgressEvent(NamedTuple):
    """How far work has come.

    Attributes:
        what: the work, such as ``"training"``.
        done: how much of it.
        total: of how much; 0 if that is not known.
        epoch: passes over the images so far, the present one included, if there are any.
        epochs: of how many.
        loss: of the last batch, if there is one.
        learning_rate: of the last batch, likewise.
    """

    what: str
    done: int = 0
    total: int = 0
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    learning_rate: float | None = None

    def __str__(self) -> str:
        """Return ``"epoch 3/30, loss 0.0123, lr 0.001"``, or as much of it as there is."""
        facts = (
            self.epoch is not None and f"epoch {self.epoch}" + (f"/{self.epochs}" if self.epochs else ""),
            self.loss is not None and f"loss {self.loss:.4g}",
            self.learning_rate is not None and f"lr {self.learning_rate:.3g}",
        )
        return ", ".join(fact for fact in facts if fact)


class Progress(Protocol):
    """Receives what a person would like to see while a command works."""

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        """Yield the items while showing how many of ``total`` are done; 0 if that is not known."""
        ...

    def report(self, event: ProgressEvent) -> None:
        """Show how far the work that is tracked has come, a few times a second at most."""
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

    def report(self, event: ProgressEvent) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)
