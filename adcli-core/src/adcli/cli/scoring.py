"""Options of all commands that score images with a finished run."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def scoring_options(command: Command) -> Command:
    """Add what :func:`adcli.pipeline.open_scorer` takes beside a run."""
    for option in (
        click.option("--skip-unreadable", is_flag=True, help="List unreadable images instead of stopping."),
        click.option(
            "--workers", type=click.IntRange(0), metavar="N", default=2, help="Threads that decode images (2)."
        ),
        click.option(
            "--batch-size", type=click.IntRange(1), metavar="N", default=16, help="Images computed at a time (16)."
        ),
        click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)."),
    ):
        command = option(command)
    return command


def rate_option(command: Command) -> Command:
    """Add ``rate``, a false-alarm rate other than the run's."""
    return click.option(
        "--false-alarm-rate",
        "rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="RATE",
        help="Share of good images that may be called defective (the run's).",
    )(command)
