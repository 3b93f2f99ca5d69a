"""A ResNet-18 with learnt weights in the package, for machines without a hub."""

from adcli import BackboneSpec, hookimpl


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="embedded",
            target="adcli_embedded.backbone:embedded_backbone",
            summary="ResNet-18 distilled from ImageNet networks; its weights are in the package adcli-embedded",
            licence="Apache-2.0; read the model card for what it was trained on",
        )
    ]
