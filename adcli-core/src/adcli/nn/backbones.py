"""Pretrained networks as lists of feature maps, and where their weights come from.

A name is ``timm:NAME.TAG``, ``torchvision:NAME``, ``random:NAME`` (timm's architecture without learnt weights) or the
name of a plugin's backbone. Layers are counted from 1; in most networks layer 1 to 4 are the last maps at stride 4, 8,
16 and 32, which is what papers call layer1 to layer4. In a vision transformer they are its blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adcli.errors import BackboneError, suggest
from adcli.folding import fold_batch_norms
from adcli.imports import import_light
from adcli.options import BackboneOptions
from adcli.weights import (
    WAYS_OUT,
    first_torchvision_weights,
    load_local_weights,
    timm_unavailable,
    torchvision_unavailable,
)

if TYPE_CHECKING:
    from adcli.registry import Provided
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
        """Stop training for good: no gradients, evaluation mode, batch norms folded into their convolutions."""
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
    request = BackboneRequest(tuple(sorted(options.layers)), pretrained, options.weights if pretrained else None)
    provided, argument = find_backbone(options.backbone)
    return build_backbone(provided, argument, request, trainable=trainable)


def find_backbone(name: str) -> tuple["Provided[BackboneSpec]", str]:
    """Return the spec that a name such as ``timm:resnet18`` stands for, and the part of the name after its prefix.

    Raises:
        BackboneError: no plugin offers it.
    """
    from adcli.registry import registry

    prefix, colon, argument = name.partition(":")
    known = registry().backbones
    provided = known.get(prefix + colon)
    if provided is None:
        raise BackboneError(known.unknown(prefix + colon, name))
    return provided, argument


def build_backbone(
    provided: "Provided[BackboneSpec]", argument: str, request: BackboneRequest, *, trainable: bool = False
) -> Backbone:
    """Make the backbone of a spec, frozen unless it is to be trained.

    Raises:
        BackboneError: no such layer, its weights cannot be had, or the spec's target makes no backbone.
    """
    create = provided.load(provided.spec.target)
    backbone = provided.guarded("it cannot be made", lambda: create(argument, request))
    if not isinstance(backbone, Backbone):
        name = provided.spec.name + argument
        raise BackboneError(f"backbone '{name}': its plugin returned {type(backbone).__name__}.")
    backbone.to(memory_format=torch.channels_last)
    return backbone if trainable else backbone.freeze()


def timm_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``timm:ARGUMENT``, with the weights of its tag from the hub, its cache or a local file."""
    _check_architecture(argument)
    if request.pretrained and request.weights is None:
        reason = timm_unavailable(argument)
        if reason:
            raise BackboneError(f"timm:{argument}: {reason} {WAYS_OUT}")
    return _timm(argument, request, download=request.pretrained and request.weights is None)


