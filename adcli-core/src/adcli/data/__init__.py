"""From files to samples to pixels: data sets, decoding, framing, sources of images. Nothing here imports torch."""

from adcli.data.decoding import FINE, Pixels, Size, read_image, read_mask, resize
from adcli.data.samples import IMAGE_SUFFIXES, Sample, Splits, count_labels
from adcli.data.source import ImageSource
from adcli.data.splitting import held_out

__all__ = [
    "FINE",
    "IMAGE_SUFFIXES",
    "ImageSource",
    "Pixels",
    "Sample",
    "Size",
    "Splits",
    "count_labels",
    "held_out",
    "read_image",
    "read_mask",
    "resize",
]
