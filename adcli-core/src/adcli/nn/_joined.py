"""Several backbones as one: the maps of all, on one scale."""

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from adcli.data.decoding import Size
from adcli.nn import distributed
from adcli.nn.backbones import Backbone
from adcli.nn.devices import to_float64

MEASURED = 16
"""Batches of good images that the scales are measured on, at most."""


class JoinedBackbone(Backbone):
    """The maps of several backbones, the finest first; of equally fine ones, those of the first backbone.

    Each backbone normalises the images as it was trained. The channels of different networks differ in size by orders.
    :meth:`equalise` brings them to the size that those of the first one have.

    Buffers:
        scale: what the maps of each backbone are multiplied by, (B,).

    Args:
        backbones: two or more.
    """

    scale: Tensor

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        found = [(owner, index) for owner, one in enumerate(backbones) for index in range(len(one.strides))]
        order = sorted(range(len(found)), key=lambda i: backbones[found[i][0]].strides[found[i][1]])
        placed = [(backbones[found[i][0]], found[i][1]) for i in order]
        super().__init__(
            nn.ModuleList(backbones),
            channels=[one.channels[index] for one, index in placed],
            strides=[one.strides[index] for one, index in placed],
            offsets=[one.offsets[index] for one, index in placed],
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        self.name = "+".join(one.name for one in backbones)
        self._members = tuple(found[i][0] for i in order)
        self._order = order
        self.register_buffer("scale", torch.ones(len(backbones)))

    @property
    def members(self) -> tuple[int, ...]:
        """The number of the backbone that each map is of."""
        return self._members

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self._unscaled(images)
        return [part * self.scale[owner] if owner else part for part, owner in zip(maps, self.members, strict=True)]

    def _unscaled(self, images: Tensor) -> list[Tensor]:
        maps = [part for backbone in self.features.children() for part in backbone(images)]
        return [maps[i] for i in self._order]

    def equalise(self, batches: Iterable[Tensor]) -> None:
        """Multiply the maps of each backbone so that their channels deviate, on average, as the first one's do."""
        deviations = [_Deviations() for _ in self.members]
        with torch.no_grad():
            for images in islice(batches, MEASURED):
                for deviation, part in zip(deviations, self._unscaled(images), strict=True):
                    deviation.add(part)
        means = [
            torch.cat([one.of_channels() for one, owner in zip(deviations, self.members, strict=True) if owner == i])
            for i in range(len(self.scale))
        ]
        scale = torch.stack([means[0].mean() / part.mean().clamp_min(1e-12) for part in means])
        # Of several processes, each rounds as its own device does.
        self.scale = distributed.broadcast(scale.float().to(self.scale.device))

    def _fold(self, image_size: Size) -> None:
        """Do nothing: what is joined was folded by itself."""


class _Deviations:
    """Sums over positions of the channels of maps, about the mean of the first."""

    def __init__(self) -> None:
        self.count = 0
        self.origin = self.total = self.squares = torch.empty(0)

    def add(self, maps: Tensor) -> None:
        """Add maps (N, C, h, w)."""
        rows = to_float64(maps.transpose(0, 1).flatten(1))
        if not self.count:
            self.origin = rows.mean(dim=1, keepdim=True)
            self.total = self.squares = torch.zeros_like(self.origin[:, 0])
        centred = rows - self.origin
        self.total = self.total + centred.sum(dim=1)
        self.squares = self.squares + centred.square().sum(dim=1)
        self.count += rows.shape[1]

    def of_channels(self) -> Tensor:
        """Return each channel's standard deviation, (C,)."""
        return (self.squares / self.count - (self.total / self.count).square()).clamp_min(0).sqrt()