def random_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``random:ARGUMENT``: timm's architecture, its weights drawn from the run's seed."""
    _check_architecture(argument)
    return _timm(argument, request, download=False)


def _check_architecture(argument: str) -> None:
    timm = import_light("timm")
    name = argument.partition(".")[0]
    if not timm.is_model(name):
        raise BackboneError(f"timm has no model '{name}'.{suggest(name, timm.list_models())}")


def _timm(argument: str, request: BackboneRequest, *, download: bool) -> Backbone:
    timm = import_light("timm")
    try:
        network: Any = timm.create_model(argument, pretrained=download, num_classes=0, **_any_size(argument))
    except Exception as error:  # timm and the hub raise anything, from RuntimeError to httpx's own
        raise BackboneError(f"timm:{argument} cannot be made: {' '.join(str(error).split())[:300]}") from None
    if request.weights is not None:
        load_local_weights(network, request.weights)
    info = network.feature_info
    # Stems run at strides below 4 and are no layer of any paper.
    stages = [i for i, stage in enumerate(info) if stage["reduction"] >= 4]
    chosen = [stages[layer - 1] for layer in _checked(request.layers, len(stages), f"timm:{argument}")]
    config = network.pretrained_cfg
    return Backbone(
        TimmFeatures(network, chosen),
        channels=[info[i]["num_chs"] for i in chosen],
        strides=[info[i]["reduction"] for i in chosen],
        mean=config.get("mean", IMAGENET_MEAN),
        std=config.get("std", IMAGENET_STD),
    )


def _any_size(argument: str) -> dict[str, Any]:
    """Ask transformers, whose position embeddings fix an image size, to interpolate them."""
    config = import_light("timm.models").get_pretrained_cfg(argument)
    fixed = config is not None and config.fixed_input_size
    return {"dynamic_img_size": True, "dynamic_img_pad": True} if fixed else {}


def _checked(layers: tuple[int, ...], count: int, name: str) -> tuple[int, ...]:
    for layer in layers:
        if not 1 <= layer <= count:
            raise BackboneError(f"{name} has layers 1 to {count}; layer {layer} was asked for (-o layers=).")
    return layers


class TimmFeatures(nn.Module):
    """The intermediate maps of a timm network, computing nothing beyond the last of them."""

    def __init__(self, network: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)
        network.prune_intermediate_layers(self.indices, prune_head=True)  # type: ignore[operator]
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            images, indices=self.indices, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps


def torchvision_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``torchvision:ARGUMENT`` with its first ImageNet weights, for networks that are a sequence of stages."""
    models = import_light("torchvision.models")
    if argument not in models.list_models(module=models):
        raise BackboneError(f"torchvision has no model '{argument}'.{suggest(argument, models.list_models(models))}")
    network = models.get_model(argument, weights=None)
    if request.pretrained:
        _load_torchvision(network, argument, request.weights)
    stages, channels, strides = _sequential_stages(network, argument)
    chosen = _checked(request.layers, len(stages), f"torchvision:{argument}")
    return Backbone(
        SequentialFeatures(stages[: chosen[-1]], [layer - 1 for layer in chosen]),
        channels=[channels[layer - 1] for layer in chosen],
        strides=[strides[layer - 1] for layer in chosen],
    )


def _load_torchvision(network: nn.Module, argument: str, local: Path | None) -> None:
    if local is not None:
        load_local_weights(network, local)
        return
    reason = torchvision_unavailable(argument)
    if reason:
        raise BackboneError(f"torchvision:{argument}: {reason} {WAYS_OUT}")
    network.load_state_dict(first_torchvision_weights(argument).get_state_dict(progress=False, check_hash=True))


class SequentialFeatures(nn.Module):
    """Stages run one after the other; the outputs of some of them are returned."""

    def __init__(self, stages: Sequence[nn.Module], indices: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.indices = frozenset(indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for index, stage in enumerate(self.stages):
            images = stage(images)
            if index in self.indices:
                maps.append(images)
        return maps


def _sequential_stages(network: nn.Module, name: str) -> tuple[list[nn.Module], list[int], list[int]]:
    """Cut a torchvision network into stages that end with the last map at stride 4, 8, 16, ...

    Raises:
        BackboneError: the network is no plain sequence of modules on maps.
    """
    size = 224
    features = getattr(network, "features", network)
    children = list(features.children())
    outputs: list[Tensor] = []
    value = torch.zeros(1, 3, size, size)
    network.eval()
    with torch.no_grad():
        for child in children:
            try:
                value = child(value)
            except (RuntimeError, TypeError, ValueError, AssertionError):
                break
            if value.ndim != 4 or value.shape[-1] == 1:
                break
            outputs.append(value)
    strides = [size // output.shape[-1] for output in outputs]
    ends = [i for i, s in enumerate(strides) if s >= 4 and (i + 1 == len(strides) or strides[i + 1] != s)]
    if not ends or outputs[0].shape[-1] < size // 8:
        raise BackboneError(f"torchvision:{name} is no sequence of feature maps; use the timm: version of it.")
    starts = [0, *(end + 1 for end in ends[:-1])]
    stages: list[nn.Module] = [
        nn.Sequential(*children[start : end + 1]) for start, end in zip(starts, ends, strict=True)
    ]
    return stages, [outputs[end].shape[1] for end in ends], [strides[end] for end in ends]
