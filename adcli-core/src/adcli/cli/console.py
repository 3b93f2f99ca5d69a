"""What the commands share on the terminal: progress, notes, tables, JSON."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar

import click

T = TypeVar("T")


class ConsoleProgress:
    """Bars and notes on stderr; bars only where a person watches."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def track(self, items: Iterable[T], total: int, description: str) -> Iterator[T]:
        if not self.console.is_terminal or total == 0:
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(description, total=total)
            for item in items:
                yield item
                bars.advance(task)

    def note(self, text: str) -> None:
        if text:
            self.console.print(
                text, style="yellow" if text.startswith("warning") else "dim", markup=False, soft_wrap=True
            )


def report_failed_plugins(*, of_hooks_only: bool = False) -> None:
    """Load the plugins and print, once, a line on stderr for each that failed; perhaps only where a hook did since."""
    from adcli._plugins.registry import registry

    for line in registry().take_hook_warnings() if of_hooks_only else registry().take_warnings():
        click.echo(line, err=True)


def load_pipeline() -> ModuleType:
    """Report plugins that failed, and return the Python API, whose names import what they need when they are used."""
    from adcli import pipeline
    from adcli._process import joining

    if joining.rank() == 0:
        report_failed_plugins()

    return pipeline


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Print a table on stdout, or a line that says there is nothing; a pipe gets tab-separated lines."""
    lines = list(rows)
    if not lines:
        click.echo(empty)
    elif not sys.stdout.isatty():
        for line in [list(columns), *lines]:
            click.echo("\t".join(" ".join(cell.split()) for cell in line))
    else:
        _print_rich_table(columns, lines)


def _print_rich_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def parse_pairs(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Turn repeated ``KEY=VALUE`` into a dictionary; a click callback."""
    pairs = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"'{value}' is not of the form KEY=VALUE.", ctx, parameter)
        pairs[key.strip()] = text
    return pairs
