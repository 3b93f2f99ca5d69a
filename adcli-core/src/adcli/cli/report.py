"""``adcli report``."""

from functools import partial
from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json, print_path, relative
from adcli.cli.flags import RUN, SCORING, Command, drop_missing, flag, json_flag, megapixels_flag, operand, settings


@click.command(cls=Command)
@operand("run", RUN, complete="runs")
@flag("--name", metavar="NAME", help="Evaluation, a folder under evaluations (the run's own).")
@flag("--open", "to_open", is_flag=True, help="Open the page in the browser.")
@settings(*SCORING)
@megapixels_flag
@json_flag
def report(run: str, name: str | None, to_open: bool, as_json: bool, **scoring: Any) -> None:
    """Say where the page of a run is, or open it.

    The page shows verdicts, metrics, and pictures of what was found and missed. 'adcli train' and 'adcli evaluate'
    write it, one HTML file that needs no network. If the run's threshold has changed since ('adcli calibrate'), the
    images are scored again.
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run, progress=progress)
    page = pipeline.report(
        opened, name, scorer=partial(pipeline.open_scorer, **drop_missing(scoring)), progress=progress
    )
    if as_json:
        print_json({"run": str(opened.path), "report": str(page)})
    else:
        print_path(relative(page))
    if to_open:
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            progress.note(f"warning: no browser was found; open {page} in one.")
