"""What the commands share on the terminal: colour, progress, notes, tables, JSON."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adcli import _system
from adcli._bars import TerminalBars
from adcli.errors import one_line, printable

if TYPE_CHECKING:
    from adcli.progress import ProgressEvent
    from adcli.scoring.calibration import Calibration

T = TypeVar("T")

TYPED = "adcli.typed"
"""Where a click context keeps the arguments as typed."""


def voice() -> str:
    """Return ``"quiet"`` or ``"verbose"`` if the command was asked to be, else nothing."""
    ctx = click.get_current_context(silent=True)
    return str(ctx.meta.get("adcli.voice", "")) if ctx else ""


def wants_colour() -> bool | None:
    """Return what NO_COLOR or FORCE_COLOR ask for; None if a stream's being a terminal decides."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def is_terminal() -> bool:
    """Tell whether stdout is for a person to read."""
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout is not None and sys.stdout.isatty())


def style_verdict(word: str, text: str) -> str:
    """Colour a text by a verdict, and write what is not good large on a terminal."""
    if not is_terminal():
        return text
    colours = {"defect": "red", "unreadable": "yellow"}
    return click.style(text.upper(), fg=colours[word], bold=True) if word in colours else click.style(text, fg="green")


def show_error(error: click.ClickException, arguments: Sequence[str]) -> None:
    """Print what was wrong on stderr: for a wrong usage also the usage; ``arguments`` are those typed."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try '{error.ctx.command_path} --help' for help.\n", err=True)
    message = as_typed(shorten_words(printable(error.format_message())), arguments)[:2000]
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True, color=wants_colour())


def shorten_words(text: str) -> str:
    """Return a text without the middle of words that nobody can read, such as a number of 5,000 digits."""
    return re.sub(r"\S{500,}", lambda word: f"{word[0][:200]}...{word[0][-50:]}", text)


def explain(error: BaseException) -> None:
    """Print what an error came from, one line for each."""
    while (cause := error.__cause__ or error.__context__) is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        click.echo(f"because: {one_line(cause)}{where}", err=True)
        error = cause


def versions() -> Iterator[tuple[str, str]]:
    """Yield names and versions: the core, Python, torch, and the plugins' distributions."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from adcli import __version__
    from adcli._plugins.registry import registry

    yield "adcli", __version__
    yield "python", platform.python_version()
    try:
        yield "torch", version("torch")
    except PackageNotFoundError:
        yield "torch", "not installed"
    found = {plugin.distribution: plugin.version for plugin in registry().plugins}
    found.pop("adcli-core", None)
    yield from sorted(found.items())


def print_versions() -> None:
    """Print versions in a line on stderr."""
    click.echo(", ".join(f"{name} {version}" for name, version in versions()), err=True)


class ConsoleProgress(TerminalBars):
    """Bars and notes on stderr; bars only if a person watches, and nothing but warnings if they ask for quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.voice = voice()
        self.typed = typed()

    @property
    def is_watched(self) -> bool:
        return super().is_watched and self.voice != "quiet"

    def report(self, event: "ProgressEvent") -> None:
        super().report(event)
        if self._bars is None and self.voice == "verbose":
            self.note(f"{event.what}: {event}")

    def note(self, text: str) -> None:
        text = shorten_words(printable(as_typed(text, self.typed)))
        matters = text.startswith(("warning", "skipped", "unreadable"))
        if not text or (self.voice == "quiet" and not matters):
            return
        if not self.is_styled:
            click.echo(text, err=True)
            return
        shown = wrap(text, self.console.width) if self.console.is_terminal else text
        style = "yellow" if text.startswith("warning") else "dim"
        self.console.print(shown, style=style, markup=False, soft_wrap=True)


def wrap(text: str, width: int, indent: int = 0) -> str:
    """Break lines between words, and never in a path or a name."""
    lines = (
        textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            drop_whitespace=True,
        )
        or [""]
        for line in text.split("\n")
    )
    return "\n".join(line for part in lines for line in part)


def take_any_text() -> None:
    """Have stdout write with backslashes what its encoding lacks, as stderr does; none of it is worth a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


_ENDS = str.maketrans({letter: repr(letter)[1:-1] for letter in "\n\r\t\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029"})
"""What begins another line or column, and how it is shown."""


def safe(text: str) -> str:
    """Return a text as stdout may show it: one line, control characters as ``\\n`` and ``\\x1b``, also in a pipe."""
    return printable(text.translate(_ENDS))


def print_path(path: Path) -> None:
    """Print a path alone: a terminal shows it, and a pipe gets its very bytes, for a program that opens it."""
    output = None if sys.stdout is None or sys.stdout.isatty() else getattr(sys.stdout, "buffer", None)
    # Windows has no names of bytes.
    if output is None or _system.WINDOWS:
        click.echo(safe(str(path)))
    else:
        click.echo(os.fsencode(path))


def describe_promise(calibration: "Calibration") -> dict[str, Any]:
    """Return what a threshold promises, in a sentence and as numbers, as every command's JSON says it."""
    return {"promise": calibration.promise(), "false_alarms": calibration.describe_rate()}


def print_fact(name: str, value: object) -> None:
    """Print a result: its name, and what it is, wrapped beside the name on a terminal."""
    print_line(f"{name:<10} {value}")


def print_line(line: str, indent: int = 11) -> None:
    """Print a line, wrapped on a terminal; a line break in it is shown as one."""
    line = safe(as_typed(line, typed()))
    click.echo(wrap(line, columns(), indent) if is_terminal() else line)


