"""The model that executors are checked with: as installed, since other processes have to find it by its name."""

from pathlib import Path

from adcli.hookspecs import hookimpl
from adcli.options import Options, option
from adcli.specs import ModelSpec

WATCHED = "watched_image"

THREADS, BEAT, GO = "threads", "beat", "go"
"""Files of the folder ``watch``."""

_INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: adcli-watched-image\nVersion: 1.0\n",
    "entry_points.txt": f"[adcli]\n{WATCHED} = {__name__}\n",
}


class WatchedOptions(Options):
    """Options of the model."""

    watch: Path | None = option(None, "A folder: notes there that it is at work, and waits until it has a file 'go'.")


@hookimpl
def adcli_models() -> list[ModelSpec]:
    """Return the model."""
    return [
        ModelSpec(
            name=WATCHED,
            target="adcli.testing.reference:WatchedImage",
            options=WatchedOptions,
            summary="Distance to the mean good image, which says when it is fitted",
            one_pass=True,
        )
    ]


def install_watched(site: Path) -> None:
    """Write what makes the model a plugin of each process that has a folder in its path."""
    info = site / "adcli_watched_image-1.0.dist-info"
    info.mkdir(parents=True)
    for name, content in _INFO.items():
        (info / name).write_text(content, encoding="utf-8")
