"""The backbones of this package, with the weights in this folder."""

from pathlib import Path

from torch import Tensor

from adcli import BackboneError
from adcli.nn import Backbone, BackboneRequest, SequentialFeatures, Undrawn, load_local_weights
from adcli_embedded_lite.networks import LAYERS, LITE0, LITE2, MOBILE, Design, MobileNet

FOLDER = Path(__file__).parent


def efficientnet_lite0(argument: str, request: BackboneRequest) -> Backbone:
    """Make EfficientNet-Lite0; layers 1 to 4 have 24, 40, 112 and 320 channels, at strides 4, 8, 16 and 32.

    Raises:
        BackboneError: a layer that does not exist, or a file of weights that does not fit.
    """
    return _make("efficientnet_lite0", LITE0, request)


def efficientnet_lite2(argument: str, request: BackboneRequest) -> Backbone:
    """Make EfficientNet-Lite2; layers 1 to 4 have 24, 48, 120 and 352 channels, at strides 4, 8, 16 and 32.

    Raises:
        BackboneError: a layer that does not exist, or a file of weights that does not fit.
    """
    return _make("efficientnet_lite2", LITE2, request)


def mobilenetv2(argument: str, request: BackboneRequest) -> Backbone:
    """Make MobileNetV2; layers 1 to 4 have 24, 32, 96 and 320 channels, at strides 4, 8, 16 and 32.

    Raises:
        BackboneError: a layer that does not exist, or a file of weights that does not fit.
    """
    return _make("mobilenetv2", MOBILE, request)


def _make(name: str, design: Design, request: BackboneRequest) -> Backbone:
    for layer in request.layers:
        if not 1 <= layer <= len(LAYERS):
            raise BackboneError(f"{name} has layers 1 to 4, but layer {layer} was requested (-o layers=).")
    if request.pretrained:
        with Undrawn():
            network = MobileNet(design)
        load_local_weights(network, request.weights or FOLDER / f"{name}.safetensors", leave_out_head)
    else:
        network = MobileNet(design)
    return Backbone(
        SequentialFeatures(network.layers()[: request.layers[-1]], [layer - 1 for layer in request.layers]),
        channels=[design.channels[layer - 1] for layer in request.layers],
        strides=[2 ** (layer + 1) for layer in request.layers],
        mean=design.mean,
        std=design.std,
        layer_count=len(LAYERS),
    )


def leave_out_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's tensors without the convolution after the last block, its batch norm and the classifier."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(("conv_head.", "bn2.", "classifier."))}
