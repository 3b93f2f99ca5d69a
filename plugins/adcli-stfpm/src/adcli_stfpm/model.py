"""STFPM: a student with the teacher's architecture learns its feature maps of good images, level by level.

Wang et al., BMVC 2021, arXiv 2103.04257. If paper and official code differ, this follows the code: the loss is the
mean squared distance of unit vectors, averaged over images and positions (the paper halves it), and the levels'
distances are multiplied on the grid of the finest map, not at the size of the image. As there, a fifth of the good
images is never trained on, and the epoch that does best on them is kept; no test image is looked at.

The official batches have 32 images (``--batch-size 32``).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.data import Size
from adcli.nn import (
    Batches,
    Cover,
    FrozenFeatures,
    Model,
    Scores,
    create_backbone,
    optimise,
    upsample,
    upsample_and_blur,
)
from adcli_stfpm import StfpmOptions


class Stfpm(Model):
    """STFPM; see the module for the choices made."""

    def __init__(self, options: StfpmOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.teacher = create_backbone(options, image_size=image_size, pretrained=pretrained)
        self.student = create_backbone(options, image_size=image_size, pretrained=False, trainable=True)

    def fit(self, batches: Batches) -> None:
        """Train the student, and keep what matches the teacher best on images held out."""
        features = FrozenFeatures(self.teacher, batches, self.options.memory << 20, with_images=True)
        train, held_out = features, None
        if self.options.held_out and batches.photographs > 1:
            train, held_out = features.split(self.options.held_out)
        optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=self.options.learning_rate,
            momentum=self.options.momentum,
            weight_decay=self.options.weight_decay,
            fused=True,
        )
        optimise(
            self.student,
            self.loss,
            train,
            optimizer=optimizer,
            epochs=self.options.epochs,
            held_out=held_out,
        )
        self.student.requires_grad_(False)

    def distances(self, taught: Sequence[Tensor], learnt: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield each level's squared distances of unit vectors (paper, Eq. 1, without the half), (N, h, w)."""
        for one, other in zip(taught, learnt, strict=True):
            difference = F.normalize(one.float(), dim=1) - F.normalize(other.float(), dim=1)
            yield difference.square().sum(dim=1)

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the sum over the levels of the mean distance (paper, Eq. 2 and 3), for images and teacher's maps."""
        images, *taught = batch
        return torch.stack([distance.mean() for distance in self.distances(taught, self.student(images))]).sum()

    def forward(self, images: Tensor) -> Scores:
        distances = list(self.distances(self.teacher(images), self.student(images)))
        covers = self.teacher.covers
        anomaly_map = upsample_and_blur(_multiply(distances, covers), self.image_size, self.options.sigma, covers[0])
        return Scores(anomaly_map.flatten(1).amax(dim=1), anomaly_map)


def _multiply(distances: Sequence[Tensor], covers: Sequence[Cover]) -> Tensor:
    """Multiply the levels on the finest grid (paper, section 3.3): (N, h, w) each to (N, 1, h, w)."""
    product = distances[0][:, None]
    grid = (product.shape[2], product.shape[3])
    for distance, cover in zip(distances[1:], covers[1:], strict=True):
        product = product * upsample(distance[:, None], grid, cover.on(covers[0]))
    return product
