"""From files to samples to pixels: data sets, decoding, framing, sources of images. Nothing here imports torch."""

from adcli.data.decoding import FINE, Pixels, Size, read_image, read_mask, resize
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, Source, open_photograph
from adcli.data.samples import IMAGE_SUFFIXES, Label, Sample, Splits, count_labels
from adcli.data.source import Decoded, ImageSource, Item, items_of
from adcli.data.splitting import held_out

__all__ = [
    "FINE",
    "IMAGE_SUFFIXES",
    "Decoded",
    "Framing",
    "ImageSource",
    "Item",
    "Label",
    "Photograph",
    "Pixels",
    "Sample",
    "Size",
    "Source",
    "Splits",
    "count_labels",
    "held_out",
    "items_of",
    "open_photograph",
    "read_image",
    "read_mask",
    "resize",
]
