"""Progress as bars: of a terminal, or of a notebook."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adcli._showing import escape
from adcli.errors import printable
from adcli.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

OFTEN = 0.1
"""Seconds between two drawings of a bar, at least."""


class TerminalBars:
    """Bars and notes on stderr; bars only if a person watches."""

    def __init__(self) -> None:
        self._bars: Any = None

    @cached_property
    def console(self) -> "Console":
        # Imported here: it takes longer than to read a run, and is needed for colours and bars alone.
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    @property
    def is_watched(self) -> bool:
        """Tell whether bars are drawn."""
        return self.is_styled and self.console.is_terminal

    @property
    def is_styled(self) -> bool:
        """Tell whether stderr may be for a person to read, as far as that is known without Rich."""
        forced = any(map(os.environ.get, ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")))
        return forced or (sys.stderr is not None and sys.stderr.isatty())

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        if not self.is_watched or total == 0:
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        shown = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        facts = TextColumn("{task.fields[facts]}")
        try:
            with Progress(*shown, facts, console=self.console, transient=True) as self._bars:
                task = self._bars.add_task(description, total=total, facts="")
                for item in items:
                    yield item
                    self._bars.advance(task)
        finally:
            self._bars = None

    def report(self, event: ProgressEvent) -> None:
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[-1], facts=str(event))

    def note(self, text: str) -> None:
        if not text:
            return
        if self.is_styled:
            self.console.print(printable(text), markup=False, soft_wrap=True)
        else:
            click.echo(printable(text), err=True)


class NotebookBars:
    """Bars of HTML in the output of a notebook's cell, and notes below them; each bar leaves a line of text."""

    def __init__(self) -> None:
        self._open: list[_Bar] = []

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        bar = _Bar(description, total)
        self._open.append(bar)
        try:
            for item in items:
                yield item
                bar.advance()
        finally:
            self._open.remove(bar)
            bar.end()

    def report(self, event: ProgressEvent) -> None:
        if self._open:
            self._open[-1].tell(str(event))

    def note(self, text: str) -> None:
        if text:
            print(printable(text))


class _Bar:
    """One bar; without a total it says how many are done."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self.done, self.facts = 0, ""
        self._begun = self._drawn = time.monotonic()
        self._handle = import_module("IPython.display").display(self._content(), raw=True, display_id=True)

    def advance(self) -> None:
        self.done += 1
        self._draw()

    def tell(self, facts: str) -> None:
        self.facts = facts
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= OFTEN:
            self._drawn = now
            self._handle.update(self._content(), raw=True)

    def end(self) -> None:
        """Leave a line that says what was done, and how long it took; nothing if nothing was."""
        line = f"{self._count()} in {time.monotonic() - self._begun:.1f} s" if self.done else ""
        self._handle.update({"text/html": escape(line), "text/plain": line}, raw=True)

    def _count(self) -> str:
        of = f" of {self.total}" if self.total and self.total != self.done else ""
        return f"{self.description}: {self.done}{of}"

    def _content(self) -> dict[str, str]:
        line = self._count() + (f", {self.facts}" if self.facts else "")
        known = f' max="{self.total}" value="{self.done}"' if self.total else ""
        return {"text/html": f"<progress{known}></progress> {escape(line)}", "text/plain": line}


class ProgressBar:
    """Draws bars: in a notebook below its cell, elsewhere on stderr if that is a terminal.

    ``pipeline.train(settings, progress=ProgressBar())``; each function that takes ``progress`` takes one.
    """

    def __init__(self) -> None:
        self._bars: Progress = NotebookBars() if in_notebook() else TerminalBars()

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        return self._bars.track(items, total, description)

    def report(self, event: ProgressEvent) -> None:
        self._bars.report(event)

    def note(self, text: str) -> None:
        self._bars.note(text)


def in_notebook() -> bool:
    """Tell whether this code runs in a kernel, whose output is a notebook's; nothing is imported for that."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
