"""Reverse Distillation for adcli."""

from typing import Literal

from adcli import BackboneOptions, ModelSpec, hookimpl, option


class ReverseDistillationOptions(BackboneOptions):
    """Options of Reverse Distillation; the defaults are those of the official code."""

    backbone: str = option(
        "timm:wide_resnet50_2.tv_in1k", "The teacher: timm:NAME, torchvision:NAME, or a plugin's name."
    )
    layers: tuple[int, ...] = option((1, 2, 3), "The teacher's three feature maps, counted from 1.", ge=1)
    epochs: int = option(200, "Passes over the images.", ge=1)
    learning_rate: float = option(0.005, "Step size of Adam.", gt=0)
    schedule: Literal["constant", "cosine"] = option(
        "constant", "The step size's course; cosine falls to zero, which suits few epochs."
    )
    loss: Literal["flat", "local"] = option(
        "flat", "Cosine of whole maps (official code), or of each position (paper)."
    )
    combine: Literal["add", "multiply"] = option("add", "How the maps of the three layers become one.")
    memory: int = option(
        2048,
        "Megabytes of the teacher's maps to keep, or a quarter of a GPU if more; others are computed in every pass.",
        ge=0,
    )
    sigma: float = option(4.0, "Standard deviation of the map's Gaussian blur, in pixels.", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="reverse_distillation",
            target="adcli_reverse_distillation.model:ReverseDistillation",
            options=ReverseDistillationOptions,
            summary="A decoder learns to undo a frozen encoder on good images; the score is where it fails",
            task="segmentation",
            paper="Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022, "
            "arXiv 2201.10703",
            quick={"backbone": "random:resnet18", "epochs": 15, "loss": "local", "combine": "multiply"},
            # Small batches, each position compared by itself: what learns most in two minutes on two cores.
            demo={"epochs": 20, "loss": "local", "combine": "multiply", "schedule": "cosine"},
            demo_batch_size=4,
        )
    ]
