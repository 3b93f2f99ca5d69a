"""PatchCore for adcli."""

from typing import Literal

from adcli import BackboneOptions, Layers, ModelSpec, hookimpl, option


class PatchcoreOptions(BackboneOptions):
    """Options of PatchCore; the defaults are the paper's."""

    backbone: str = option("timm:wide_resnet50_2.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    layers: Layers = option((2, 3), "Feature maps to embed, counted from 1.", ge=1)
    coreset: float = option(0.1, "Share of the patches of whole images kept in the bank.", gt=0, le=1)
    neighbours: int = option(1, "Nearest bank members whose distances are averaged.", ge=1)
    dimensions: int = option(1024, "Channels of a patch's embedding at most.", ge=1)
    projection: int = option(128, "Dimensions of the random projection in which the coreset is chosen.", ge=1)
    neighbourhood: Literal[1, 3, 5, 7] = option(
        3, "Side of the square of positions that a patch's features are averaged over; 1 for none."
    )
    distance: Literal["euclidean", "cosine"] = option(
        "euclidean", "Distance to the bank: the squared Euclidean one, or one minus the cosine of the angle."
    )
    score: Literal["max", "mean_top1p"] = option(
        "max", "Image score: the largest patch score, or the mean of the largest hundredth of them."
    )
    rotations: int = option(
        1, "Orientations that good images are learnt in; 8 are in steps of 45 degrees, for few images.", ge=1
    )
    foreground: bool = option(
        False, "Learn and score patches of the object alone, told from the background by their first component."
    )
    reweight: int = option(0, "Bank neighbours that reweight the image score (paper, Eq. 7); 0 for none.", ge=0)
    patches: int = option(
        500_000, "Patches held in memory at most while fitting; beyond, coresets of chunks are merged.", ge=2
    )
    standardise: bool = option(False, "Divide each embedding channel by its standard deviation over good patches.")
    sigma: float = option(4.0, "Standard deviation of the map's Gaussian blur, in pixels.", ge=0)
    crop: float = option(1.0, "Side of the centre crop that is looked at; the paper: 0.875.", gt=0, le=1)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="patchcore",
            target="adcli_patchcore.model:PatchCore",
            options=PatchcoreOptions,
            summary="A coreset of good patch features; the score is the distance to the nearest of them",
            task="segmentation",
            paper="Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, arXiv 2106.08265",
            one_pass=True,
            updatable="always",
            stand_in="efficientnet_lite2",
            quick={"backbone": "random:resnet18", "coreset": 0.2},
        )
    ]
