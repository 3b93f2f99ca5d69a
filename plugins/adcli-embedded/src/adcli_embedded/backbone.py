"""The backbone ``embedded``: a ResNet-18, from its stem to layer4, with the weights in this folder."""

from pathlib import Path

from adcli import BackboneError
from adcli.nn import Backbone, BackboneRequest, SequentialFeatures, Undrawn, load_local_weights
from adcli_embedded.resnet import WIDTHS, ResNet18

WEIGHTS = Path(__file__).with_name("resnet18.safetensors")


def embedded_backbone(argument: str, request: BackboneRequest) -> Backbone:
    """Make the backbone; layers 1 to 4 are layer1 to layer4 of a ResNet-18, at strides 4, 8, 16 and 32.

    Raises:
        BackboneError: a layer that does not exist.
    """
    for layer in request.layers:
        if not 1 <= layer <= len(WIDTHS):
            raise BackboneError(f"embedded has layers 1 to 4, but layer {layer} was requested (-o layers=).")
    if request.pretrained:
        with Undrawn():
            network = ResNet18()
        load_local_weights(network, request.weights or WEIGHTS)
    else:
        network = ResNet18()
    return Backbone(
        SequentialFeatures(network.stages()[: request.layers[-1]], [layer - 1 for layer in request.layers]),
        channels=[WIDTHS[layer - 1] for layer in request.layers],
        strides=[2 ** (layer + 1) for layer in request.layers],
        layer_count=len(WIDTHS),
    )
