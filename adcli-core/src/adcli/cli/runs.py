"""``adcli runs``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli.cli.console import print_json, print_table

if TYPE_CHECKING:
    from adcli.runs.find import Listed


@click.group(invoke_without_command=True)
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where to look (runs).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
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
    rows = [["" if item[column] is None else str(item[column]) for column in columns] for item in listed]
    print_table(columns, rows, f"no runs in {folder or runs_folder()} yet; make one with 'adcli train'.")


def _describe(item: "Listed") -> dict[str, Any]:
    described: dict[str, Any] = {"name": item.path.name, "path": str(item.path), "state": item.state}
    described |= {"model": None, "data": None, "image_auroc": None, "problem": item.problem}
    if item.state == "interrupted":
        described["problem"] = f"continue with: adcli train --resume {item.path.name}"
    if item.run is not None:
        auroc = _metrics(item.path).get("image", {}).get("auroc")
        described |= {
            "model": item.run.settings["model"],
            "data": item.run.settings["data"] or "demo",
            "image_auroc": None if auroc is None else round(auroc, 4),
        }
    return described


def _metrics(run: Path) -> dict[str, Any]:
    import json

    try:
        loaded = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run: str, as_json: bool) -> None:
    """Show settings, record and metrics of a run.

    RUN is a path, a name under runs, or 'last'.
    """
    from adcli.pipeline import load

    opened = load(run)
    metrics = _metrics(opened.path)
    if as_json:
        content = {"path": str(opened.path), **opened.settings, "record": opened.record, "metrics": metrics}
        print_json(content | {"promise": opened.calibration.promise()})
        return
    import yaml

    from adcli.metrics.words import metric_lines

    click.echo(f"run        {opened.path}")
    for line in metric_lines(metrics):
        click.echo(line)
    click.echo(f"threshold  {opened.calibration.promise()}\n")
    click.echo(yaml.safe_dump({**opened.settings, "record": opened.record}, sort_keys=False, allow_unicode=True))
