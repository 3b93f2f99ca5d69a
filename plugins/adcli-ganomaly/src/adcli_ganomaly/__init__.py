"""GANomaly for adcli."""

from typing import Literal

from adcli import ModelSpec, Options, hookimpl, option


class GanomalyOptions(Options):
    """Options of GANomaly; all but the epochs have the official code's defaults."""

    latent: int = option(100, "Numbers in the code of an image.", ge=1)
    features: int = option(64, "Channels of the first convolution; they double whenever the map halves.", ge=1)
    epochs: int = option(500, "Passes over the images; the paper's 15 are for tens of thousands of images.", ge=1)
    learning_rate: float = option(2e-4, "Step size of Adam.", gt=0)
    schedule: Literal["constant", "cosine"] = option(
        "constant", "The step size's course; cosine falls to zero, which suits few epochs."
    )
    adversarial_weight: float = option(1.0, "Weight of the feature-matching loss (paper, Eq. 1).", ge=0)
    contextual_weight: float = option(50.0, "Weight of the reconstruction loss (paper, Eq. 2).", ge=0)
    encoder_weight: float = option(1.0, "Weight of the distance of the two codes (paper, Eq. 3).", ge=0)


@hookimpl
def adcli_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="ganomaly",
            target="adcli_ganomaly.model:Ganomaly",
            options=GanomalyOptions,
            summary="An image is encoded, decoded and encoded again; the score is how its two codes differ",
            task="classification",
            paper="Akcay et al., GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training, ACCV 2018, "
            "arXiv 1805.06725",
            image_size=(32, 32),
            quick={"epochs": 60, "features": 8, "learning_rate": 2e-3, "schedule": "cosine"},
            # Half the channels, and larger steps that fall to zero: half a minute of one core.
            demo={"epochs": 60, "features": 32, "learning_rate": 1e-3, "schedule": "cosine"},
        )
    ]
