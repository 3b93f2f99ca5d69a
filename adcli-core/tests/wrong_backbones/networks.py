"""A right backbone, and wrong ones that differ from it in one thing each."""

from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor, nn

from adcli import BackboneError
from adcli.nn import Backbone, BackboneRequest, load_local_weights

CHANNELS, STRIDES = (4, 6, 8), (4, 8, 16)
_CALLS = count()


class Stages(nn.Module):
    """Three convolutions, of which those up to the last asked for are kept."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__()
        sizes = zip((3, *CHANNELS), CHANNELS, (4, 2, 2), strict=False)
        stages = [nn.Sequential(nn.Conv2d(a, b, s, stride=s), nn.ReLU()) for a, b, s in sizes]
        self.stages = nn.ModuleList(stages[: max(layers)])
        self.layers = tuple(layers)

    def every(self, images: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.every(images)
        return [maps[layer - 1] for layer in self.layers]


def make(
    request: BackboneRequest, network: Callable[[Sequence[int]], Stages] = Stages, backbone: type[Backbone] = Backbone
) -> Backbone:
    """Make a backbone whose weights, which stand for pretrained ones, are always the same."""
    if max(request.layers) > len(CHANNELS):
        raise BackboneError(f"there are {len(CHANNELS)} layers, no layer {max(request.layers)}.")
    stages = network(request.layers)
    if request.weights is not None:
        load_local_weights(stages, request.weights)
    elif request.pretrained:
        generator = torch.Generator().manual_seed(0)
        for parameter in stages.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
    chosen = [layer - 1 for layer in request.layers]
    return backbone(stages, channels=[CHANNELS[i] for i in chosen], strides=[STRIDES[i] for i in chosen])


def right(argument: str, request: BackboneRequest) -> Backbone:
    """Break no rule."""
    return make(request)


def misdescribed(argument: str, request: BackboneRequest) -> Backbone:
    """Gives strides that are not those of its maps."""
    backbone = make(request)
    backbone.strides = tuple(2 * stride for stride in backbone.strides)
    return backbone


class Displaced(Stages):
    """Continues images above and to the left by three positions, which no offset states."""

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[2:]
        return super().forward(nn.functional.pad(images, (12, 0, 12, 0))[:, :, :height, :width])


def displaced(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Displaced)


class Doubled(Stages):
    """Computes in float32, and returns float64."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [found.double() for found in super().forward(images)]


def doubled(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Doubled)


class BatchNormalised(Stages):
    """Subtracts the mean over the batch."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images - 0.1 * images.mean(dim=0, keepdim=True))


def batch_normalised(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, BatchNormalised)


class Unregistered(Stages):
    """Has a factor that no state and no freezing knows of."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__(layers)
        self.factors = [nn.Parameter(torch.ones(()))]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [found * self.factors[0] for found in super().forward(images)]


def unregistered(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Unregistered)


class Noisy(Stages):
    """Adds less noise than two computations differ by."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = super().forward(images)
        if torch.compiler.is_exporting():
            return maps
        return [found + 1e-7 * next(_CALLS) % 5e-7 for found in maps]


def noisy(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Noisy)


class InPlace(Backbone):
    """Normalises its input where it stands."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = super().forward(images)
        if not torch.compiler.is_exporting():
            images.sub_(self.mean)
        return maps


def in_place(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, backbone=InPlace)


class Turned(Stages):
    """Turns the deepest layer over where it is asked for alone."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = super().forward(images)
        return [-found for found in maps] if self.layers == (len(CHANNELS),) else maps


def turned(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Turned)


class Eager(Stages):
    """Computes every layer."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__(range(1, len(CHANNELS) + 1))
        self.layers = tuple(layers)


def eager(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, Eager)


class Scaled(Stages):
    """Multiplies by a number that is no part of its state."""

    factor = 1.0

    def forward(self, images: Tensor) -> list[Tensor]:
        return [found * self.factor for found in super().forward(images)]


def forgetful(argument: str, request: BackboneRequest) -> Backbone:
    """Scales where it loads its weights alone."""
    backbone = make(request, Scaled)
    if request.pretrained:
        backbone.features.factor = 2.0  # type: ignore[assignment]
    return backbone


class DataDependent(Stages):
    """Branches on the pixels."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(images / 255 if bool(images.mean() > 100) else images)


def data_dependent(argument: str, request: BackboneRequest) -> Backbone:
    return make(request, DataDependent)


def crashing(argument: str, request: BackboneRequest) -> Backbone:
    """Fails in its own way where a layer is far beyond the last."""
    if max(request.layers) > 100:
        raise KeyError(request.layers)
    return make(request)


def lenient(argument: str, request: BackboneRequest) -> Backbone:
    """Takes any name for a network."""
    return make(request)


def deaf(argument: str, request: BackboneRequest) -> Backbone:
    """Ignores a file of weights."""
    return make(BackboneRequest(request.layers, request.pretrained))


def talkative(argument: str, request: BackboneRequest) -> Backbone:
    """Prints while it is made."""
    print("making")
    return make(request)
