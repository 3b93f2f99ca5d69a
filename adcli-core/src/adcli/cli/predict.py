"""``adcli predict``."""

import csv
import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import ConsoleProgress, load_pipeline, style_verdict
from adcli.cli.flags import OPENED, SCORING, Choice, Command, drop_missing, flag, operand, out_flag, setting, settings
from adcli.errors import OptionError

if TYPE_CHECKING:
    from adcli.pipeline import Prediction


FORMATS = ("table", "csv", "json", "jsonl")


@click.command(cls=Command)
@operand("run", f"{OPENED} An export needs no torch.", complete="runs")
@operand(
    "paths",
    "Images, folders, patterns such as 'photos/**/*.png', or '-' for a list of paths on stdin.",
    complete="files",
    nargs=-1,
    metavar="PATH...",
)
@out_flag("Also write predictions.csv there.")
@flag("--format", "form", section="Output", type=Choice(FORMATS), default="table", help="How to print (table).")
@flag("--json", "as_json", is_flag=True, section="Output", help="The same as --format json.")
@flag("--overlays", is_flag=True, section="Output", help="Draw a picture of each image into --out.")
@flag("--fail-on-defect", is_flag=True, section="Output", help="Exit with code 3 if a defect is found.")
@setting("false_alarm_rate", otherwise="the run's")
@settings(*SCORING)
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    run: str,
    paths: tuple[str, ...],
    out: Path | None,
    form: str,
    as_json: bool,
    overlays: bool,
    fail_on_defect: bool,
    false_alarm_rate: float | None,
    **scoring: Any,
) -> None:
    """Score images with a finished run or an export.

    A defect is a score above the run's threshold; the p-value is the share of good images that score as high. If a list
    on stdin grows while it is read, --batch-size 1 --workers 0 answers each line at once.
    """
    if not paths:
        raise OptionError(_explain_lack(run))
    if overlays and out is None:
        raise OptionError("needs --out DIR to write the pictures to.", option="--overlays")
    if out is not None:
        _check_table(out / "predictions.csv")
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    scorer = pipeline.open_scorer(pipeline.find(run, progress=progress), **drop_missing(scoring))
    if false_alarm_rate is not None:
        scorer = replace(scorer, calibration=scorer.calibration.at_rate(false_alarm_rate))
    progress.note(f"threshold {scorer.calibration.promise()}")
    # A bar between the lines of a table on the same terminal would be noise.
    bar = None if sys.stdout.isatty() else progress
    predictions: Iterable[Prediction] = pipeline.predict(scorer, _read_paths(paths), progress=bar)
    if overlays and out is not None:
        predictions = pipeline.draw(predictions, out / "maps")
    rows = _print_rows((_row(prediction) for prediction in predictions), "json" if as_json else form)
    count = defects = 0
    for row in rows if out is None else _write_rows(rows, out / "predictions.csv"):
        count += 1
        defects += row["verdict"] == "defect"
    for message in scorer.source.skipped.values():
        progress.note(f"skipped: {message}")
    images = f"{count} image{'' if count == 1 else 's'}"
    progress.note(f"{images}, {defects} with defects" + (f"; written to {out}" if out else ""))
    if fail_on_defect and defects:
        from adcli.errors import DEFECT_FOUND

        ctx.exit(DEFECT_FOUND)


def _explain_lack(only: str) -> str:
    """Return what is missing if a single word was given: images, or a run."""
    from adcli.errors import RunError
    from adcli.runs.find import find_folder

    try:
        folder = find_folder(only)
    except RunError:
        return f"give a run, and then images: {quote('adcli', 'predict', 'last', only)}"
    if any((folder / name).is_file() for name in ("run.yaml", "manifest.yaml")):
        return f"give images, too: {quote('adcli', 'predict', only, 'IMAGES')}"
    return f"give a run, and then images: {quote('adcli', 'predict', 'last', only)}"


def _read_paths(paths: tuple[str, ...]) -> Iterable[str]:
    """Return the paths, or for '-' those on stdin, as they come."""
    if "-" not in paths:
        return paths
    if len(paths) > 1:
        raise OptionError("takes all paths from stdin; give no others.", option="'-'")
    return (line.rstrip("\r\n") for line in iter(sys.stdin.readline, "") if line.strip())


COLUMNS = ("image", "score", "p_value", "verdict", "regions")


def _row(prediction: "Prediction") -> dict[str, Any]:
    return {
        "image": prediction.name,
        "score": prediction.score,
        "p_value": prediction.p_value,
        "verdict": prediction.verdict,
        "regions": [
            {"x": region.x, "y": region.y, "width": region.width, "height": region.height, "peak": region.peak}
            for region in prediction.regions
        ],
    }


def _print_rows(rows: Iterator[dict[str, Any]], form: str) -> Iterator[dict[str, Any]]:
    """Print rows as they come, in the chosen form, and pass them on."""
    listed = []
    # The first row decides whether there is anything to print: an error comes without a header.
    first = next(rows, None)
    if form == "csv":
        click.echo(_csv_line(COLUMNS), nl=False)
    elif form == "table" and first is not None:
        click.echo(click.style(f"{'verdict':<8} {'score':>12} {'p-value':>8}  image", bold=True))
    for row in chain([first] if first is not None else [], rows):
        if form == "csv":
            click.echo(_csv_line(_cells(row)), nl=False)
        elif form == "jsonl":
            click.echo(json.dumps(row))
        elif form == "table":
            p_value = "-" if row["p_value"] is None else f"{row['p_value']:.4f}"
            verdict = style_verdict(row["verdict"], f"{row['verdict']:<8}") if row["verdict"] else f"{'-':<8}"
            click.echo(f"{verdict} {row['score']:>12.6g} {p_value:>8}  {row['image']}")
        else:
            # One document has all rows; the other forms keep none.
            listed.append(row)
        yield row
    if form == "json":
        click.echo(json.dumps(listed, indent=2))


def _cells(row: dict[str, Any]) -> list[Any]:
    """Return a row's cells; its regions as ``X Y WIDTH HEIGHT``, the highest peak first, with semicolons between."""
    boxes = (" ".join(str(region[side]) for side in ("x", "y", "width", "height")) for region in row["regions"])
    return [*(row[column] for column in COLUMNS[:-1]), "; ".join(boxes)]


def _csv_line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _check_table(path: Path) -> None:
    """Make sure, before anything is scored, that a table can be written."""
    from adcli._files import storing

    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _write_rows(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    """Write rows into a table as they come, and pass them on."""
    from adcli._files import writing_lines

    with writing_lines(path) as write:
        write(_csv_line(COLUMNS))
        for row in rows:
            write(_csv_line(_cells(row)))
            yield row
