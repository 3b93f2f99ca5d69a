"""A run's model as a runtime: what exports are compared with, and what everything else is scored by."""

from dataclasses import dataclass

import numpy as np
import torch

from adcli.data.batches import to_tensor
from adcli.exports import Pixels, Scored
from adcli.model import Model


@dataclass(frozen=True)
class ModelRuntime:
    """Scores images of the model's input size with torch.

    Attributes:
        model: in evaluation mode, on ``device``.
        device: where the model is.
    """

    model: Model
    device: torch.device

    def __call__(self, images: Pixels) -> Scored:
        """Score images (N, H, W, 3): scores (N,), maps (N, H, W) or None."""
        with torch.inference_mode():
            scores = self.model(to_tensor(list(images), self.device))
        maps = None if scores.map is None else scores.map[:, 0].float().cpu().numpy()
        return scores.image.cpu().numpy().astype(np.float32, copy=False), maps