def columns() -> int:
    """Return the width of the terminal."""
    return shutil.get_terminal_size().columns


def typed() -> Sequence[str]:
    """Return the arguments of the command that runs."""
    ctx = click.get_current_context(silent=True)
    return ctx.meta.get(TYPED, ()) if ctx else ()


def as_typed(text: str, arguments: Iterable[str]) -> str:
    """Return a text for people, its paths below the current folder relative, unless absolute ones were typed.

    Code makes paths absolute where a run keeps them, and its messages then name them so.

    Args:
        text: a message.
        arguments: of the command, as they were typed.
    """
    here = current_folder()
    if here in ("", os.sep) or any(here in word or Path(word).is_absolute() for word in arguments):
        return text
    # Nor in a command for pip, which takes a bare name for a package.
    pattern = rf"pip install .*|(?<![\w/.\-]){re.escape(here + os.sep)}(?=[^\s'\"])"
    return re.sub(pattern, lambda found: found[0] if found[0].startswith("pip ") else "", text)


def relative(path: Path) -> Path:
    """Return a path as one would type it here: relative if it is below the current folder."""
    here = current_folder()
    return path.relative_to(here) if here and path.is_absolute() and path.is_relative_to(here) else path


def current_folder() -> str:
    """Return the current folder; nothing if it is gone, perhaps by the command itself."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""


def report_failed_plugins(*, of_hooks_only: bool = False) -> None:
    """Load the plugins and print, once, a line on stderr for each that failed; perhaps only if a hook did since."""
    from adcli._plugins.registry import registry

    for line in registry().take_hook_warnings() if of_hooks_only else registry().take_warnings():
        click.echo(line, err=True)


class Pipeline:
    """The Python API, whose names import what they need when they are used; what plugins print goes to stderr.

    Stdout is for results, and may be one JSON document.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from adcli import pipeline

        function = getattr(pipeline, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            with apart():
                outcome = function(*arguments, **keywords)
            return iterate_apart(outcome) if isinstance(outcome, Iterator) else outcome

        return call


def apart() -> AbstractContextManager[Any]:
    """Have what plugins print go to stderr; for commands, which print nothing themselves meanwhile."""
    return contextlib.redirect_stdout(sys.stderr)


def iterate_apart(items: Iterator[T]) -> Iterator[T]:
    """Yield items; what plugins print while the next is computed goes to stderr."""
    end = object()
    try:
        while True:
            with apart():
                item: Any = next(items, end)
            if item is end:
                return
            yield item
    finally:
        getattr(items, "close", lambda: None)()


def load_pipeline() -> Pipeline:
    """Report plugins that failed, and return what computes."""
    from adcli._process import torchrun

    if torchrun.rank() == 0:
        report_failed_plugins()
    return Pipeline()


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]], empty: str, typed: Sequence[str] = ()) -> None:
    """Print a table on stdout, or a line that says there is nothing; a pipe gets tab-separated lines.

    Args:
        names: of the columns.
        rows: a text for each column.
        empty: the line.
        typed: columns that hold what one has to type, which are never cut, nor wrapped, nor left out.
    """
    shown = [safe if name in typed else printable for name in names]
    lines = [[" ".join(show(cell).split()) for show, cell in zip(shown, row, strict=True)] for row in rows]
    if not lines:
        click.echo(safe(empty))
    elif not is_terminal():
        click.echo("\n".join("\t".join(line) for line in [list(names), *lines]))
    else:
        for line in lay_out(names, lines, typed, columns()):
            click.echo(line.rstrip())


def lay_out(names: Sequence[str], lines: Sequence[Sequence[str]], typed: Sequence[str], width: int) -> Iterator[str]:
    """Yield the lines of a table for a terminal: prose wraps at words, and is left out from the right if it must be."""
    table = [list(names), *map(list, lines)]
    natural = [max(len(row[i]) for row in table) for i in range(len(names))]
    # Prose keeps its longest word whole, unless that is longer than any word of a language.
    least = [
        size if name in typed else min(max(len(word) for row in table for word in (row[i].split() or [""])), 24)
        for i, (name, size) in enumerate(zip(names, natural, strict=True))
    ]
    prose = [i for i, name in enumerate(names) if name not in typed]
    longest = max(prose, key=natural.__getitem__, default=None)
    # What explains most stays longest, and is not squeezed for what explains less.
    for i in sorted(prose, key=lambda i: (i == longest, -i)):
        comfortable = min(natural[longest], 30) - least[longest] if longest is not None and i != longest else 0
        if sum(size + 2 for size in least if size) - 2 + max(comfortable, 0) > width:
            least[i] = 0
    spare = width + 2 - sum(size + 2 for size in least if size)
    widths = list(least)
    for i in range(len(widths)):
        if least[i]:
            widths[i] += max(min(natural[i] - least[i], spare), 0)
            spare -= widths[i] - least[i]
    for number, row in enumerate(table):
        cells = [
            textwrap.wrap(cell, size, break_on_hyphens=False) for cell, size in zip(row, widths, strict=True) if size
        ]
        for texts in zip_longest(*cells, fillvalue="") if any(cells) else ():
            line = "  ".join(text.ljust(size) for text, size in zip(texts, filter(None, widths), strict=True))
            yield click.style(line, bold=True) if number == 0 else line
