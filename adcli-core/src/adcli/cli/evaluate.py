"""``adcli evaluate``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_fact, print_json, print_line, relative
from adcli.cli.flags import (
    RUN,
    SCORING,
    Command,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    operand,
    setting,
    settings,
)
from adcli.errors import DataError


@click.command(cls=Command)
@operand("run", RUN, complete="runs")
@setting("data", "Folder or data set to test on.", otherwise="the run's")
@settings("data_options", "part")
@flag("--name", metavar="NAME", section="Output", help="Folder under RUN/evaluations (test, or the data's name).")
@settings(*SCORING)
@megapixels_flag
@json_flag
def evaluate(
    run: str,
    data: str | None,
    data_options: dict[str, str],
    name: str | None,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Score labelled images with a finished run.

    Writes metrics, scores, pictures and a report to look at into the run.
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run, progress=progress)
    scorer = pipeline.open_scorer(opened, **drop_missing(scoring))
    evaluation, folder = pipeline.evaluate(opened, data, data_options, scorer=scorer, name=name, progress=progress)
    if as_json:
        print_json({"run": str(opened.path), "evaluation": str(folder), "metrics": evaluation.metrics})
    else:
        from adcli.metrics.words import metric_lines

        for line in metric_lines(evaluation.metrics):
            print_line(line)
        print_fact("look at", relative(folder / "report.html"))
    failed = len(evaluation.unreadable) + len(evaluation.without_mask)
    if failed and not scoring.get("skip_unreadable"):
        raise DataError(
            f"{folder}: {failed} images or masks could not be read, and are missing in the metrics; mend them, or "
            "accept that with --skip-unreadable."
        )
