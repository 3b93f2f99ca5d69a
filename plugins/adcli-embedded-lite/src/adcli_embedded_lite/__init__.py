"""EfficientNet-Lite and MobileNetV2 with ImageNet weights in the package, for machines without a hub."""

from adcli import BackboneSpec, hookimpl


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="efficientnet_lite0",
            target="adcli_embedded_lite.backbones:efficientnet_lite0",
            summary="EfficientNet-Lite0 with ImageNet weights, which the package adcli-embedded-lite contains",
            layers="4 stages",
            licence="Apache-2.0; trained on ImageNet",
        ),
        BackboneSpec(
            name="efficientnet_lite2",
            target="adcli_embedded_lite.backbones:efficientnet_lite2",
            summary="EfficientNet-Lite2 with ImageNet weights, which the package adcli-embedded-lite contains",
            layers="4 stages",
            licence="Apache-2.0; trained on ImageNet",
        ),
        BackboneSpec(
            name="mobilenetv2",
            target="adcli_embedded_lite.backbones:mobilenetv2",
            summary="MobileNetV2 with ImageNet weights, which the package adcli-embedded-lite contains",
            layers="4 stages",
            licence="BSD-3-Clause; trained on ImageNet",
        ),
    ]
