"""Backbones from timm."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from adcli._process.imports import import_light
from adcli.errors import BackboneError, one_line, suggest
from adcli.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneRequest, check_layers
from adcli.nn.weights import (
    WAYS_OUT,
    load_local_weights,
    timm_unavailable,
)


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
        raise BackboneError(f"timm:{argument} cannot be made: {one_line(str(error))}") from None
    if request.weights is not None:
        load_local_weights(network, request.weights)
    info = network.feature_info
    # Stems run at strides below 4 and are no layer of any paper.
    stages = [i for i, stage in enumerate(info) if stage["reduction"] >= 4]
    chosen = [stages[layer - 1] for layer in check_layers(request.layers, len(stages), f"timm:{argument}")]
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
