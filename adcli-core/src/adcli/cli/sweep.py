"""``adcli sweep`` and what belongs to it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli._showing import count
from adcli.cli.console import ConsoleProgress, load_pipeline, print_fact, print_json, print_table, relative
from adcli.cli.flags import (
    Group,
    Place,
    flag,
    json_flag,
    megapixels_flag,
    name_key,
    out_flag,
    parse_pairs,
    settings,
)
from adcli.cli.sweep_results import check_recipe, print_results, show
from adcli.errors import AdcliError, OptionError
from adcli.runs.settings import FIELDS

if TYPE_CHECKING:
    from adcli.pipeline import SweepPlan, SweepResults
    from adcli.sweeps.results import Outcome

_SPLIT = ("model", "data", "seed", "image_size", "shots")
_OTHERS = tuple(name for name in FIELDS if name not in (*_SPLIT, "options", "data_options"))


def _collect(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, list[str]]:
    """Turn repeated ``KEY=VALUE`` into the values of each key; a click callback."""
    found: dict[str, list[str]] = {}
    for value in values:
        for key, text in parse_pairs(ctx, parameter, [value]).items():
            found.setdefault(key, []).append(text)
    return found


@click.group(cls=Group, invoke_without_command=True)
@flag("--model", "-m", section="Model", metavar="NAME,...", complete="models", help="Models to train.")
@flag("--backbone", section="Model", metavar="NAME,...", complete="backbones", help="Backbones of those that have one.")
@flag(
    "-o",
    "options",
    section="Model",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_collect,
    complete="model_options",
    help="Option of the models that have it, or MODEL.KEY=VALUE of one; given again with another value, both.",
)
@flag("--data", section="Data", metavar="REF,...", complete="data", help="What to train on (the demo data).")
@flag(
    "-d",
    "data_options",
    section="Data",
    metavar="KEY=VALUE",
    multiple=True,
    callback=parse_pairs,
    complete="data_options",
    help="Option of the data sets that have it, or NAME.KEY=VALUE of one.",
)
@flag("--shots", section="Data", metavar="N,...", help="Good images to fit on, drawn by the seed (all).")
@flag("--image-size", section="Images", metavar="N|HxW|auto,...", help="Sizes that images are resized to.")
@flag("--seed", section="Computing", metavar="N..N|N,...", help="Seeds, such as 0..4 (0).")
@settings(*_OTHERS)
@megapixels_flag
@flag("--config", type=Place(), metavar="FILE", section="Run", help="Take grids from a YAML file, or a recipe.")
@out_flag("The sweep; one that is there is continued.", section="Run")
@flag("--replace", is_flag=True, section="Run", help="Drop runs that the folder had and this grid does not.")
@flag("--shard", metavar="I/N", section="Run", help="Make every N-th run alone, from the I-th.")
@flag(
    "--executor", metavar="NAME", section="Run", complete="executors", default="local", help="What makes them (local)."
)
@flag(
    "-x",
    "executor_options",
    section="Run",
    metavar="KEY=VALUE",
    multiple=True,
    callback=parse_pairs,
    complete="executor_options",
    help="Option of the executor ('adcli executors show NAME').",
)
@flag("--jobs", metavar="N", section="Run", help="The same as -x jobs=N.")
@flag("--dry-run", is_flag=True, section="Output", help="List the runs, and make none.")
@json_flag
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    config: Path | None,
    out: Path | None,
    replace: bool,
    shard: str | None,
    executor: str,
    executor_options: dict[str, str],
    jobs: str | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a grid of models, data and settings.

    There is a run for each combination of what is given. The folder keeps them: start the command again, and it makes
    what is missing, or what a larger grid adds; with --out alone, it continues. A run that fails ends no other.

    \b
    Examples:
      adcli sweep -m padim,dfm --data visa --seed 0..4 --out S
      adcli sweep -m padim -o sigma=2 -o sigma=4 --out S
      adcli sweep --out S --shard 1/8
    """
    if ctx.invoked_subcommand is not None:
        return
    if out is None:
        raise OptionError("must be given: the folder of the sweep.", option="--out")
    if shard is not None and not shard.strip():
        raise OptionError("is empty; give NUMBER/COUNT, such as 1/8.", option="--shard")
    if jobs is not None:
        if "jobs" in executor_options:
            raise OptionError("is the same as -x jobs; give one of them.", option="--jobs")
        executor_options["jobs"] = jobs
        name_key(ctx, "jobs", "--jobs")
    given = {name: value for name, value in flags.items() if value not in (None, {})}
    pipeline, progress = load_pipeline(), ConsoleProgress()
    grids = _read_grids(config, given)
    asked = {
        "out": out,
        "shard": shard or "",
        "replace": replace,
        "executor": executor,
        "executor_options": executor_options,
    }
    try:
        # Otherwise pipeline.sweep says what is to be noted, as it plans again.
        plan = pipeline.plan_sweep(grids, **asked, progress=progress if dry_run else None)
        if dry_run:
            _print_plan(plan, as_json)
            return
        progress.note(_announce(plan))
        found = pipeline.sweep(
            grids,
            **asked,
            progress=progress,
            command=quote("adcli", *sys.argv[1:]),
        )
    except OptionError as error:
        _name_setting(error, config, given)
        raise
    _print_outcome(found, as_json)


