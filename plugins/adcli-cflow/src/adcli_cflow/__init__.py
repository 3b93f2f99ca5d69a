"""CFlow for adcli."""

from adcli import BackboneOptions, Layers, ModelSpec, hookimpl, option


class CflowOptions(BackboneOptions):
    """Options of CFlow; the defaults are those of the official code."""

    backbone: str = option("timm:wide_resnet50_2.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    layers: Layers = option((2, 3, 4), "Feature maps with a flow each, counted from 1.", ge=1)
    coupling_blocks: int = option(8, "Blocks of each flow.", ge=1)
    condition: int = option(128, "Length of the encoding of a position; a multiple of 4.", ge=4)
    clamp: float = option(1.9, "Bound of the logarithm of a block's scaling.", gt=0)
    fibre: int = option(256, "Patches of a step.", ge=1)
    epochs: int = option(200, "Passes over the images (25 times 8 in the official code).", ge=1)
    learning_rate: float = option(2e-4, "Step size of Adam at its highest.", gt=0)
    memory: int = option(
        1024,
        "Megabytes of features to keep, or a quarter of a GPU if that is more; others are computed in every pass.",
        ge=0,
    )
    sigma: float = option(0.0, "Standard deviation of the map's Gaussian blur, in pixels; the official code: 0.", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="cflow",
            target="adcli_cflow.model:Cflow",
            options=CflowOptions,
            summary="Flows learn how likely patch features are at each position; the score is minus the log-likelihood",
            task="segmentation",
            paper="Gudovskiy et al., CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via "
            "Conditional Normalizing Flows, WACV 2022, arXiv 2107.12571",
            quick={"backbone": "random:resnet18", "layers": (1, 2), "coupling_blocks": 2, "epochs": 4},
            # A step is a few hundred patches, so few passes make many steps: three minutes on one core.
            demo={"epochs": 6},
        )
    ]
