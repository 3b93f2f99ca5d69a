"""The model that exporters are checked with unless their tests name another."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.data.decoding import Size
from adcli.nn.batches import Batches
from adcli.nn.model import Model, Scores
from adcli.options import Options
from adcli.specs import ModelSpec

BLOCK = 8


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


REFERENCE = ModelSpec(
    name="mean_image",
    target="adcli.testing.reference:MeanImage",
    options=Options,
    summary="Distance to the mean good image",
    one_pass=True,
)
