"""``adcli predict``."""

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli._process.output import has_lost_reader
from adcli.cli.console import ConsoleProgress, load_pipeline, safe, style_verdict
from adcli.cli.flags import (
    OPENED,
    SCORING,
    Choice,
    Command,
    drop_missing,
    flag,
    megapixels_flag,
    operand,
    out_flag,
    setting,
    settings,
)
from adcli.cli.image_files import MAPS, MASKS, PICTURES, ImageFiles, check_threshold
from adcli.errors import DEFECT_FOUND, DataError, OptionError, printable

if TYPE_CHECKING:
    from adcli.pipeline import Export, Prediction, Run
    from adcli.scoring.part_verdicts import PartVerdicts
    from adcli.scoring.scorer import Scorer
    from adcli.scoring.verdict import VerdictRecord
    from adcli.scoring.verdict_table import VerdictTable


_FAIL = "--fail-on-defect"
FORMATS = ("table", "csv", "json", "jsonl")

_NAME_LENGTH = 1000
"""Characters of a name that a table shows."""


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
@flag("--append", is_flag=True, section="Output", help="Go on with the predictions.csv that is there.")
@flag("--format", "form", section="Output", type=Choice(FORMATS), default="table", help="How to print (table).")
@flag("--json", "as_json", is_flag=True, section="Output", help="The same as --format json.")
@flag("--overlays", is_flag=True, section="Output", help="Draw a picture of each image into --out.")
@flag(
    "--pictures",
    section="Output",
    type=Choice(PICTURES),
    metavar="KIND",
    help="What to draw: panels, as --overlays does; or alone, an overlay, a heatmap, or outlines.",
)
@flag("--maps", section="Output", type=Choice(MAPS), help="Write each image's anomaly map into --out.")
@flag("--masks", section="Output", type=Choice(MASKS), help="Write what is marked as defective into --out.")
@flag(_FAIL, is_flag=True, section="Output", help="Exit with code 3 for a defect, else 4 without a verdict.")
@setting("false_alarm_rate", otherwise="the run's")
@settings("part", "views")
@setting("skip_unreadable", "Do not fail if images cannot be read, or parts lack some.")
@settings(*(name for name in SCORING if name != "skip_unreadable"))
@megapixels_flag
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    run: str,
    paths: tuple[str, ...],
    out: Path | None,
    append: bool,
    form: str,
    as_json: bool,
    overlays: bool,
    pictures: str | None,
    maps: str | None,
    masks: str | None,
    fail_on_defect: bool,
    false_alarm_rate: float | None,
    **scoring: Any,
) -> None:
    """Score images with a finished run or an export.

    A defect is a score above the run's threshold; the p-value is the share of good images that score as high. What
    cannot be read gets the verdict 'unreadable', and exit code 4 at the end. If a list on stdin grows while it is read,
    --batch-size 1 --workers 0 answers each line at once.
    """
    if not paths:
        raise OptionError(_explain_lack(run))
    files = ImageFiles.asked(overlays, pictures, maps, masks)
    if out is None and (needing := [*files.options, *(["--append"] if append else [])]):
        raise OptionError("needs --out DIR, where predictions.csv is written.", option=needing[0])
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    skip_unreadable = bool(scoring.get("skip_unreadable"))
    opened = _find_run(run, paths, progress)
    files.check(opened)
    if fail_on_defect:
        check_threshold(opened, _FAIL)
    images = _find_images(paths, skip_unreadable, progress)
    with _table(out, append, progress) as table:
        progress.note(pipeline.calibrated_since(opened))
        scorer = pipeline.open_scorer(opened, **drop_missing(scoring))
        if false_alarm_rate is not None:
            scorer = replace(scorer, calibration=scorer.calibration.at_rate(false_alarm_rate))
        progress.note(f"threshold {scorer.calibration.promise(brief=True)}")
        with _Answers("json" if as_json else form, out, table, scorer, progress) as answers:
            # A bar between the lines of a table on the same terminal would be noise.
            predictions = pipeline.predict(scorer, images, progress=None if _is_terminal() else progress)
            for prediction in predictions if out is None else files.write(predictions, out, paths):
                answers.take(prediction)
                if has_lost_reader() and table is None and not fail_on_defect:
                    # Nobody would learn of the others.
                    break
    if fail_on_defect and answers.defects:
        ctx.exit(DEFECT_FOUND)
    answers.check(skip_unreadable, fail_on_defect)


