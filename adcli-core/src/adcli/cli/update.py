"""``adcli update``."""

import sys
from pathlib import Path
from typing import Any

import click

from adcli._commands import quote
from adcli.cli.console import ConsoleProgress, load_pipeline
from adcli.cli.flags import (
    Command,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    operand,
    out_flag,
    setting,
    settings,
)
from adcli.cli.train import print_trained


@click.command(cls=Command)
@operand("run", "A path, a name under runs, or 'last'.", complete="runs")
@flag(
    "--data",
    metavar="REF",
    required=True,
    section="Data",
    complete="data",
    help="More good images: a folder, table:FILE or data set.",
)
@settings("data_options")
@setting("calibration", otherwise="the run's")
@out_flag("The new run (runs/DATE-MODEL-DATA).", section="Run")
@setting("batch_size", otherwise="the run's")
@setting("device", otherwise="the run's")
@setting("workers", otherwise="the run's")
@megapixels_flag
@json_flag
def update(
    run: str,
    data: str,
    data_options: dict[str, Any],
    calibration: str | None,
    out: Path | None,
    as_json: bool,
    **computing: Any,
) -> None:
    """Learn more good images, without fitting anew.

    Writes a new run, which knows what the old one knew and what is new. PatchCore always can; PaDiM, DFM and DFKDE if
    the run was trained with --updatable. Models that train for many epochs cannot. The threshold is set on good images
    of both that were not learnt.

    \b
    Examples:
      adcli update last --data photos/june
      adcli update last --data photos/june --out runs/line3
    """
    pipeline, progress = load_pipeline(), ConsoleProgress()
    updated = pipeline.update(
        pipeline.load(run, progress=progress),
        data,
        data_options,
        calibration=calibration,
        out=out,
        progress=progress,
        command=quote("adcli", *sys.argv[1:]),
        **drop_missing(computing),
    )
    print_trained(updated, as_json)
    if updated.not_evaluated is not None:
        raise updated.not_evaluated
