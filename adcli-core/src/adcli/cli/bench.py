"""``adcli bench``."""

import click

from adcli.cli.console import load_pipeline, print_json, print_table


@click.command()
@click.argument("run")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto).")
@click.option("--workers", type=click.IntRange(0), metavar="N", default=2, help="Threads that decode images (2).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(run: str, paths: tuple[str, ...], device: str, workers: int, as_json: bool) -> None:
    """Measure how fast a run or an export scores.

    RUN is a path, a name under runs, or 'last', or an exported folder; PATHS are images, and folders of them; without
    any, images of 256 x 256 pixels are drawn.
    """
    pipeline = load_pipeline()
    timings = pipeline.bench(run, paths, device=device, workers=workers)
    if as_json:
        print_json(timings.to_dict())
        return
    alone, decoded = timings.latency, timings.latency_decoding
    rows = [
        ["load", f"{timings.load * 1000:.0f} ms", "imports, digests and the model"],
        ["first image", f"{timings.first_image * 1000:.1f} ms", "decoding included"],
        ["one image, warm", _milliseconds(alone.median, alone.p95), "decoded already, batch 1"],
        ["", _milliseconds(decoded.median, decoded.p95), "decoding included, batch 1"],
        ["throughput", f"{timings.throughput:.1f} images/s", "decoded already, batch 16"],
        ["", f"{timings.throughput_decoding:.1f} images/s", f"decoding included, batch 16, {workers} threads decode"],
    ]
    print_table(("what", "measured", "how"), rows, "")
    click.echo(f"{timings.images} images, {timings.cores} cores")


def _milliseconds(median: float, p95: float) -> str:
    return f"{median * 1000:.1f} ms (95 %: {p95 * 1000:.1f} ms)"