def _find_run(run: str, paths: tuple[str, ...], progress: ConsoleProgress) -> "Run | Export":
    """Open the run or the export; if an image stands in its place, say how the command was probably meant."""
    from adcli.errors import RunError
    from adcli.pipeline import find

    try:
        return find(run, progress=progress)
    except RunError:
        # A damaged run has pictures too.
        if _is_run(Path(run)) or not _is_photographs(Path(run)) or _holds(Path(run), paths):
            raise
        *images, last = paths
        meant = (last, run, *images) if _is_run(Path(last)) or last == "last" else ("last", run, *paths)
        raise OptionError(
            f"'{run}' is no run; give one, and then images: {quote('adcli', 'predict', *meant)}"
        ) from None


def _is_photographs(path: Path) -> bool:
    """Tell whether a path names a file, or a folder of images that is no run."""
    from adcli.data.formats import IMAGE_SUFFIXES

    with contextlib.suppress(OSError):
        return path.is_file() or any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
    return False


def _holds(folder: Path, paths: tuple[str, ...]) -> bool:
    """Tell whether one of several paths leads into a folder, which then cannot be meant to be scored as well."""
    root = folder.resolve()
    return any(Path(path).resolve().is_relative_to(root) for path in paths if path not in ("-", "last"))


def _is_run(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in ("run.yaml", "manifest.yaml"))  # noqa: PTH113


def _explain_lack(only: str) -> str:
    """Return what is missing if a single word was given: images, or a run."""
    from adcli.errors import RunError
    from adcli.runs.find import find_folder

    try:
        folder = find_folder(only)
    except RunError:
        return f"give a run, and then images: {quote('adcli', 'predict', 'last', only)}"
    if _is_run(folder):
        return f"give images, too: {quote('adcli', 'predict', only, 'IMAGES')}"
    return f"give a run, and then images: {quote('adcli', 'predict', 'last', only)}"


def _find_images(paths: tuple[str, ...], skip_unreadable: bool, progress: ConsoleProgress) -> Iterable[str | Path]:
    """Return the images, or for '-' those on stdin, as they come; paths that are wrong end the command at once."""
    if "-" not in paths:
        from adcli.data.folder import count_pictures, images_in
        from adcli.data.left_out import Omissions, say

        left_out = Omissions()
        named = ((path, found) for path in paths for found in images_in([path], left_out))
        # A file keeps its name as it was typed.
        images = paths if skip_unreadable else [path if found == Path(path) else found for path, found in named]
        say(left_out, progress.note)
        with contextlib.suppress(DataError):
            if drawn := sum(count_pictures(Path(path)) for path in paths):
                progress.note(f"left out {drawn} picture{'s' if drawn > 1 else ''} made by adcli")
        return images
    if len(paths) > 1:
        raise OptionError("takes all paths from stdin; give no others.", option="'-'")
    from adcli.cli.path_list import read_paths

    return read_paths(sys.stdin)


@contextlib.contextmanager
def _table(out: Path | None, append: bool, progress: ConsoleProgress) -> Iterator["VerdictTable | None"]:
    """Give the table to write, if one is wanted."""
    if out is None:
        yield None
        return
    from adcli.data.written import VERDICTS_FILE
    from adcli.scoring.verdict_table import growing_table

    with growing_table(out / VERDICTS_FILE, append=append) as table:
        if table.cut:
            torn = f"{table.cut} bytes: '{table.torn}'"
            progress.note(f"warning: {table.path}: its last row was not whole, and was cut off ({torn})")
        yield table


