"""``adcli calibrate``."""

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json


@click.command()
@click.argument("run")
@click.option("--data", metavar="REF", help="Good images that the model has not seen: a folder or data set.")
@click.option(
    "--false-alarm-rate",
    "rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Share of good images that may be called defective (the run's).",
)
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto).")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", default=16, help="Images computed at a time (16).")
@click.option("--workers", type=click.IntRange(0), metavar="N", default=2, help="Threads that decode images (2).")
@click.option("--skip-unreadable", is_flag=True, help="List unreadable images instead of stopping.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def calibrate(
    run: str,
    data: str | None,
    rate: float | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_unreadable: bool,
    as_json: bool,
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
        scorer = pipeline.open_scorer(
            opened, device=device, batch_size=batch_size, workers=workers, skip_unreadable=skip_unreadable
        )
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
    click.echo(f"go on      adcli evaluate {opened.path}    (the run's evaluation was made with the threshold before)")
