"""``adcli bench``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json, print_table
from adcli.cli.flags import OPENED, Command, drop_missing, json_flag, megapixels_flag, operand, settings
from adcli.runs.settings import FIELDS


@click.command(cls=Command)
@operand("run", OPENED, complete="runs")
@operand(
    "paths",
    "Images, and folders of them; none to draw some, 256 x 256 or as the run needs.",
    complete="files",
    nargs=-1,
)
@settings("device", "workers")
@megapixels_flag
@json_flag
def bench(run: str, paths: tuple[str, ...], as_json: bool, **computing: Any) -> None:
    """Measure how fast a run or an export scores."""
    pipeline = load_pipeline()
    timings = pipeline.bench(run, paths, progress=ConsoleProgress(), **drop_missing(computing))
    if as_json:
        print_json(timings.to_dict())
        return
    workers = FIELDS["workers"].default if computing["workers"] is None else computing["workers"]
    alone, decoded = timings.latency, timings.latency_decoding
    rows = [
        ["load", f"{timings.load * 1000:.0f} ms", "imports, digests and the model"],
        ["first image", f"{timings.first_image * 1000:.1f} ms", "decoding included"],
        ["one image, warm", _milliseconds(alone.median, alone.p95), "decoded already, batch 1"],
        ["", _milliseconds(decoded.median, decoded.p95), "decoding included, batch 1"],
        ["throughput", f"{timings.throughput:.1f} images/s", "decoded already, batch 16"],
        ["", f"{timings.throughput_decoding:.1f} images/s", f"decoding included, batch 16, {workers} threads decode"],
    ]
    rows.append(["one photograph", _short(sum(timings.stages.values())), "from its file to its verdict, batch 1"])
    rows += [["", _short(seconds), _STAGES[name]] for name, seconds in timings.stages.items()]
    if timings.next_size is not None:
        height, width = timings.next_size
        rows.append(
            ["next size", f"{timings.next_cost:.1f} times as long", f"--image-size {height}x{width}, the backbone"]
        )
    print_table(("what", "measured", "how"), rows, "", ("what", "measured"))
    click.echo(f"{timings.images} images, {timings.cores} cores")


_STAGES = {
    "decode": "decoding it",
    "resize": "cutting and resizing it",
    "network": "the backbone",
    "head": "the rest of the model, and its map",
    "model": "the model",
    "graph": "the graph",
    "verdict": "the verdict, and regions of a defect",
}


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _milliseconds(median: float, p95: float) -> str:
    return f"{median * 1000:.1f} ms (95 %: {p95 * 1000:.1f} ms)"