def _read_grids(config: Path | None, given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the grids of a file with what was typed instead, or what was typed alone."""
    if config is None:
        return [given] if given else []
    from adcli.sweeps.files import read_sweep_file

    return [_merge(grid, given) for grid in read_sweep_file(config).grids]


def _merge(grid: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ("options", "data_options")
    return {
        **grid,
        **{name: value for name, value in given.items() if name not in kinds},
        **{kind: _merge_options(grid.get(kind), given.get(kind, {})) for kind in kinds},
    }


def _merge_options(found: Any, given: Mapping[str, Any]) -> Any:
    # What is no mapping is refused with the rest of the grid.
    return {**(found or {}), **given} if found is None or isinstance(found, Mapping) else found


def _name_setting(error: OptionError, config: Path | None, given: Mapping[str, Any]) -> None:
    """Have an error name a setting as it was typed, or by the file that it stands in."""
    if error.option in given:
        error.option = f"--{error.option.replace('_', '-')}"
    elif config is not None and error.option and not error.option.startswith("-"):
        error.option = f"--config {config}: {error.option}"


def _announce(plan: "SweepPlan") -> str:
    """Return how many runs there are, and what they will roughly take."""
    made = len(plan.here) - len(plan.to_make)
    shard = f", {len(plan.here)} of them here" if len(plan.here) < len(plan.cells) else ""
    told = f"{count(len(plan.cells), 'run')}{shard}: {made} made already, {len(plan.to_make)} to make"
    if plan.seconds is not None:
        told += f"; one after the other about {_say_duration(plan.seconds)}, as earlier runs took"
    if plan.unknown and plan.to_make:
        told += f"; nothing is known yet of {', '.join(plan.unknown)}"
    return f"{told}."


def _say_duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _print_plan(plan: "SweepPlan", as_json: bool) -> None:
    to_make = {cell.name for cell in plan.to_make}
    runs = [
        {"run": cell.name, "state": "to make" if cell.name in to_make else "made", **cell.factors} for cell in plan.here
    ]
    if as_json:
        print_json({"sweep": str(plan.folder), "seconds": plan.seconds, "runs": runs})
        return
    names = list(dict.fromkeys(name for run in runs for name in run))
    print_table(names, [[_text(run.get(name, "")) for name in names] for run in runs], "no runs.", typed=("run",))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _print_outcome(found: "SweepResults", as_json: bool) -> None:
    """Print what came out; raises if a run failed."""
    folder = relative(found.folder)
    if as_json:
        print_json({"sweep": str(found.folder), "runs": [_describe_outcome(outcome) for outcome in found.outcomes]})
    else:
        if found.made:
            print_results(found)
        print_fact("sweep", folder)
        missing = f", {len(found.missing)} not made yet" if found.missing else ""
        print_fact("runs", f"{len(found.made)} made, {len(found.failed)} failed{missing}")
        print_fact("look at", quote("adcli", "sweep", "show", folder, "--html", "FILE.html"))
    if found.failed:
        first = found.failed[0]
        raise AdcliError(
            f"{len(found.failed)} of {len(found.outcomes)} runs failed, such as {first.cell.name}: {first.error}"
        )


def _describe_outcome(outcome: "Outcome") -> dict[str, Any]:
    return {
        "run": str(outcome.path) if outcome.path else None,
        "name": outcome.cell.name,
        **outcome.cell.factors,
        "metrics": dict(outcome.metrics),
        "seconds": dict(outcome.seconds),
        "error": outcome.error or None,
    }


sweep.add_command(show, "show")
sweep.add_command(check_recipe, "check")
