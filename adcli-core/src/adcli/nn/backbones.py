"""Pretrained networks as lists of feature maps, and where their weights come from.

A name is ``timm:NAME.TAG``, ``torchvision:NAME``, ``random:NAME`` (timm's architecture without learnt weights) or the
name of a plugin's backbone. Layers are counted from 1; in most networks layer 1 to 4 are the last maps at stride 4, 8,
16 and 32, which is what papers call layer1 to layer4. In a vision transformer they are its blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adcli.errors import BackboneError, OptionError
from adcli.nn._folding import fold_batch_norms
from adcli.options import BackboneOptions

if TYPE_CHECKING:
    from adcli._plugins.registry import Provided
    from adcli.specs import BackboneSpec


IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Means of ImageNet's red, green and blue in [0, 1], which most networks subtract."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Their standard deviations, by which most networks divide."""

FALLBACK = "embedded"
UNTRAINED_FALLBACK = "random:resnet18"


@dataclass(frozen=True)
class BackboneRequest:
    """What a model asks of a backbone.

    Attributes:
        layers: the feature maps wanted, counted from 1, ascending.
        pretrained: whether to load learnt weights; False where a run's weights will replace them.
        weights: a local file to load them from, or None for the backbone's own.
    """

    layers: tuple[int, ...]
    pretrained: bool = True
    weights: Path | None = None


class Backbone(nn.Module):
    """Maps images (N, 3, H, W) in [0, 1] to feature maps (N, C_i, H_i, W_i), one for each layer asked for.

    Args:
        features: maps normalised images to the list of maps.
        channels: number of channels of each map.
        strides: pixels of the image per position of each map.
        mean, std: of the images the network was trained on, per channel of [0, 1] pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.features = features
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.precision = torch.float32
        self.frozen = False
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if self.precision == torch.float32:
            return list(self.features(normalised))
        with torch.autocast(images.device.type, self.precision):
            maps = self.features(normalised)
        return [feature_map.float() for feature_map in maps]

    def freeze(self) -> "Backbone":
        """Make this a constant: no gradients, always in evaluation mode, batch norms folded into their convolutions."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()
        fold_batch_norms(self)
        return self

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, except for a frozen backbone, which stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self


def create_backbone(options: BackboneOptions, *, pretrained: bool = True, trainable: bool = False) -> Backbone:
    """Make the backbone that the options name, frozen unless it is to be trained.

    Raises:
        BackboneError: no such backbone or layer, or its weights cannot be had.
    """
    if not options.layers:
        raise OptionError("must name at least one layer.", option="layers")
    request = BackboneRequest(tuple(sorted(options.layers)), pretrained, options.weights if pretrained else None)
    provided, argument = find_backbone(options.backbone)
    return build_backbone(provided, argument, request, trainable=trainable)


def find_backbone(name: str) -> tuple["Provided[BackboneSpec]", str]:
    """Return the spec that a name such as ``timm:resnet18`` stands for, and the part of the name after its prefix.

    Raises:
        BackboneError: no plugin offers it.
    """
    # A model names its backbone by an option, so plugins are looked up here, inside the model, and not at the edge:
    # otherwise every author of a model would have to take a backbone and hand it on.
    from adcli._plugins.registry import registry

    prefix, colon, argument = name.partition(":")
    known = registry().backbones
    provided = known.get(prefix + colon)
    if provided is None:
        raise BackboneError(known.explain_unknown(prefix + colon, name))
    return provided, argument


def build_backbone(
    provided: "Provided[BackboneSpec]", argument: str, request: BackboneRequest, *, trainable: bool = False
) -> Backbone:
    """Make the backbone of a spec, frozen unless it is to be trained.

    Raises:
        BackboneError: no such layer, its weights cannot be had, or the spec's target makes no backbone.
    """
    create = provided.load(provided.spec.target)
    backbone = provided.guard("it cannot be made", lambda: create(argument, request))
    if not isinstance(backbone, Backbone):
        name = provided.spec.name + argument
        raise BackboneError(f"backbone '{name}': its plugin returned {type(backbone).__name__}, expected a Backbone.")
    backbone.to(memory_format=torch.channels_last)
    return backbone if trainable else backbone.freeze()


def check_layers(layers: tuple[int, ...], count: int, name: str) -> tuple[int, ...]:
    """Return the layers that were asked for; raises :class:`BackboneError` if a network has no such layer."""
    for layer in layers:
        if not 1 <= layer <= count:
            raise BackboneError(f"{name} has layers 1 to {count}; layer {layer} was asked for (-o layers=).")
    return layers
