"""The model that exporters are checked with unless their tests name another, and the one for executors."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.data.decoding import Size
from adcli.nn.batches import Batches
from adcli.nn.model import Model, Scores
from adcli.options import Options
from adcli.specs import ModelSpec
from adcli.testing._watched import BEAT, GO, THREADS

BLOCK = 8

_LONGEST = 180.0
"""Seconds that a fit waits at most, so that none is left behind."""


class MeanImage(Model):
    """Distance to the mean good image, averaged over blocks of 8 x 8 pixels."""

    mean: Tensor

    def __init__(self, options: Any, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("mean", torch.zeros(3, *image_size))

    def fit(self, batches: Batches) -> None:
        """Average the images."""
        self.mean = torch.cat([images.sum(dim=0, keepdim=True) for images in batches]).sum(dim=0) / batches.count

    def forward(self, images: Tensor) -> Scores:
        """Score images; the score is the map's maximum."""
        distance = (images - self.mean).square().mean(dim=1, keepdim=True)
        blocks = F.avg_pool2d(distance, BLOCK)
        return Scores(blocks.flatten(1).amax(dim=1), F.interpolate(blocks, scale_factor=float(BLOCK), mode="nearest"))


class WatchedImage(MeanImage):
    """A mean image whose fit is seen from outside, and waits until it may end."""

    def fit(self, batches: Batches) -> None:
        """Print a word, say that it is at work until it may go on, and average the images."""
        print("fitting")
        if self.options.watch is not None:
            _watch(self.options.watch)
        super().fit(batches)


def _watch(folder: Path) -> None:
    """Note how many threads there are, and again and again that somebody is here."""
    (folder / THREADS).write_text(str(torch.get_num_threads()))
    end = time.monotonic() + _LONGEST
    while not (folder / GO).exists() and time.monotonic() < end:
        (folder / BEAT).write_text(str(time.time()))
        time.sleep(0.05)


REFERENCE = ModelSpec(
    name="mean_image",
    target="adcli.testing.reference:MeanImage",
    options=Options,
    summary="Distance to the mean good image",
    one_pass=True,
)
