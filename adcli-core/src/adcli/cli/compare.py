"""``adcli compare``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import (
    ConsoleProgress,
    load_pipeline,
    print_fact,
    print_json,
    print_line,
    print_table,
    relative,
    safe,
)
from adcli.cli.flags import RUN, Command, Place, drop_missing, flag, json_flag, name_key, operand
from adcli.errors import OptionError

if TYPE_CHECKING:
    from adcli.pipeline import Comparison, Contrast, Standings


@click.command(cls=Command)
@operand(
    "runs",
    f"{RUN} Two or more; differences are to the first. Or the folder of a sweep, whose groups of runs are compared.",
    complete="runs",
    nargs=-1,
    required=True,
    metavar="RUN RUN...|SWEEP",
)
@flag(
    "--metric", metavar="NAME", default="image.auroc", help="Any metric of metrics.json, such as aupro (image.auroc)."
)
@flag("--name", metavar="NAME", help="Of runs: the evaluation to compare, a folder under evaluations (test).")
@flag("--by", metavar="FACTOR,...", help="Of a sweep: what makes the groups, such as model or coreset (model).")
@flag("--over", metavar="FACTOR,...", help="Of a sweep: what groups are averaged over (category,seed).")
@flag("--against", metavar="NAME", help="Of a sweep: the group that others are compared with (the best).")
@flag("--out", type=Place(), metavar="FILE", help="Also draw it, in FILE.html.")
@json_flag
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    runs: tuple[str, ...],
    metric: str,
    name: str | None,
    by: str | None,
    over: str | None,
    against: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare runs on the same images, or the groups of a sweep.

    Tells whether the differences are more than chance. The interval holds the difference with 95 % confidence over
    other test images of the kind; of two runs, it says nothing about other seeds. Of a sweep, it does, if there are
    several; and it also says what other categories of the kind would give.

    \b
    Examples:
      adcli compare patchcore-bottle padim-bottle
      adcli compare S --metric aupro --out forest.html
    """
    for option in ("metric", "by", "over", "against", "out"):
        name_key(ctx, option, f"--{option}")
    from adcli.sweeps.folder import is_sweep

    of_sweep = drop_missing({"--by": by, "--over": over, "--against": against})
    if len(runs) == 1 and is_sweep(Path(runs[0])):
        if name is not None:
            raise OptionError("is for runs; a sweep is compared on the test images of its data.", option="--name")
        _compare_groups(Path(runs[0]), metric, by, over, against, out, as_json)
        return
    if of_sweep:
        raise OptionError("is for a sweep; give the folder of one, and nothing else.", option=next(iter(of_sweep)))
    if len(runs) < 2:
        raise OptionError("give two runs or more, or the folder of a sweep.")
    _compare_runs(runs, metric, "test" if name is None else name, out, as_json)


def _command() -> str:
    return quote("adcli", *sys.argv[1:])


def _compare_runs(runs: Sequence[str], metric: str, name: str, out: Path | None, as_json: bool) -> None:
    pipeline, progress = load_pipeline(), ConsoleProgress()
    opened = [pipeline.load(run, progress=progress) for run in runs]
    found = pipeline.compare_runs(opened, name, metric)
    if out is not None:
        pipeline.write_comparison(opened, out, name, found.metric, command=_command())
    if as_json:
        print_json({"evaluation": name, **_describe_runs(found), **_describe_page(out)})
        return
    _print_runs(found)
    if out is not None:
        print_fact("look at", relative(out))


def _describe_page(out: Path | None) -> dict[str, Any]:
    return {} if out is None else {"page": str(out)}


def _describe_runs(found: "Standings") -> dict[str, Any]:
    rows = [
        {
            "run": str(standing.run.path),
            "model": standing.run.settings["model"],
            "auroc": standing.auroc,
            "value": standing.value,
            "difference": standing.difference,
            "interval": standing.interval and list(standing.interval),
            "p_value": standing.p_value,
        }
        for standing in found.standings
    ]
    counts = {"n_good": found.n_good, "n_defect": found.n_defect, "left_out": found.left_out}
    return {"metric": found.metric, **counts, "runs": rows}


