"""``adcli export``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from adcli._commands import quote
from adcli.cli.console import ConsoleProgress, describe_promise, load_pipeline, print_fact, print_json, relative
from adcli.cli.flags import (
    RUN,
    Command,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    operand,
    out_flag,
    pairs,
    setting,
    settings,
)


@click.command(cls=Command)
@operand("run", RUN, complete="runs")
@flag(
    "--to", metavar="NAME", required=True, complete="exporters", help="Format to write; 'adcli exporters' lists them."
)
@pairs("Option of the exporter; see 'adcli exporters show NAME'.", complete="exporter_options")
@out_flag("The exported folder (RUN/exports/NAME).")
@flag("--force", is_flag=True, section="Output", help="Replace an export that is there already.")
@setting("data", "Good images to check and calibrate with, if the run's are gone.", otherwise="the run's")
@settings("workers")
@megapixels_flag
@json_flag
def export(
    run: str,
    to: str,
    options: dict[str, str],
    out: Path | None,
    force: bool,
    data: str | None,
    as_json: bool,
    **computing: Any,
) -> None:
    """Export a finished run, and check the export against it.

    Scores real images with both. If they differ by more than the format allows, the command fails and leaves nothing
    behind.

    \b
    Examples:
      adcli export last --to openvino
      adcli predict last/exports/openvino photos/new
    """
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    exported = pipeline.export(
        pipeline.load(run, progress=progress),
        to,
        options,
        out=out,
        data=data,
        force=force,
        progress=progress,
        **drop_missing(computing),
    )
    manifest = exported.manifest
    if as_json:
        print_json({"export": str(exported.path), **manifest, **describe_promise(exported.calibration)})
        return
    path = relative(exported.path)
    print_fact("export", path)
    for name, measured in _describe_measured(manifest["measured"]):
        print_fact(name, measured)
    print_fact("threshold", exported.calibration.promise())
    for sentence in exported.calibration.explain():
        print_fact("", sentence)
    print_fact("go on", quote("adcli", "predict", path, "IMAGES"))


def _describe_measured(measured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was measured: differences from the run, verdicts, speed."""
    words = f"scores differ by at most {measured['score_difference']:.1e} of the range of good ones"
    if "map_difference" in measured:
        words += f", maps by {measured['map_difference']:.1e} of theirs"
    yield "compared", f"{measured['images']} images: {words} (allowed: {measured['tolerance']:g})"
    if "auroc" in measured:
        auroc = measured["auroc"]
        allowed = "" if auroc["allowed_drop"] is None else f" (allowed to be lower by {auroc['allowed_drop']:g})"
        yield "accuracy", f"image AUROC {auroc['export']:.3f}, the run {auroc['run']:.3f}{allowed}"
    if "verdicts" in measured:
        verdicts = measured["verdicts"]
        near = (
            f"; {verdicts['near_threshold']} too close to the threshold to tell" if verdicts["near_threshold"] else ""
        )
        yield "verdicts", f"{verdicts['equal']} equal, {verdicts['unequal']} unequal{near}"
    for name, batch in (("speed", 1), ("", 16)):
        rates = measured["speed"][f"batch_{batch}"]
        compared = f"the run {rates['run']:.3g} (ratio {rates['ratio']:.2f}, {measured['speed']['threads']} cores)"
        yield name, f"batch {batch}: {rates['export']:.3g} images/s, {compared}"
