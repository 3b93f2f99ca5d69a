"""``adcli calibrate``."""

from typing import Any

import click

from adcli._commands import quote
from adcli.cli.console import ConsoleProgress, load_pipeline, print_fact, print_json, relative
from adcli.cli.flags import RUN, SCORING, Command, drop_missing, json_flag, operand, setting, settings


@click.command(cls=Command)
@operand("run", RUN, complete="runs")
@setting(
    "data",
    "Good images that the model has not seen: a folder or data set.",
    otherwise="the run's",
    section="Calibration",
)
@setting("false_alarm_rate", otherwise="the run's")
@settings(*SCORING)
@json_flag
def calibrate(run: str, data: str | None, false_alarm_rate: float | None, as_json: bool, **scoring: Any) -> None:
    """Set the threshold of a run again, without training.

    With --data, the threshold comes from good images of today's line; without, from those of the run, for another
    --false-alarm-rate. Exports keep their threshold: export the run again.

    \b
    Examples:
      adcli calibrate last --data photos/good-this-week
      adcli calibrate last --false-alarm-rate 0.05
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.load(run, progress=progress)
    scorer = None
    if data is not None:
        scorer = pipeline.open_scorer(opened, **drop_missing(scoring))
    calibrated = pipeline.recalibrate(opened, data, rate=false_alarm_rate, scorer=scorer, progress=progress)
    for message in scorer.source.skipped.values() if scorer else ():
        progress.note(f"skipped: {message}")
    before, after = opened.calibration, calibrated.calibration
    if as_json:
        thresholds = {"before": before.image_threshold, "threshold": after.image_threshold}
        print_json({"run": str(opened.path), **thresholds, "images": after.n, "promise": after.promise()})
        return
    print_fact("before", before.promise())
    print_fact("threshold", after.promise())
    command = quote("adcli", "report", relative(opened.path))
    print_fact("go on", f"{command}    (the report was made with the threshold before)")
