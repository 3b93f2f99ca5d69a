"""``adcli calibrate``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json
from adcli.cli.scoring import rate_option, scoring_options


@click.command()
@click.argument("run")
@click.option("--data", metavar="REF", help="Good images that the model has not seen: a folder or data set.")
@rate_option
@scoring_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def calibrate(
    run: str,
    data: str | None,
    rate: float | None,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Set a finished run's threshold anew, without training.

    RUN is a path, a name under runs, or 'last'. With --data, the threshold comes from good images of today's line;
    without, from those of the run, for another --false-alarm-rate. Exports keep theirs: export the run again.

    \b
    Examples:
      adcli calibrate last --data photos/good-this-week
      adcli calibrate last --false-alarm-rate 0.05
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run)
    scorer = None
    if data is not None:
        scorer = pipeline.open_scorer(opened, **scoring)
    calibrated = pipeline.recalibrate(opened, data, rate=rate, scorer=scorer, progress=progress)
    for message in scorer.source.skipped.values() if scorer else ():
        progress.note(f"skipped: {message}")
    before, after = opened.calibration, calibrated.calibration
    if as_json:
        thresholds = {"before": before.image_threshold, "threshold": after.image_threshold}
        print_json({"run": str(opened.path), **thresholds, "images": after.n, "promise": after.promise()})
        return
    click.echo(f"before     {before.promise()}")
    click.echo(f"threshold  {after.promise()}")
    click.echo(f"go on      adcli report {opened.path}    (the report was made with the threshold before)")
