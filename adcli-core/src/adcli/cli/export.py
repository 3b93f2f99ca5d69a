"""``adcli export``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, parse_pairs, print_json


@click.command()
@click.argument("run")
@click.option("--to", metavar="NAME", required=True, help="Format to write, see 'adcli exporters'.")
@click.option("-o", "options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Exporter option.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The exported folder (RUN/exports/NAME).")
@click.option("--data", metavar="DIR", help="Good images to check and calibrate with, where the run's are gone.")
@click.option("--workers", type=click.IntRange(0), metavar="N", default=2, help="Threads that decode images (2).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def export(
    run: str, to: str, options: dict[str, str], out: Path | None, data: str | None, workers: int, as_json: bool
) -> None:
    """Export a finished run, and check that it scores as the run does.

    RUN is a path, a name under runs, or 'last'. The exported folder is scored beside the run on real images; where
    they differ by more than the format allows, the command fails and leaves nothing behind.

    \b
    Examples:
      adcli export last --to openvino
      adcli predict last/exports/openvino photos/new      needs no torch
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    exported = pipeline.export(pipeline.load(run), to, options, out=out, data=data, workers=workers, progress=progress)
    manifest = exported.manifest
    promise = exported.calibration.promise()
    if as_json:
        print_json({"export": str(exported.path), **manifest, "promise": promise})
        return
    click.echo(f"export     {exported.path}")
    for line in _measured_lines(manifest["measured"]):
        click.echo(line)
    click.echo(f"threshold  {promise}")
    click.echo(f"go on      adcli predict {exported.path} IMAGES")


def _measured_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured: differences from the run, verdicts, speed."""
    words = f"scores differ by at most {measured['score_difference']:.1e} of the range of good ones"
    if "map_difference" in measured:
        words += f", maps by {measured['map_difference']:.1e} of theirs"
    yield f"compared   {measured['images']} images: {words} (allowed: {measured['tolerance']:g})"
    if "auroc" in measured:
        auroc = measured["auroc"]
        allowed = "" if auroc["allowed_drop"] is None else f" (allowed to be lower by {auroc['allowed_drop']:g})"
        yield f"accuracy   image AUROC {auroc['export']:.3f}, the run {auroc['run']:.3f}{allowed}"
    if "verdicts" in measured:
        verdicts = measured["verdicts"]
        near = (
            f"; {verdicts['near_threshold']} too close to the threshold to tell" if verdicts["near_threshold"] else ""
        )
        yield f"verdicts   {verdicts['equal']} equal, {verdicts['unequal']} unequal{near}"
    for name, batch in (("speed", 1), ("", 16)):
        rates = measured["speed"][f"batch_{batch}"]
        compared = f"the run {rates['run']:.3g} (ratio {rates['ratio']:.2f}, {measured['speed']['threads']} cores)"
        yield f"{name:<10} batch {batch}: {rates['export']:.3g} images/s, {compared}"
