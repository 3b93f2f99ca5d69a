"""A run's model as a runtime: what exports are compared with, and what everything else is scored by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from adcli.data.decoding import Pixels
from adcli.errors import AdcliError, LackOfMemoryError, PluginError, is_out_of_memory, locate
from adcli.nn._cuda_graphs import GraphedComputation
from adcli.nn.batches import pin, scale, to_tensor
from adcli.nn.devices import exact_float32, pick_device
from adcli.nn.model import Model
from adcli.scoring.runtime import ImageBatch, Scored, Start

T = TypeVar("T")


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
            LackOfMemoryError: the memory does not suffice.
            PluginError: the model raised anything else but an ``AdcliError``.
        """
        if self.start is not None:
            return self.start(list(images))()
        return self._guard(lambda: self._score(images))

    @property
    def start(self) -> Start | None:
        """On a GPU, what starts to score images; else None.

        While the device computes, the caller can prepare the next batch.
        """
        return self._start if self.device.type == "cuda" else None

    def _start(self, images: Sequence[Pixels]) -> Callable[[], Scored]:
        wait = self._guard(lambda: self._launch(pin(images)))
        return lambda: self._guard(wait)

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except AdcliError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise LackOfMemoryError from None
            package = type(self.model).__module__.partition(".")[0]
            reason = locate(error, package)
            raise PluginError(f"model {type(self.model).__name__} of {package} failed to score ({reason}).") from error

    def _score(self, images: ImageBatch) -> Scored:
        # As when the run was calibrated: by default, a GPU convolves in less than float32.
        with torch.inference_mode(), exact_float32():
            scores, maps = self.model(to_tensor(images, self.device))
        return scores.float().cpu().numpy(), None if maps is None else maps[:, 0].float().cpu().numpy()

    def _launch(self, pixels: Tensor) -> Callable[[], Scored]:
        """Start to score pinned images (N, H, W, 3) on a GPU."""
        with torch.inference_mode(), exact_float32():
            wait = self._graphed(pixels)

        def finish() -> Scored:
            scores, maps = wait().tensor_split([1], dim=1)
            return scores[:, 0].numpy(), maps.numpy().reshape(pixels.shape[:3]) if maps.numel() else None

        return finish

    @cached_property
    def _graphed(self) -> GraphedComputation:
        return GraphedComputation(self._compute, self.device)

    def _compute(self, pixels: Tensor) -> Tensor:
        """Score images (N, H, W, 3): scores and maps side by side, (N, 1 + H W), which one copy fetches."""
        scores = self.model(scale(pixels))
        maps = [] if scores.map is None else [scores.map[:, 0].flatten(1).float()]
        return torch.cat([scores.image.float()[:, None], *maps], dim=1)
