"""``adcli qualify``."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import ConsoleProgress, load_pipeline, print_fact, print_json, print_line, print_table, relative
from adcli.cli.flags import (
    OPENED,
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
from adcli.errors import OptionError

if TYPE_CHECKING:
    from adcli.pipeline import Qualification
    from adcli.scoring.detection import Detection

BACKGROUND = 0.01
"""Share of what is looked at that is worth a word."""

NAMED = ("sizes", "contrasts", "draws", "out")


@click.command(cls=Command)
@operand("run", OPENED, complete="runs")
@setting(
    "data",
    "Good photographs that the model has not seen: a folder or data set.",
    otherwise="those that calibrated the run, and its good test images",
)
@flag(
    "--repeat",
    section="Data",
    metavar="DIR",
    complete="folders",
    help="The same parts photographed several times: a folder for each part, or a table with a column 'part'.",
)
@flag("--sizes", section="Images", metavar="LIST", help="Sizes of drawn defects, in pixels (3,5,8,13,22,36,60).")
@flag("--contrasts", section="Images", metavar="LIST", help="Contrasts of drawn defects, in levels (12,30,75).")
@flag("--draws", section="Images", type=int, metavar="N", help="Drawn defects that test a size (110).")
@flag("--anywhere", is_flag=True, section="Images", help="Draw in the background, too, where it is of one colour.")
@flag("--seed", section="Images", type=click.IntRange(0), metavar="N", default=0, help="Of the drawn defects (0).")
@flag("--out", type=Place(), metavar="FILE", section="Output", help="The record, FILE.html (qualify-RUN-DATE.html).")
@settings("batch_size", "device", "workers")
@megapixels_flag
@json_flag
@click.pass_context
def qualify(
    ctx: click.Context,
    /,
    run: str,
    data: str | None,
    repeat: str | None,
    sizes: str | None,
    contrasts: str | None,
    draws: int | None,
    anywhere: bool,
    seed: int,
    out: Path | None,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Say what a run would miss, before the first defect exists.

    Draws scratches, spots, stains, pieces and blur into good photographs that the model has not seen, and says from
    what size on 95 % of each kind are found at each contrast. Writes a dated record to look at.

    \b
    Examples:
      adcli qualify last
      adcli qualify last --data new-good --out a.html
      adcli qualify exports/a --repeat photos/twice
    """
    for name in NAMED:
        name_key(ctx, name, f"--{name}")
    wanted = {"sizes": _parse(sizes, int, "--sizes"), "contrasts": _parse(contrasts, float, "--contrasts")}
    pipeline, progress = load_pipeline(), ConsoleProgress()
    opened = pipeline.find(run, progress=progress)
    progress.note(pipeline.calibrated_since(opened))
    out = out or _name_record(opened.origin.run)
    scorer = pipeline.open_scorer(opened, **drop_missing(scoring))
    found = pipeline.qualify(
        opened,
        out,
        data=data,
        repeat=repeat,
        anywhere=anywhere,
        seed=seed,
        scorer=scorer,
        progress=progress,
        command=quote("adcli", *sys.argv[1:]),
        **drop_missing({**wanted, "draws": draws}),
    )
    if as_json:
        print_json({**found.to_dict(), "page": str(out)})
        return
    _print_outcome(found, out)


def _parse(text: str | None, kind: type[int] | type[float], name: str) -> list[Any] | None:
    """Return the numbers of a list such as ``3,10,30``."""
    if text is None:
        return None
    try:
        return [kind(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(
            f"must be numbers with commas between them, such as 3,10,30, not '{text}'.", option=name
        ) from None


def _name_record(run: str) -> Path:
    """Return the name of a record of today that is not there yet."""
    from datetime import UTC, datetime

    stem = f"qualify-{re.sub(r'[^A-Za-z0-9._-]+', '-', run)[:80]}-{datetime.now(UTC):%Y-%m-%d}"
    out, number = Path(f"{stem}.html"), 2
    while out.exists():
        out, number = Path(f"{stem}-{number}.html"), number + 1
    return out


def _print_outcome(found: "Qualification", out: Path) -> None:
    data, settings = found.record["data"], found.record["settings"]
    contrasts = [f"contrast {value:g}" for value in settings["contrasts"]]
    kinds = dict.fromkeys(one.kind for one in found.detections)
    rows = [(kind, *(_say(one) for one in found.detections if one.kind == kind)) for kind in kinds]
    print_table(("drawn", *contrasts), rows, "nothing was drawn.")
    rejected = len(data["rejected_without_defect"])
    print_fact("drawn", f"{data['drawn_defects']} defects in {data['photographs']} good photographs that else pass")
    if rejected:
        print_fact("", f"{rejected} photographs are rejected without a defect, and were not used")
    if data["background"] >= BACKGROUND:
        said = f"{data['background']:.0%} of what is looked at counts as background, where none were drawn"
        print_fact("", f"{said}; see --anywhere")
    for one in found.missed:
        low, high = one.bounds
        share = f"{one.count} of {len(one.defects)} missed ({low:.1%} to {high:.1%} with 95 % confidence)"
        print_line(f"{'real':<10} {one.kind}: {share}")
    if found.agreement is not None:
        agreement = found.agreement
        print_fact("repeated", f"verdicts agree for {agreement.agreeing} of {len(agreement.parts)} parts")
        said = f"scores of one part spread by {agreement.spread:.4g}; {agreement.close} parts lie within two of these"
        print_fact("", f"{said} of the threshold")
    print_fact("look at", relative(out))


def _say(one: "Detection") -> str:
    if one.smallest:
        return f"from {one.smallest} px"
    return f"not shown to {one.first[-1].size} px" if one.first else "no room"