def _print_runs(found: "Standings") -> None:
    from adcli.sweeps.naming import label_metric

    left_out = f"; {found.left_out} that some run has not scored are left out" if found.left_out else ""
    click.echo(f"{found.n_good} good and {found.n_defect} defective images{left_out}")
    label = "AUROC" if found.metric == "image.auroc" else label_metric(found.metric)
    width = max(len(label), 6)
    click.echo(f"{label:>{width}} {'difference':>11} {'95% interval':>18}  run")
    for i, standing in enumerate(found.standings):
        unsure = "may be chance" if standing.interval else "chance cannot be told"
        verdict = "" if i == 0 or standing.shown else f"  ({unsure})"
        difference, interval = "" if i == 0 else f"{standing.difference:+.3f}", ""
        if i and standing.interval:
            interval = f"{standing.interval[0]:>+8.3f} to {standing.interval[1]:>+6.3f}"
        named = safe(f"{standing.run.name} ({standing.run.settings['model']})")
        click.echo(f"{standing.value:>{width}.3f} {difference:>11} {interval:>18}  {named}{verdict}")
    if any(standing.interval is None for standing in found.standings):
        print_line(
            f"{label} keeps no number per image: from one pair of runs, nobody can tell chance; compare a sweep of "
            "several categories or seeds."
        )


def _compare_groups(
    folder: Path,
    metric: str,
    by: str | None,
    over: str | None,
    against: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from adcli.sweeps.naming import split_names

    asked: dict[str, Any] = {
        "by": split_names("model" if by is None else by, "by"),
        "over": None if over is None else split_names(over, "over"),
        "against": against,
    }
    pipeline = load_pipeline()
    results = pipeline.read_results(folder)
    found = pipeline.compare_groups(results, metric=metric, **asked)
    if out is not None:
        pipeline.write_sweep_page(results, out, metrics=[found.metric], **asked, command=_command())
    if as_json:
        print_json({"sweep": str(folder), **_describe_groups(found), **_describe_page(out)})
        return
    _print_groups(found)
    if out is not None:
        print_fact("look at", relative(out))


def _describe_groups(found: "Comparison") -> dict[str, Any]:
    return {
        "by": list(found.by),
        "metric": found.metric,
        "against": list(found.against),
        "against_is": "the best" if found.is_best else "given",
        "value": found.value,
        "categories": found.sets,
        "runs": found.pairs,
        "images": found.images,
        "comparisons": found.comparisons,
        "groups": [_describe_contrast(contrast) for contrast in found.contrasts],
        "notes": list(found.notes),
    }


def _describe_contrast(contrast: "Contrast") -> dict[str, Any]:
    here, elsewhere = contrast.here, contrast.elsewhere
    return {
        "group": list(contrast.group),
        "value": contrast.value,
        "difference": here.value,
        "interval": here.interval and list(here.interval),
        "p_value": here.p_value,
        "p_corrected": contrast.here_adjusted,
        "other_categories": elsewhere
        and {
            "interval": elsewhere.interval and list(elsewhere.interval),
            "p_value": elsewhere.p_value,
            "p_corrected": contrast.elsewhere_adjusted,
        },
    }


def _print_groups(found: "Comparison") -> None:
    """Print a table of groups, and what has to be known to read it."""
    from adcli.sweeps.naming import format_value, label_metric, name_group

    kind = "the best" if found.is_best else "as asked"
    counts = [f"{found.pairs} run{'s' * (found.pairs > 1)} of each group"]
    counts += [f"{found.sets} categories"] if found.sets > 1 else []
    counts += [f"{found.images} test images"] if found.images else []
    click.echo(", ".join(counts))
    names = (", ".join(found.by), label_metric(found.metric), "difference", "95% interval", "p", "is it chance?")
    rows = [[name_group(found.against), format_value(found.metric, found.value), "", "", "", kind]]
    rows += [_show_contrast(found, contrast) for contrast in found.contrasts]
    print_table(names, rows, "", typed=names)
    p = f"p is corrected for {found.comparisons} comparisons (Holm)." if found.comparisons > 1 else ""
    across = "Intervals are for these categories." if found.sets > 1 else ""
    for line in (" ".join(filter(None, (across, p))), *found.notes):
        if line:
            print_line(line, 0)


def _show_contrast(found: "Comparison", contrast: "Contrast") -> list[str]:
    from adcli.sweeps.comparing import say_verdict
    from adcli.sweeps.naming import format_value, name_group, say_p

    interval = contrast.here.interval
    return [
        name_group(contrast.group),
        format_value(found.metric, contrast.value),
        f"{contrast.here.value:+.3f}",
        f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else "",
        "" if contrast.here_adjusted is None else say_p(contrast.here_adjusted),
        say_verdict(found.metric, contrast),
    ]
