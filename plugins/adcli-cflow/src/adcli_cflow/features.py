"""Epochs of a frozen backbone's features, which need computing only once."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from adcli.backbones import Backbone
from adcli.data.batches import Augmentation, Batches, Session


class FrozenFeatures:
    """Good images as rows of features: all maps of an image, flattened and joined, (N, D).

    Args:
        backbone: what computes the maps.
        batches: the images.
        memory: bytes that all rows may take; if they take more, they are computed anew in every epoch.
    """

    def __init__(self, backbone: Backbone, batches: Batches, memory: int) -> None:
        self.backbone, self.batches = backbone, batches
        with torch.no_grad():
            first = backbone(next(batches.shuffled(0))[:1])
        self.shapes = [tuple(part.shape[1:]) for part in first]
        self.lengths = [math.prod(shape) for shape in self.shapes]
        self.rows: Tensor | None = None
        if batches.count * sum(self.lengths) * 4 <= memory:
            # Filled in place: joining a list would take twice the memory.
            rows = first[0].new_empty(batches.count, sum(self.lengths))
            for part, images in zip(torch.split(rows, batches.batch_size), batches, strict=True):
                part.copy_(self._rows(images))
            self.rows = rows

    @property
    def session(self) -> Session:
        """What the core provides."""
        return self.batches.session

    def __len__(self) -> int:
        return len(self.batches)

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[Tensor]:
        """Yield the rows of all images, in the order in which the images themselves would come."""
        assert augment is None
        if self.rows is None:
            yield from map(self._rows, self.batches.shuffled(epoch))
            return
        for chosen in self.batches.order(epoch):
            yield self.rows[torch.from_numpy(chosen).to(self.rows.device)]

    def sharded(self) -> "FrozenFeatures":
        """Return this process's part of the epochs; each process has computed, and keeps, the rows of all images."""
        part = copy.copy(self)
        part.batches = self.batches.sharded()
        return part

    def maps(self, rows: Tensor) -> list[Tensor]:
        """Return rows as the maps they are made of, (N, C, h, w) each."""
        parts = torch.split(rows, self.lengths, dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @torch.no_grad()
    def _rows(self, images: Tensor) -> Tensor:
        if len(images) == 0:
            return images.new_empty(0, sum(self.lengths))
        return torch.cat([part.flatten(1) for part in self.backbone(images)], dim=1)
