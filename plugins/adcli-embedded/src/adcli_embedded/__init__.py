"""A ResNet-18 with trained weights in the package, for machines without a hub."""

from adcli import BackboneSpec, hookimpl


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="embedded",
            target="adcli_embedded.backbone:embedded_backbone",
            summary="ResNet-18 distilled from ImageNet networks; the package adcli-embedded contains its weights",
            layers="4 stages",
            licence="Apache-2.0; the model card says what it was trained on",
        )
    ]
