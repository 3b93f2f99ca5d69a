"""STFPM for adcli."""

from adcli import BackboneOptions, ModelSpec, hookimpl, option


class StfpmOptions(BackboneOptions):
    """Options of STFPM; the defaults are those of the official code."""

    backbone: str = option(
        "timm:resnet18.tv_in1k", "Teacher, and the student's architecture: timm:NAME or a plugin's name."
    )
    epochs: int = option(100, "Passes over the images.", ge=1)
    learning_rate: float = option(0.4, "Step size of stochastic gradient descent.", gt=0)
    momentum: float = option(0.9, "Its momentum.", ge=0, lt=1)
    weight_decay: float = option(1e-4, "Its weight decay.", ge=0)
    held_out: float = option(0.2, "Share of the good images that picks the best epoch; 0 keeps the last.", ge=0, lt=1)
    memory: int = option(
        512,
        "Megabytes of the teacher's maps to keep, or a quarter of a GPU if more; others are computed in every pass.",
        ge=0,
    )
    sigma: float = option(0.0, "Standard deviation of the map's Gaussian blur, in pixels; the official code: 0.", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="stfpm",
            target="adcli_stfpm.model:Stfpm",
            options=StfpmOptions,
            summary="A student learns a frozen teacher's feature maps of good images; the score is where they differ",
            task="segmentation",
            paper="Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021, "
            "arXiv 2103.04257",
            quick={"backbone": "random:resnet18", "epochs": 15},
            # Larger steps than the official ones, which take a hundred epochs, and more of them: some minutes.
            demo={"epochs": 15, "learning_rate": 1.0},
            demo_batch_size=4,
        )
    ]
