"""``adcli evaluate``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, parse_pairs, print_json
from adcli.cli.scoring import scoring_options


@click.command()
@click.argument("run")
@click.option("--data", metavar="REF", help="Folder or data set to test on; the run's own when left out.")
@click.option("-d", "data_options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Data set option.")
@click.option("--name", metavar="NAME", help="Folder under RUN/evaluations (test, or the data's name).")
@scoring_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(
    run: str,
    data: str | None,
    data_options: dict[str, str],
    name: str | None,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Score labelled images with a finished run.

    RUN is a path, a name under runs, or 'last'; metrics, scores, pictures and a report to look at are written into it.
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run)
    scorer = pipeline.open_scorer(opened, **scoring)
    evaluation, folder = pipeline.evaluate(opened, data, data_options, scorer=scorer, name=name, progress=progress)
    for message in evaluation.skipped.values():
        progress.note(f"skipped: {message}")
    if as_json:
        print_json({"run": str(opened.path), "evaluation": str(folder), "metrics": evaluation.metrics})
        return
    from adcli.metrics.words import metric_lines

    for line in metric_lines(evaluation.metrics):
        click.echo(line)
    click.echo(f"look at    {folder / 'report.html'}")
