"""PaDiM for adcli."""

from typing import Literal

from adcli import BackboneOptions, ModelSpec, hookimpl, option


class PadimOptions(BackboneOptions):
    """Options of PaDiM; the defaults are the paper's for ResNet-18."""

    backbone: str = option("timm:resnet18.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    dimensions: int = option(
        100, "Channels kept at every position; the paper takes 550 for wide ResNet-50 (4 GB while fitting).", ge=1
    )
    reduction: Literal["random", "pca"] = option("random", "How they are chosen; the paper finds random ones better.")
    regularisation: float = option(0.01, "Added to every variance (epsilon in the paper's Eq. 1).", gt=0)
    sigma: float = option(4.0, "Standard deviation of the map's Gaussian blur, in pixels.", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="padim",
            target="adcli_padim.model:Padim",
            options=PadimOptions,
            summary="A Gaussian of features at every position; the score is the Mahalanobis distance to it",
            task="segmentation",
            paper="Defard et al., PaDiM: a Patch Distribution Modeling Framework, ICPR 2020, arXiv 2011.08785",
            one_pass=True,
            updatable="kept",
            quick={"backbone": "random:resnet18", "dimensions": 20},
        )
    ]
