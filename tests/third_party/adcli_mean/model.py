"""The model."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.nn import Batches, Model, Scores


class MeanImage(Model):
    """Distance to the mean good image, averaged over blocks of 8 x 8 pixels."""

    mean: Tensor

    def __init__(self, options: Any, *, image_size: tuple[int, int], pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("mean", torch.zeros(3, *image_size))

    def fit(self, batches: Batches) -> None:
        total = torch.zeros(())
        for images in batches:
            total = total + images.sum(dim=0)
        self.mean = total / batches.count

    def forward(self, images: Tensor) -> Scores:
        distance = (images - self.mean).abs().pow(self.options.power).mean(dim=1, keepdim=True)
        blocks = F.avg_pool2d(distance, 8)
        return Scores(blocks.flatten(1).amax(dim=1), F.interpolate(blocks, scale_factor=8.0, mode="nearest"))
