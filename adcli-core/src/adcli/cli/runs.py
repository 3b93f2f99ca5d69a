"""``adcli runs``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli.cli.console import print_fact, print_json, print_line, print_table, relative
from adcli.cli.flags import RUN, Folder, Group, flag, json_flag, operand

if TYPE_CHECKING:
    from adcli.runs.find import Listed


@click.group(cls=Group, invoke_without_command=True)
@flag(
    "--dir", "folder", type=Folder(), metavar="DIR", complete="folders", help="Where to look (ADCLI_RUNS, else runs)."
)
@json_flag
@click.pass_context
def runs(ctx: click.Context, folder: Path | None, as_json: bool) -> None:
    """List runs: finished, interrupted, damaged."""
    if ctx.invoked_subcommand is not None:
        return
    from adcli.runs.find import list_runs, runs_folder

    listed = [_describe(item) for item in list_runs(folder or runs_folder())]
    if as_json:
        print_json(listed)
        return
    columns = ("name", "state", "model", "data", "image_auroc", "problem")
    for item in listed:
        item["data"] = item["data"] and relative(Path(item["data"]))
    rows = [["" if item[column] is None else str(item[column]) for column in columns] for item in listed]
    empty = f"no runs in {folder or runs_folder()} yet; make one with 'adcli train'."
    print_table(columns, rows, empty, typed=("name", "model"))


def _describe(item: "Listed") -> dict[str, Any]:
    described: dict[str, Any] = {"name": item.path.name, "path": str(item.path), "state": item.state}
    described |= {"model": None, "data": None, "image_auroc": None, "problem": item.problem}
    if item.state == "interrupted":
        described["problem"] = f"continue with: adcli train --resume {item.path.name}"
    if item.run is not None:
        auroc = _read_metrics(item.path).get("image", {}).get("auroc")
        described |= {
            "model": item.run.settings["model"],
            "data": item.run.settings["data"] or "demo",
            "image_auroc": None if auroc is None else round(auroc, 4),
        }
    return described


def _read_metrics(run: Path) -> dict[str, Any]:
    import json

    try:
        loaded = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


@runs.command()
@operand("run", RUN, complete="runs")
@json_flag
def show(run: str, as_json: bool) -> None:
    """Show settings, record and metrics of a run."""
    from adcli.pipeline import load

    opened = load(run)
    metrics = _read_metrics(opened.path)
    if as_json:
        content = {"path": str(opened.path), **opened.settings, "record": opened.record, "metrics": metrics}
        print_json(content | {"promise": opened.calibration.promise()})
        return
    import yaml

    from adcli.metrics.words import metric_lines

    print_fact("run", relative(opened.path))
    for line in metric_lines(metrics):
        print_line(line)
    print_fact("threshold", f"{opened.calibration.promise()}\n")
    click.echo(yaml.safe_dump({**opened.settings, "record": opened.record}, sort_keys=False, allow_unicode=True))
