"""SuperSimpleNet for adcli."""

from adcli import BackboneOptions, ModelSpec, hookimpl, option


class SuperSimpleNetOptions(BackboneOptions):
    """Options of SuperSimpleNet; the defaults are those of the official code."""

    backbone: str = option("timm:wide_resnet50_2.tv_in1k", "Backbone: timm:NAME, torchvision:NAME, or a plugin's name.")
    layers: tuple[int, ...] = option((2, 3), "Feature maps to join, the finest first, counted from 1.", ge=1)
    epochs: int = option(
        300, "Passes over the images; with known defects, over these in four flips and as many good images.", ge=1
    )
    learning_rate: float = option(2e-4, "Step size of AdamW for the heads; the adaptor's is half of it.", gt=0)
    noise: float = option(0.015, "Standard deviation of the noise that makes defects of adapted features.", gt=0)
    perlin_threshold: float | None = option(
        None, "Perlin noise above it is where noise is added; by default 0.2, with known defects 0.6.", ge=-1, le=1
    )
    flips: bool = option(True, "Flip known defects, and the good images beside them, upside down and sideways.")
    memory: int = option(
        1024,
        "Megabytes of features to keep, or a quarter of a GPU if that is more; others are computed in every pass.",
        ge=0,
    )
    sigma: float = option(4.0, "Standard deviation of the map's Gaussian blur, in pixels.", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="supersimplenet",
            target="adcli_supersimplenet.model:SuperSimpleNet",
            options=SuperSimpleNetOptions,
            summary="Two heads learn to tell features from noisy ones, and known defects, if there are any",
            task="segmentation",
            paper="Rolih, Fučka and Skočaj, SuperSimpleNet: Unifying Unsupervised and Supervised Learning for Fast and "
            "Reliable Surface Defect Detection, ICPR 2024, arXiv 2408.03143",
            # Ten minutes on one core.
            demo={"epochs": 5, "learning_rate": 1e-3},
            quick={"backbone": "random:resnet18", "layers": (2,), "epochs": 12, "learning_rate": 1e-3, "flips": False},
            learns_from_defects=True,
        )
    ]
