"""``adcli sweep show`` and ``adcli sweep check``: what came out of a sweep."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import load_pipeline, print_fact, print_json, print_line, print_table, relative
from adcli.cli.flags import Choice, Command, Place, flag, json_flag, name_key, operand
from adcli.errors import OptionError

if TYPE_CHECKING:
    from adcli.pipeline import SweepResults
    from adcli.sweeps.checking import Deviation

_FORMATS = ("table", "markdown", "latex", "csv", "json")


@click.command(cls=Command)
@operand("folder", "The folder of a sweep.", complete="folders", type=Place(), metavar="SWEEP")
@flag("--by", metavar="FACTOR,...", help="What makes the groups (what differs besides categories and seeds).")
@flag("--over", metavar="FACTOR,...", help="What groups are averaged over (category,seed).")
@flag("--metric", metavar="NAME,...", help="Metrics, such as auroc,aupro (those of several categories).")
@flag("--pivot", is_flag=True, help="Of two factors and one metric: rows of the first, columns of the second.")
@flag("--shared", is_flag=True, help="Average only over categories that every group has.")
@flag("--format", "form", type=Choice(_FORMATS), default="table", help="How to print (table).")
@flag("--html", type=Place(), metavar="FILE", help="Also draw a page, FILE.html.")
@flag("--against", metavar="NAME", help="Of the page: the group that others are compared with (the best).")
@json_flag
@click.pass_context
def show(
    ctx: click.Context,
    /,
    folder: Path,
    by: str | None,
    over: str | None,
    metric: str | None,
    pivot: bool,
    shared: bool,
    form: str,
    html: Path | None,
    against: str | None,
    as_json: bool,
) -> None:
    """Show what came out of a sweep.

    Prints mean and standard deviation of each group of runs, and what they are taken over. Runs that failed or are
    missing are listed.

    \b
    Examples:
      adcli sweep show S
      adcli sweep show S --by model,category --metric aupro
      adcli sweep show S --html S.html
    """
    for option, name in (("by", ""), ("over", ""), ("metric", ""), ("against", ""), ("out", "--html"), ("format", "")):
        name_key(ctx, option, name or f"--{option}")
    if against is not None and html is None:
        raise OptionError("is for the page; give --html FILE.html, or use 'adcli compare'.", option="--against")
    pipeline = load_pipeline()
    results = pipeline.read_results(folder)
    groups = {"by": _split(by, "by"), "over": _split(over, "over"), "metrics": _split(metric, "metric")}
    given = {name: value for name, value in groups.items() if value is not None}
    print_results(results, "json" if as_json else form, pivot=pivot, shared=shared, **given)
    if html is not None:
        pipeline.write_sweep_page(results, html, **given, against=against, command=quote("adcli", *sys.argv[1:]))
        click.echo(f"look at    {relative(html)}", err=form != "table" or as_json)


def _split(text: str | None, option: str) -> tuple[str, ...] | None:
    from adcli.sweeps.naming import split_names

    return None if text is None else split_names(text, option)


def print_results(
    results: "SweepResults", form: str = "table", *, pivot: bool = False, shared: bool = False, **groups: Any
) -> None:
    """Print the means of a sweep's groups of runs, and what has to be known to read them."""
    from adcli.sweeps.summary import summarise
    from adcli.sweeps.tables import tabulate, write_as

    summary = summarise(results, **groups, shared=shared)
    metric = summary.metrics[0] if pivot else None
    if pivot and len(summary.metrics) != 1:
        raise OptionError("is of one metric; give --metric NAME.", option="--pivot")
    if form != "table":
        click.echo(write_as(form, summary, metric), nl=False)
        return
    table = tabulate(summary, metric)
    print_table(table.names, table.texts(), "", typed=table.names)
    for note in table.notes:
        print_line(note, 0)
    for outcome in results.failed:
        print_line(f"failed: {outcome.cell.name}: {outcome.error}", 2)


@click.command(cls=Command)
@operand("recipe", "A recipe: a YAML file with published values.", complete="files", type=Place())
@operand("folder", "The folder of its sweep.", complete="folders", type=Place(), metavar="SWEEP")
@json_flag
def check_recipe(recipe: Path, folder: Path, as_json: bool) -> None:
    """Compare a sweep with what a paper published.

    Prints each published value beside the mean of the runs over the seeds, and the difference. A run may be off by what
    the recipe allows, or else by 0.01.
    """
    from adcli.sweeps.checking import check_published
    from adcli.sweeps.files import read_sweep_file
    from adcli.sweeps.folder import read_results

    read = read_sweep_file(recipe)
    if not read.published:
        raise OptionError(f"{recipe}: has no published values; give a recipe, such as one of docs/recipes.")
    found = check_published(read, read_results(folder))
    if as_json:
        print_json(
            {"about": read.about, "source": read.source, "values": [_describe_deviation(each) for each in found]}
        )
        return
    print_fact("recipe", read.about)
    print_fact("source", read.source)
    print_table(
        ("of", "metric", "published", "found", "difference", "runs", "verdict"),
        [_list_deviation(each) for each in found],
        "",
        typed=("of", "metric"),
    )


def _describe_deviation(found: "Deviation") -> dict[str, Any]:
    return {
        **found.published.where,
        "metric": found.published.metric,
        "published": found.published.value,
        "found": found.value,
        "spread": found.spread,
        "difference": found.difference,
        "runs": {"made": found.made, "missing": found.missing},
        "verdict": found.verdict,
    }


def _list_deviation(found: "Deviation") -> list[str]:
    published = found.published
    spread = "" if found.spread is None else f" ± {found.spread:.3f}"
    return [
        " ".join(map(str, published.where.values())),
        published.metric,
        f"{published.value:.3f}",
        "" if found.value is None else f"{found.value:.3f}{spread}",
        "" if found.difference is None else f"{found.difference:+.3f}",
        f"{found.made} of {found.made + found.missing}",
        found.verdict,
    ]
