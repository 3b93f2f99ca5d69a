"""``adcli datasets check``."""

from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json, print_line
from adcli.cli.flags import Command, drop_missing, json_flag, megapixels_flag, operand, settings


@click.command(cls=Command)
@operand("reference", "What --data takes: a folder, table:FILE, or NAME[:CATEGORY].", complete="data", metavar="REF")
@settings("data_options", "part", "workers")
@megapixels_flag
@json_flag
@click.pass_context
def check(
    ctx: click.Context,
    /,
    reference: str,
    data_options: dict[str, str],
    part: str | None,
    as_json: bool,
    **computing: Any,
) -> None:
    """Look at data, without training.

    Decodes and counts images and masks, and lists what is left out. Reports unreadable or transparent images, test
    images that also appear in the training set, and masks that are empty, inverted, of the wrong shape or of no image,
    one line each; the exit code is then 4.
    """
    pipeline = load_pipeline()
    found = pipeline.inspect_data(
        reference, data_options, part=part or "", **drop_missing(computing), progress=ConsoleProgress()
    )
    if as_json:
        print_json(_document(found))
    else:
        for line in found.lines():
            print_line(line, 0)
    if found.findings:
        from adcli.errors import DataError

        ctx.exit(DataError.exit_code)


def _document(found: Any) -> dict[str, Any]:
    listed = {"findings": [*map(vars, found.findings)], "left_out": [*map(vars, found.left_out)]}
    return {**vars(found), **listed}
