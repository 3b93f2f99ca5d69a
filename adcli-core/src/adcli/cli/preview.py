"""``adcli preview``."""

from pathlib import Path
from typing import Any

import click

from adcli.cli.console import ConsoleProgress, load_pipeline, print_json, print_path, relative
from adcli.cli.flags import (
    Command,
    Place,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    name_key,
    operand,
    setting,
    settings,
)
from adcli.cli.listing import suggest_model
from adcli.runs.settings import TrainSettings


@click.command(cls=Command)
@operand("reference", "What --data takes: a folder, table:FILE, or NAME[:CATEGORY].", complete="data", metavar="DATA")
@flag("--out", type=Place(), metavar="FILE", required=True, section="Output", help="The page, FILE.html.")
@flag("--open", "to_open", is_flag=True, section="Output", help="Open the page in the browser.")
@flag("--count", type=int, default=6, metavar="N", section="Output", help="Photographs (6).")
@setting("model", "Model that is to be trained.", otherwise="patchcore")
@settings("region", "fit", "ignore", "tiles", "tile_overlap", "image_size", "white")
@settings("data_options", "skip_unreadable", "workers")
@megapixels_flag
@json_flag
@click.pass_context
def preview(
    ctx: click.Context,
    /,
    reference: str,
    out: Path,
    to_open: bool,
    count: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Look at photographs as a model would, before training.

    Writes one HTML file that needs no network, with a few photographs: drag zones, paint areas to ignore, try tiles and
    sizes, and see what the model will see. The page gives the command to train with, and saves the image of --ignore.

    \b
    Examples:
      adcli preview photos/rail --out rail.html --open
      adcli preview photos/rail --tiles auto --out rail.html
    """
    for name in ("out", "count"):
        name_key(ctx, name, f"--{name}")
    pipeline, progress = load_pipeline(), ConsoleProgress()
    chosen = TrainSettings.parse({"model": suggest_model(), **drop_missing(given), "data": reference})
    page = pipeline.preview(chosen, out, count=count, progress=progress)
    if as_json:
        print_json({"data": reference, "page": str(page)})
    else:
        print_path(relative(page))
    if to_open:
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            progress.note(f"warning: no browser was found; open {page} in one.")
