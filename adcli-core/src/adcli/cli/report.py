"""``adcli report``."""

from functools import partial
from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json
from adcli.cli.scoring import scoring_options


@click.command()
@click.argument("run")
@click.option("--name", metavar="NAME", help="Evaluation, a folder under evaluations (the run's own).")
@click.option("--open", "to_open", is_flag=True, help="Open the page in the browser.")
@scoring_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def report(run: str, name: str | None, to_open: bool, as_json: bool, **scoring: Any) -> None:
    """Show where the page of a run lies: verdicts, metrics, and pictures of what was found and missed.

    RUN is a path, a name under runs, or 'last'. 'adcli train' and 'adcli evaluate' write the page, one HTML file that
    needs no network. Where the run's threshold has changed since ('adcli calibrate'), the images are scored again.
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run)
    page = pipeline.report(opened, name, scorer=partial(pipeline.open_scorer, **scoring), progress=progress)
    if as_json:
        print_json({"run": str(opened.path), "report": str(page)})
    else:
        click.echo(page)
    if to_open:
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            progress.note(f"warning: no browser was found; open {page} in one.")
