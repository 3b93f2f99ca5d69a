"""``adcli datasets check``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, parse_pairs, print_json


@click.command()
@click.argument("reference", metavar="REF")
@click.option("-d", "data_options", metavar="KEY=VALUE", multiple=True, callback=parse_pairs, help="Data set option.")
@click.option("--workers", type=click.IntRange(min=1), default=4, metavar="N", help="Threads that decode images (4).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check(ctx: click.Context, reference: str, data_options: dict[str, str], workers: int, as_json: bool) -> None:
    """Look at data without training: what is there, and what is wrong.

    REF is what --data takes: a folder, table:FILE, or NAME[:CATEGORY] of a data set. Every image and mask is decoded.
    Wrong are files that cannot be read, test images that are trained on as well, and masks that mark nothing or have
    another shape than their image. Each is one line, and the exit code is then 4.
    """
    pipeline = load_pipeline()
    found = pipeline.inspect_data(reference, data_options, workers=workers, progress=ConsoleProgress())
    if as_json:
        print_json(_document(found))
    else:
        for line in found.lines():
            click.echo(line)
    if found.findings:
        from adcli.errors import DataError

        ctx.exit(DataError.exit_code)


def _document(found: Any) -> dict[str, Any]:
    return {**vars(found), "findings": [vars(finding) for finding in found.findings]}
