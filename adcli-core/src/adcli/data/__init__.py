"""From files to samples to pixels: data sets, decoding, framing, sources of images. Nothing here imports torch.

What only lists files is imported at once, since data sets declare themselves with it; what computes with pixels is
imported when it is first used, so that ``adcli --help`` imports no numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adcli.data.formats import IMAGE_SUFFIXES
from adcli.data.left_out import LeftOut
from adcli.data.samples import Label, Sample, Splits, count_labels

if TYPE_CHECKING:
    from adcli.data.decoding import FINE, Pixels, Size, read_image, read_mask, resize
    from adcli.data.folder import list_left_out
    from adcli.data.framing import Framing
    from adcli.data.photograph import ImageLike, Photograph, Unreadable, open_photograph
    from adcli.data.source import Decoded, ImageSource, Item, items_of
    from adcli.data.splitting import held_out
    from adcli.data.view import Look, View

__all__ = [
    "FINE",
    "IMAGE_SUFFIXES",
    "Decoded",
    "Framing",
    "ImageLike",
    "ImageSource",
    "Item",
    "Label",
    "LeftOut",
    "Look",
    "Photograph",
    "Pixels",
    "Sample",
    "Size",
    "Splits",
    "Unreadable",
    "View",
    "count_labels",
    "held_out",
    "items_of",
    "list_left_out",
    "open_photograph",
    "read_image",
    "read_mask",
    "resize",
]

_HOMES = ("decoding", "folder", "framing", "photograph", "source", "splitting", "view")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        homes = (import_module(f"{__name__}.{home}") for home in _HOMES)
        # By where a name is defined, since later modules import from earlier ones.
        return next(vars(home)[name] for home in homes if name in vars(home))