class _Answers:
    """Writes and prints a row for each prediction, and counts.

    Args:
        form: how to print.
        out: the folder that is written to, if any.
        table: the table there.
        scorer: what verdicts come from.
        progress: receives what is wrong with images, and in the end what was done.
    """

    def __init__(
        self,
        form: str,
        out: Path | None,
        table: "VerdictTable | None",
        scorer: "Scorer",
        progress: ConsoleProgress,
    ) -> None:
        self.form, self.out, self.table, self.scorer, self.progress = form, out, table, scorer, progress
        self.images = self.defects = self.unreadable = self.incomplete = 0
        self._first_problem, self._named = "", False
        self._parts = _open_parts(scorer, table)
        self._found = (0, 0)

    def __enter__(self) -> "_Answers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self.images:
            from adcli.data.left_out import say

            if self._parts is not None:
                self._judge_parts(list(self._parts.records()))
            _end(self.form, self.images)
            say(self.scorer.source.left_out, self.progress.note, "note")
            self.progress.note(self._summary())

    def take(self, prediction: "Prediction") -> None:
        """Write and print the row of a prediction; it is on disk when it is printed."""
        from adcli.scoring.verdict import VerdictRecord

        picture = ""
        if prediction.picture is not None and self.out is not None:
            picture = prediction.picture.relative_to(self.out).as_posix()
        # To find regions, SciPy is imported, which takes as long as the rest of a small command.
        placed = self.table is not None or self.form != "table"
        record = VerdictRecord.of(prediction, placed, picture=picture)
        if self.table is not None:
            self.table.write(record)
        if self._parts is not None:
            self._parts.add(record)
        self._named |= bool(record.part)
        # Counted before it is printed, so that no summary is behind what a reader has seen.
        self.images += 1
        self.defects += record.verdict == "defect"
        _print(self.form, record, first=self.images == 1)
        if prediction.problem:
            self.unreadable += 1
            self._first_problem = self._first_problem or prediction.problem
            self.progress.note(f"unreadable: {printable(prediction.problem)}")

    def _judge_parts(self, records: "Sequence[VerdictRecord]") -> None:
        """Write and print the verdicts of parts."""
        from adcli._files import write_atomically
        from adcli.scoring.part_verdicts import NAMELESS, PARTS_FILE, part_lines

        if self.out is not None:
            write_atomically(self.out / PARTS_FILE, "".join(part_lines(records)).encode())
        for i, record in enumerate(records):
            if self.form == "table" and not i:
                click.echo(click.style(f"{'verdict':<10} {'score':>12} {'p-value':>8}  part", bold=True))
            _print(self.form, record, first=False)
        if records and not self._named:
            self.progress.note(NAMELESS)
        self.incomplete = sum(record.verdict == "incomplete" for record in records)
        self._found = (len(records), sum(record.verdict == "defect" for record in records))
        lacking = (record for record in records if record.verdict == "incomplete")
        for record in lacking:
            self._first_problem = self._first_problem or f"part {record.part}: {record.problem}"
            self.progress.note(f"incomplete: part {printable(record.part)}: {printable(record.problem)}")

    def _summary(self) -> str:
        words = [f"{self.images} image{'' if self.images == 1 else 's'}"]
        words += [f"{self.defects} with defects"] if self.scorer.calibration.image_threshold is not None else []
        words += [f"{self.unreadable} unreadable"] if self.unreadable else []
        if self._parts is not None:
            count, defects = self._found
            words[-1] += f"; {count} part{'' if count == 1 else 's'}"
            words += [f"{defects} with defects"] if self.scorer.calibration.image_threshold is not None else []
            words += [f"{self.incomplete} incomplete"] if self.incomplete else []
        return ", ".join(words) + (f"; written to {self.out}" if self.out else "")

    def check(self, skip_unreadable: bool, fail_on_defect: bool) -> None:
        """Fail if something could not be read, unless that is allowed.

        Raises:
            DataError: the first that could not.
        """
        if fail_on_defect and not self.images:
            raise DataError("no images were given, and --fail-on-defect lets nothing pass.")
        if self.unreadable and (fail_on_defect or not skip_unreadable):
            advice = (
                "--fail-on-defect lets nothing pass" if skip_unreadable else "--skip-unreadable makes it no failure"
            )
            raise DataError(
                f"{self.unreadable} of {self.images} without a verdict: {self._first_problem.rstrip('.')}; {advice}."
            )
        if self.incomplete and (fail_on_defect or not skip_unreadable):
            raise DataError(
                f"{self.incomplete} of {self._found[0]} parts incomplete: {self._first_problem.rstrip('.')}; "
                "photograph them again, or accept that with --skip-unreadable."
            )


