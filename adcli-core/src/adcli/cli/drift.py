"""``adcli drift``."""

import re
from pathlib import Path
from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_fact, print_json, relative
from adcli.cli.flags import (
    OPENED,
    SCORING,
    Command,
    Place,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    name_key,
    operand,
    setting,
    settings,
)
from adcli.errors import DEFECT_FOUND, OptionError

_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.0}
"""Units of time, in days."""

_RATIO = re.compile(r"([0-9]+)/([0-9]+)([a-z]?)", re.ASCII)


@click.command(cls=Command)
@operand("run", f"{OPENED} An export needs no torch.", complete="runs")
@setting("data", "Images in the order of time: a folder by names, a table by rows.", otherwise="or --scores")
@settings("data_options")
@flag(
    "--scores",
    type=Place(),
    metavar="FILE",
    section="Data",
    complete="files",
    help="Instead of --data, the predictions.csv that 'adcli predict' wrote; nothing is scored again.",
)
@flag(
    "--alarms",
    metavar="1/N",
    default="1/10000",
    section="Calibration",
    help="False alarms: one in N images, or in a time such as 1/90d (h, d, w, y) with --rate (1/10000).",
)
@flag(
    "--rate", metavar="N/d", section="Calibration", help="Images in a time, such as 500/d (h, d, w, y), for --alarms."
)
@flag("--out", type=Place(), metavar="FILE", section="Output", help="Also draw it on a page, FILE.html.")
@flag("--fail-on-drift", is_flag=True, section="Output", help="Exit with code 3 if there is drift.")
@settings(*SCORING)
@megapixels_flag
@json_flag
@click.pass_context
def drift(
    ctx: click.Context,
    /,
    run: str,
    data: str | None,
    data_options: dict[str, str],
    scores: Path | None,
    alarms: str,
    rate: str | None,
    out: Path | None,
    fail_on_drift: bool,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Tell whether images have changed, since when, and which show it.

    Give the images in the order of time: files in the natural order of their paths (img2 before img10), rows of a table
    as they are. All parts count, good ones and defective ones.

    \b
    Examples:
      adcli drift last --data photos/line3 --out drift.html
      adcli drift last --scores checked/predictions.csv
      adcli drift last --data in --alarms 1/90d --rate 500/d
    """
    for name in ("out", "alarms"):
        name_key(ctx, name, f"--{name}")
    between = count_images(alarms, rate)
    pipeline, progress = load_pipeline(), ConsoleProgress()
    opened = pipeline.find(run, progress=progress)
    scorer = None if data is None or scores is not None else pipeline.open_scorer(opened, **drop_missing(scoring))
    found = pipeline.drift(
        opened, data, data_options, scores=scores, between=between, out=out, scorer=scorer, progress=progress
    )
    if as_json:
        print_json({"run": str(opened.path), **found.to_dict(), "page": None if out is None else str(out)})
    else:
        for name, text in found.say():
            print_fact(name, text)
        if out is not None:
            print_fact("look at", relative(out))
    if fail_on_drift and found.alarm is not None:
        ctx.exit(DEFECT_FOUND)


def count_images(alarms: str, rate: str | None) -> float:
    """Return how many images lie between two false alarms, from ``--alarms`` and ``--rate``.

    Raises:
        OptionError: one of them is none, or a time needs a rate, or a number of images has one.
    """
    few, images, unit = _parse(alarms, "--alarms", "1/N, such as 1/10000 images, or 1/90d with --rate 500/d")
    if not unit:
        if rate is not None:
            raise OptionError("belongs to a time, such as --alarms 1/90d; leave it out.", option="--rate")
        return images / few
    if rate is None:
        raise OptionError(
            f"{alarms} is a time; say how many images there are in one with --rate, such as 500/d.", option="--alarms"
        )
    many, time, per = _parse(
        rate if re.search(r"/[0-9]", rate) else rate.replace("/", "/1"), "--rate", "images in a time, such as 500/d"
    )
    if not per:
        raise OptionError(f"must be images in a time, such as 500/d, not '{rate}'.", option="--rate")
    return images * _DAYS[unit] / few * many / (time * _DAYS[per])


def _parse(text: str, option: str, form: str) -> tuple[int, int, str]:
    """Return the two numbers and the unit of ``1/90d``."""
    found = _RATIO.fullmatch(text)
    if (
        found is None
        or found[3] not in ("", *_DAYS)
        or max(map(len, found.groups())) > 12
        or not int(found[1])
        or not int(found[2])
    ):
        raise OptionError(f"must be {form}, not '{text}'.", option=option)
    return int(found[1]), int(found[2]), found[3]
