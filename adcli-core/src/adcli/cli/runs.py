"""``adcli runs``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import (
    ConsoleProgress,
    describe_promise,
    print_fact,
    print_json,
    print_line,
    print_table,
    relative,
    safe,
)
from adcli.cli.flags import RUN, Folder, Group, flag, json_flag, operand
from adcli.errors import OptionError, RunError

if TYPE_CHECKING:
    from adcli.runs.find import Listed

ANY = "A path or a name under runs, of a run in any state."


@click.group(cls=Group, invoke_without_command=True)
@flag(
    "--dir", "folder", type=Folder(), metavar="DIR", complete="folders", help="Where to look (ADCLI_RUNS, else runs)."
)
@json_flag
@click.pass_context
def runs(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """List runs, the newest last, and those that are not finished; remove, rename and annotate them."""
    if ctx.invoked_subcommand is not None:
        return
    from adcli.runs.find import list_runs, runs_folder

    listed = [_describe(item) for item in list_runs(folder or runs_folder())]
    if as_json:
        print_json(listed)
        return
    columns = ("name", "state", "finished", "model", "data", "image_auroc", "threshold", "note", "problem")
    for item in listed:
        item["data"] = item["data"] and safe(str(relative(Path(item["data"]))))
        item["finished"] = _local_time(item["finished"])
        item["threshold"] = None if item["threshold"] is None else f"{item['threshold']:.6g}"
    rows = [["" if item[column] is None else str(item[column]) for column in columns] for item in listed]
    empty = f"no runs in {folder or runs_folder()} yet; make one with 'adcli train'."
    print_table(columns, rows, empty, typed=("name", "model"))


def _describe(item: "Listed") -> dict[str, Any]:
    from adcli.runs.find import runs_folder

    described: dict[str, Any] = {"name": item.path.name, "path": str(item.path), "state": item.state}
    described |= dict.fromkeys(("model", "data", "image_auroc", "threshold", "note"))
    described |= {"finished": item.finished or None, "problem": item.problem}
    if item.state == "interrupted":
        # A name stands for a run in the folder of runs alone.
        known = item.path.parents[1] == runs_folder()
        named = item.path.name if known else relative(item.path)
        described["problem"] = f"continue with: {quote('adcli', 'train', '--resume', named)}"
    if item.run is not None:
        metrics, problem = _try_metrics(item.path)
        auroc = metrics.get("image", {}).get("auroc")
        described |= {
            "model": item.run.settings["model"],
            "data": item.run.settings["data"] or "demo",
            "image_auroc": None if auroc is None else round(auroc, 4),
            "threshold": item.run.calibration.image_threshold,
            "note": _read_note(item) or None,
            "problem": problem,
        }
    return described


def _try_metrics(run: Path) -> tuple[dict[str, Any], str]:
    """Return a run's metrics and nothing, or nothing and what is wrong with them; the run can be used all the same."""
    from adcli.runs.metrics import read_metrics

    try:
        return read_metrics(run), ""
    except RunError as error:
        return {}, error.format_message()


def _local_time(finished: str | None) -> str:
    """Return a time of UTC as a clock here shows it."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(finished or "").astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def _read_note(item: "Listed") -> str:
    try:
        return item.run.note if item.run else ""
    except RunError as error:
        return error.format_message()


@runs.command()
@operand("run", RUN, complete="runs")
@json_flag
def show(run: str, as_json: bool) -> None:
    """Show settings, record and metrics of a run; verdicts are those of the threshold in force."""
    from adcli.pipeline import load
    from adcli.pipeline.metrics_in_force import metrics_in_force

    progress = ConsoleProgress()
    opened = load(run, progress=progress)
    metrics, problem = metrics_in_force(opened)
    progress.note(problem)
    if as_json:
        content = {"path": str(opened.path), **opened.settings, "record": opened.record, "metrics": metrics}
        print_json(content | describe_promise(opened.calibration) | {"note": opened.note or None})
        return
    import yaml

    from adcli.metrics.words import known, metric_lines

    print_fact("run", relative(opened.path))
    if opened.note:
        print_fact("note", opened.note)
    for line in metric_lines(metrics):
        print_line(line)
    if known(metrics):
        print_fact("warning", known(metrics))
    print_fact("threshold", opened.calibration.promise())
    text = yaml.safe_dump({**opened.settings, "record": opened.record}, sort_keys=False, allow_unicode=True)
    click.echo("\n".join(map(safe, ["", *text.split("\n")])))


@runs.command()
@operand("names", ANY, complete="runs", nargs=-1, required=True, metavar="RUN...")
@flag("--yes", is_flag=True, help="Remove without asking.")
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Remove runs: finished, interrupted, damaged.

    Only what adcli made as a part of the run is removed. If a folder also holds other files, these stay.
    """
    from adcli.pipeline import remove_run
    from adcli.runs.find import find_any

    # All are found before any is removed, and none is named twice.
    note = ConsoleProgress().note
    paths = list({path.resolve(): path for path in (find_any(name, note) for name in names)}.values())
    if not yes:
        _ask(paths)
    for path in paths:
        left = remove_run(path)
        print_fact("removed", relative(path))
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            print_fact("left", f"{relative(left[0])}{more}: no part of the run")


def _ask(paths: list[Path]) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise OptionError("is needed to remove runs if nobody can be asked.", option="--yes")
    for path in paths:
        click.echo(f"  {safe(str(relative(path)))}", err=True)
    click.confirm(f"Remove {'this run' if len(paths) == 1 else f'these {len(paths)} runs'}?", abort=True, err=True)


@runs.command()
@operand("run", ANY, complete="runs")
@operand("new", "The name that it is to have.")
def rename(run: str, new: str) -> None:
    """Give a run another name."""
    from adcli.pipeline import rename_run
    from adcli.runs.find import find_any

    print_fact("run", relative(rename_run(find_any(run, ConsoleProgress().note), new)))


@runs.command()
@operand("run", RUN, complete="runs")
@operand("text", "What to keep with it, in place of an earlier note; '' removes that.")
def note(run: str, text: str) -> None:
    """Keep a note with a run; 'adcli runs' and its report show it."""
    from adcli.pipeline import annotate_run, load

    annotate_run(load(run, progress=ConsoleProgress()), text)
