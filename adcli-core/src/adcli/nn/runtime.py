"""A run's model as a runtime: what exports are compared with, and what everything else is scored by."""

from dataclasses import dataclass

import numpy as np
import torch

from adcli.errors import AdcliError, PluginError, TrainingError, one_line, place
from adcli.nn.batches import to_tensor
from adcli.nn.devices import exact_float32, pick_device
from adcli.nn.model import Model
from adcli.scoring.runtime import ImageBatch, Scored


@dataclass(frozen=True)
class ModelRuntime:
    """Scores images of the model's input size with torch.

    Attributes:
        model: in evaluation mode, on ``device``.
        device: where the model is.
    """

    model: Model
    device: torch.device

    @classmethod
    def on(cls, model: Model, device: str) -> "ModelRuntime":
        """Move a model to a device, ``auto`` or a name."""
        chosen = pick_device(device)
        return cls(model.to(chosen), chosen)

    def __call__(self, images: ImageBatch) -> Scored:
        """Score images (N, H, W, 3): scores (N,), maps (N, H, W) or None.

        Raises:
            TrainingError: the memory does not suffice.
            PluginError: the model raised anything else but an ``AdcliError``.
        """
        try:
            return self._scored(images)
        except AdcliError:
            raise
        except (torch.OutOfMemoryError, MemoryError):
            raise TrainingError("not enough memory to score; lower --batch-size.") from None
        except Exception as error:
            package = type(self.model).__module__.partition(".")[0]
            reason = one_line(error) + place(error, package)
            raise PluginError(f"model {type(self.model).__name__} of {package} failed to score ({reason}).") from error

    def _scored(self, images: ImageBatch) -> Scored:
        # As when the run was calibrated: by default, a GPU convolves in less than float32.
        with torch.inference_mode(), exact_float32():
            scores = self.model(to_tensor(images, self.device))
        maps = None if scores.map is None else scores.map[:, 0].float().cpu().numpy()
        return scores.image.cpu().numpy().astype(np.float32, copy=False), maps
