"""Backbones from torchvision."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from adcli._process.imports import import_light
from adcli.errors import BackboneError, is_out_of_memory, one_line, suggest
from adcli.nn.backbones import Backbone, BackboneRequest, check_layers
from adcli.nn.weights import (
    WAYS_OUT,
    first_torchvision_weights,
    load_local_weights,
    torchvision_unavailable,
)


def torchvision_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make ``torchvision:ARGUMENT`` with its first ImageNet weights, for networks that are a sequence of stages."""
    models = import_light("torchvision.models")
    if not argument:
        raise BackboneError("torchvision: needs the name of a network, such as torchvision:resnet18.")
    if argument not in models.list_models(module=models):
        raise BackboneError(f"torchvision has no model '{argument}'.{suggest(argument, models.list_models(models))}")
    try:
        network = models.get_model(argument, weights=None)
    except Exception as error:  # some need packages that torchvision does not require
        if is_out_of_memory(error):
            raise
        raise BackboneError(f"torchvision:{argument} cannot be made: {one_line(error)}") from None
    if request.pretrained:
        _load_torchvision(network, argument, request.weights)
    stages, channels, strides = _sequential_stages(network, argument)
    chosen = check_layers(request.layers, len(stages), f"torchvision:{argument}")
    return Backbone(
        SequentialFeatures(stages[: chosen[-1]], [layer - 1 for layer in chosen]),
        channels=[channels[layer - 1] for layer in chosen],
        strides=[strides[layer - 1] for layer in chosen],
        layer_count=len(stages),
    )


def _load_torchvision(network: nn.Module, argument: str, local: Path | None) -> None:
    if local is not None:
        load_local_weights(network, local)
        return
    reason = torchvision_unavailable(argument)
    if reason:
        raise BackboneError(f"torchvision:{argument}: {reason} {WAYS_OUT}")
    try:
        # torchvision's own loading would run whatever code lies in the cache.
        weights = first_torchvision_weights(argument)
        network.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except Exception as error:  # a file in the cache may be anything, and so is what servers answer
        if is_out_of_memory(error):
            raise
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        reason = "refused as weights" if isinstance(error, pickle.UnpicklingError) else one_line(error)
        raise BackboneError(f"torchvision:{argument}: {reason}; remove its file from {folder}.") from None


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
