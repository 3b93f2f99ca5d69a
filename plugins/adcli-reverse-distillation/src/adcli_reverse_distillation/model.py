"""Reverse Distillation: a student decoder restores the maps of a frozen teacher from a narrow embedding of them.

Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022, arXiv 2201.10703. Trained
on good images alone, it does not restore what defects do to the maps. If paper and official code differ, this follows
the code:

- the loss compares whole maps, flattened (the paper's Eq. 2 compares position by position: ``-o loss=local``);
- the one-class embedding is as wide as the teacher's blocks, twice as wide for a wide ResNet;
- the last epoch is kept, and none is chosen by its results on test images.

One thing is our own. In the official code, batch norms keep moving averages, which lag behind the weights; after few
epochs so far that maps suffer. Here the student's statistics are computed again with the final weights.

Maps are added, or multiplied (``-o combine=multiply``), then blurred. They are never stretched to a range image by
image: that would make scores of different images incomparable. Images are padded to multiples of the embedding's
stride, and their maps cropped.
"""

import math
from collections.abc import Sequence
from itertools import islice, pairwise

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from adcli import BackboneError
from adcli.data import Size
from adcli.nn import (
    Batches,
    FrozenFeatures,
    Model,
    Scores,
    create_backbone,
    gaussian_blur,
    optimise,
    update_batch_norms,
    upsample,
)
from adcli_reverse_distillation import ReverseDistillationOptions
from adcli_reverse_distillation.networks import Architecture, Student, architecture_of
from adcli_reverse_distillation.tracing import trace_maps

BETAS = (0.5, 0.999)
"""Adam's, in the official code."""

STATISTICS_IMAGES = 64
"""Images that the student's batch statistics are taken from; each has many positions."""


class ReverseDistillation(Model):
    """Reverse Distillation; see the module for the choices made."""

    def __init__(self, options: ReverseDistillationOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.teacher = create_backbone(options, image_size=image_size, pretrained=pretrained)
        self.multiple = int(2 * self.teacher.strides[-1])
        self.student = Student(self._mirror_teacher()).to(memory_format=torch.channels_last)
        height, width = self._padded_size()
        if (height, width) != image_size:
            # What the maps cover, and what transformers are made for, is a matter of what they see.
            self.teacher = create_backbone(options, image_size=(height, width), pretrained=pretrained)

    def _mirror_teacher(self) -> Architecture:
        """Return the decoder's architecture for the teacher.

        Raises:
            BackboneError: its maps are not three, each as large as the one before or halved so often, or do not cover
                the image.
        """
        strides, found = self.teacher.strides, f"backbone '{self.options.backbone}': its layers {self.options.layers}"
        steps = [coarse / fine for fine, coarse in pairwise(strides)]
        if len(steps) != 2 or max(steps) == 1 or not {*steps} <= {1, 2, 4, 8}:
            raise BackboneError(
                f"{found} have strides {strides}; Reverse Distillation needs three that are doubled from one to the "
                "next, such as 4, 8 and 16: choose others with -o layers= or --backbone."
            )
        size = self.teacher.image_size or (4 * self.multiple, 4 * self.multiple)
        sizes, signed = trace_maps(self.teacher, size)
        if sizes != [(size[0] // stride, size[1] // stride) for stride in strides]:
            raise BackboneError(
                f"{found} have maps of {' and '.join(f'{h} x {w}' for h, w in sizes)} for images of {size[0]} x "
                f"{size[1]}; Reverse Distillation needs maps of the images' size divided by the strides {strides}: "
                "choose others with -o layers= or --backbone."
            )
        first, second = (round(math.log2(step)) for step in steps)
        finest, middle, coarsest = signed
        return architecture_of(
            self.options.backbone, self.teacher.channels, (first, second), (finest, middle, coarsest)
        )

    def fit(self, batches: Batches) -> None:
        """Train the student to restore the teacher's maps of good images."""
        optimizer = torch.optim.Adam(self.student.parameters(), lr=self.options.learning_rate, betas=BETAS, fused=True)
        falling = self.options.schedule == "cosine"
        scheduler = CosineAnnealingLR(optimizer, self.options.epochs) if falling else None
        features = FrozenFeatures(self._teach, batches, self.options.memory << 20)
        optimise(
            self.student, self.loss, features, optimizer=optimizer, epochs=self.options.epochs, scheduler=scheduler
        )
        some = islice(features.shuffled(self.options.epochs), math.ceil(STATISTICS_IMAGES / batches.batch_size))
        update_batch_norms(self.student, some)
        self.student.requires_grad_(False)

    def loss(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the sum over the teacher's three maps of one minus their cosine similarity (paper, Eq. 1 to 3)."""
        start_dim = 1 if self.options.loss == "flat" else 2
        losses = [
            1 - F.cosine_similarity(_flatten(taught, start_dim), _flatten(restored, start_dim), dim=1).mean()
            for taught, restored in zip(maps, self.student(maps), strict=True)
        ]
        return torch.stack(losses).sum()

    def forward(self, images: Tensor) -> Scores:
        padded = self._pad(images)
        maps = self.teacher(padded)
        height, width = self.image_size
        combined: Tensor | None = None
        for taught, restored, cover in zip(maps, self.student(maps), self.teacher.covers, strict=True):
            distance = 1 - F.cosine_similarity(taught, restored, dim=1)[:, None]
            distance = upsample(distance, self._padded_size(), cover, align_corners=True)
            combined = distance if combined is None else self._combine(combined, distance)
        assert combined is not None
        anomaly_map = gaussian_blur(combined[:, :, :height, :width], self.options.sigma)
        return Scores(anomaly_map.flatten(1).amax(dim=1), anomaly_map)

    def _combine(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second if self.options.combine == "add" else first * second

    def _teach(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.teacher(self._pad(images))
        return maps

    def _pad(self, images: Tensor) -> Tensor:
        """Continue images beyond their right and lower edge to a multiple of the embedding's stride."""
        height, width = (padded - side for padded, side in zip(self._padded_size(), self.image_size, strict=True))
        return F.pad(images, (0, width, 0, height), mode="replicate") if height or width else images

    def _padded_size(self) -> Size:
        height, width = (side + -side % self.multiple for side in self.image_size)
        return height, width


def _flatten(maps: Tensor, start_dim: int) -> Tensor:
    """Flatten maps (N, C, H, W) to (N, C H W), or to (N, C, H W) to compare position by position."""
    return maps.float().flatten(start_dim)
