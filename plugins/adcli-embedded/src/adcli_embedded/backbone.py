"""The backbone ``embedded``: timm's ResNet-18, stem to layer4, with the weights beside this file."""

from dataclasses import replace
from pathlib import Path

from adcli.backbones import Backbone, BackboneRequest, random_backbone

WEIGHTS = Path(__file__).with_name("resnet18.safetensors")


def embedded_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make the backbone; layers 1 to 4 are layer1 to layer4 of a ResNet-18, at strides 4, 8, 16 and 32.

    Raises:
        BackboneError: a layer that there is not.
    """
    if request.pretrained and request.weights is None:
        request = replace(request, weights=WEIGHTS)
    return random_backbone("resnet18", request)