def _open_parts(scorer: "Scorer", table: "VerdictTable | None") -> "PartVerdicts | None":
    """Return what joins photographs to parts, those of a table that is gone on with among them; None without parts."""
    from adcli.scoring.part_verdicts import PartVerdicts
    from adcli.scoring.verdict import read_table

    rule = scorer.calibration.parts
    if rule is None:
        return None
    parts = PartVerdicts(rule.views)
    if table is not None and table.path.exists():
        for record, _ in read_table(table.path):
            parts.add(record)
    return parts


def _print(form: str, record: "VerdictRecord", *, first: bool) -> None:
    """Print a row; before the first one, what begins the form."""
    from adcli.scoring.verdict import csv_line

    if form == "table":
        if first:
            click.echo(click.style(f"{'verdict':<10} {'score':>12} {'p-value':>8}  image", bold=True))
        click.echo(_table_line(record))
    elif form == "csv":
        _print_exactly((_csv_header() if first else "") + csv_line(map(_respell, record.to_cells())))
    elif form == "jsonl":
        click.echo(json.dumps(record.to_json()))
    else:
        click.echo(("[\n" if first else ",\n") + indent(json.dumps(record.to_json(), indent=2), "  "), nl=False)


def _end(form: str, count: int) -> None:
    """Print what ends a form, and begins it as well if there were no rows."""
    if form == "json":
        click.echo("\n]" if count else "[]")
    elif form == "csv" and not count:
        _print_exactly(_csv_header())


def _csv_header() -> str:
    from adcli.scoring.verdict import COLUMNS, csv_line

    return csv_line(COLUMNS)


def _table_line(record: "VerdictRecord") -> str:
    score = "-" if record.score is None else f"{record.score:.6g}"
    p_value = "-" if record.p_value is None else f"{record.p_value:.4f}"
    padded = f"{record.verdict or '-':<10}"
    verdict = style_verdict(record.verdict, padded) if record.verdict else padded
    # Whoever reads on takes csv or json, where names are whole.
    name = record.image if len(record.image) <= _NAME_LENGTH else f"{record.image[:_NAME_LENGTH]}..."
    name = name or record.part
    zone = f"  ({safe(record.zone)})" if record.zone else ""
    return f"{verdict} {score:>12} {p_value:>8}  {safe(name)}{zone}"


def _print_exactly(text: str) -> None:
    """Print what a program may read: a pipe gets names as they are, a terminal nothing that it would obey.

    What is not UTF-8 gets ASCII, which all encodings have, so that the same reader gets the same names.
    """
    if sys.stdout is None:
        return
    if _is_terminal():
        text = "".join(printable(line) + "\n" for line in text.split("\n")[:-1])
    # Else click takes colours out, and with them parts of names.
    click.echo(text, nl=False, color=True)


def _respell(cell: str) -> str:
    """Return a cell of a table as stdout can have it."""
    from adcli._spelling import spell, unspell

    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
    return cell if codecs.lookup(encoding).name == "utf-8" else spell(unspell(cell), "ascii")


def _is_terminal() -> bool:
    """Tell whether a person sees what is printed, whatever is said about colours."""
    return sys.stdout is not None and sys.stdout.isatty()
