"""``adcli compare``."""

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json, safe
from adcli.cli.flags import RUN, Command, flag, json_flag, operand
from adcli.errors import OptionError


@click.command(cls=Command)
@operand(
    "runs",
    f"{RUN} Two or more; differences are to the first.",
    complete="runs",
    nargs=-1,
    required=True,
    metavar="RUN RUN...",
)
@flag("--name", metavar="NAME", default="test", help="Evaluation to compare, a folder under evaluations (test).")
@json_flag
def compare(runs: tuple[str, ...], name: str, as_json: bool) -> None:
    """Compare runs on the same images.

    Tells whether the differences are more than chance. The interval holds the difference with 95 % confidence over
    other test images of the kind; it says nothing about other seeds.

    \b
    Example:
      adcli compare patchcore-bottle padim-bottle
    """
    if len(runs) < 2:
        raise OptionError("give two runs or more.")
    pipeline, progress = load_pipeline(), ConsoleProgress()
    found = pipeline.compare_runs([pipeline.load(run, progress=progress) for run in runs], name)
    if as_json:
        rows = [
            {
                "run": str(standing.run.path),
                "model": standing.run.settings["model"],
                "auroc": standing.auroc,
                "difference": standing.difference,
                "interval": list(standing.interval),
            }
            for standing in found.standings
        ]
        counts = {"n_good": found.n_good, "n_defect": found.n_defect, "left_out": found.left_out}
        print_json({"evaluation": name, **counts, "runs": rows})
        return
    left_out = f"; {found.left_out} that some run has not scored are left out" if found.left_out else ""
    click.echo(f"{found.n_good} good and {found.n_defect} defective images{left_out}")
    click.echo(f"{'AUROC':>6} {'difference':>11} {'95% interval':>18}  run")
    for i, standing in enumerate(found.standings):
        low, high = standing.interval
        verdict = "" if i == 0 or standing.shown else "  (may be chance)"
        difference = f"{'':>11} {'':>18}" if i == 0 else f"{standing.difference:>+11.3f} {low:>+8.3f} to {high:>+6.3f}"
        named = safe(f"{standing.run.name} ({standing.run.settings['model']})")
        click.echo(f"{standing.auroc:>6.3f} {difference}  {named}{verdict}")
