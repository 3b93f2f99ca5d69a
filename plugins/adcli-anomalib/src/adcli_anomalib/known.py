"""What is known of anomalib's models beyond what their constructors say; of one that is not here, what is most common.

Epochs and steps are those of anomalib's own recipes and READMEs, or of the papers. Its constructors have none, and
its command line would train for Lightning's thousand epochs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a model.

    Attributes:
        epochs, steps: when its training ends, whichever comes first.
        size: height and width of the part of an image that it looks at: what its pre-processor resizes to, or crops.
        maps: whether it locates defects.
        alone: whether it scores images of a batch by comparing them, so that each has to be scored by itself.
        held_out: share of the good images that it never trains on, to bring its maps to one scale.
        unusable: why it cannot be used, a clause with the model as its subject; empty if it can.
        quick: options with which it fits small images in seconds, without weights.
    """

    epochs: int | None = None
    steps: int | None = None
    size: int = 256
    maps: bool = True
    alone: bool = False
    held_out: float = 0.0
    unusable: str = ""
    quick: Mapping[str, Any] = field(default_factory=dict)


MODELS: Mapping[str, Known] = {
    "anomaly_dino": Known(size=252),
    "anomalyvfm": Known(size=768),
    "cfa": Known(epochs=30),
    "cflow": Known(epochs=50, alone=True),
    "cfm": Known(size=224, unusable="needs a point cloud beside each image"),
    "csflow": Known(epochs=240),
    "dfkde": Known(maps=False),
    "dinomaly": Known(steps=5000, size=392),
    "draem": Known(epochs=700),
    "dsr": Known(epochs=700),
    "efficient_ad": Known(steps=70_000, held_out=0.1),
    "fastflow": Known(epochs=500),
    "foundad": Known(epochs=2000, size=518),
    "fre": Known(epochs=220),
    "ganomaly": Known(epochs=100, maps=False),
    "general_ad": Known(epochs=160, size=518),
    "glass": Known(epochs=100, size=288),
    "inp_former": Known(epochs=200, size=392),
    "l2bt": Known(epochs=50, size=224),
    "mh_patchcore": Known(size=224),
    "padim": Known(quick={"pre_trained": False}),
    "patchcore": Known(quick={"pre_trained": False, "backbone": "resnet18"}),
    "patchflow": Known(epochs=200, size=768),
    "rad": Known(size=448),
    "reverse_distillation": Known(epochs=200),
    "stfpm": Known(epochs=100),
    "super_add": Known(size=448),
    "supersimplenet": Known(epochs=300),
    "uflow": Known(epochs=200, size=448),
    "uninet": Known(epochs=100),
    "vlm_ad": Known(unusable="asks a language model for a verdict and its reason, and gives no score"),
    "winclip": Known(size=240),
}
OTHERS = Known(epochs=100)
