"""DFM for adcli."""

from typing import Literal

from adcli import BackboneOptions, Layers, ModelSpec, hookimpl, option


class DfmOptions(BackboneOptions):
    """Options of DFM; the defaults are those of the official code for ResNet-18."""

    backbone: str = option("timm:resnet18.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    layers: Layers = option((3,), "Feature maps to model together, counted from 1.", ge=1)
    features: Literal["image", "patch"] = option(
        "image", "What is modelled: the whole maps of an image as one feature, or each patch of them by itself."
    )
    rotations: int = option(
        1, "Orientations that good images are learnt in; 8 are in steps of 45 degrees, for few images.", ge=1
    )
    pooling: int = option(2, "Side of the average pooling of a map, in positions; 0 averages all of it.", ge=0)
    variance: float = option(0.97, "Share of the variance that the principal components retain.", gt=0, le=1)
    score: Literal["fre", "nll", "peak", "mean_top1p"] = option(
        "fre",
        "Image score: feature reconstruction error, negative log-likelihood of the components, or the largest "
        "value of the map, or the mean of its largest hundredth; a small defect in a large image raises these more.",
    )
    sigma: float = option(0.0, "Standard deviation of the map's Gaussian blur, in pixels; the official code: 0.", ge=0)
    memory: int = option(
        1024, "Megabytes of features for an exact PCA; beyond, a randomised one reads four times.", ge=0
    )
    components: int = option(512, "Components at most of a randomised PCA.", ge=1)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="dfm",
            target="adcli_dfm.model:Dfm",
            options=DfmOptions,
            summary="A PCA of good images' features; the score is what it cannot reconstruct, or the likelihood",
            task="segmentation",
            paper="Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial "
            "Detection, 2019, arXiv 1909.11786; Ndiour et al., FRE, 2022, arXiv 2211.12650",
            one_pass=True,
            updatable="kept",
            quick={"backbone": "random:resnet18"},
            # The demo's defects take up a hundredth of the image; in the sum of all errors they drown.
            demo={"score": "peak"},
        )
    ]
