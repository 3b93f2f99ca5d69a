"""A run's model as a runtime: what exports are compared with, and what everything else is scored by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from adcli.data.decoding import Pixels
from adcli.errors import AdcliError, PluginError, TrainingError, one_line, place
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
            TrainingError: the memory does not suffice.
            PluginError: the model raised anything else but an ``AdcliError``.
        """
        return self._guard(lambda: self._score(to_tensor(images, self.device))())

    @property
    def start(self) -> Start | None:
        """On a GPU, what starts to score images; else None.

        While the device computes, the caller can prepare the next batch.
        """
        return self._start if self.device.type == "cuda" else None

    def _start(self, images: Sequence[Pixels]) -> Callable[[], Scored]:
        wait = self._guard(lambda: self._score(scale(pin(images).to(self.device, non_blocking=True))))
        return lambda: self._guard(wait)

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except AdcliError:
            raise
        except (torch.OutOfMemoryError, MemoryError):
            raise TrainingError("not enough memory to score; lower --batch-size.") from None
        except Exception as error:
            package = type(self.model).__module__.partition(".")[0]
            reason = one_line(error) + place(error, package)
            raise PluginError(f"model {type(self.model).__name__} of {package} failed to score ({reason}).") from error

    def _score(self, images: Tensor) -> Callable[[], Scored]:
        """Score images (N, 3, H, W); on a GPU, this returns before the result is there."""
        # As when the run was calibrated: by default, a GPU convolves in less than float32.
        with torch.inference_mode(), exact_float32():
            scores = self.model(images)
            found = [scores.image.float()] if scores.map is None else [scores.image.float(), scores.map[:, 0].float()]
        if self.device.type != "cuda":
            return lambda: _to_arrays([part.cpu() for part in found])
        copies = [torch.empty(part.shape, pin_memory=True).copy_(part, non_blocking=True) for part in found]
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))

        def wait() -> Scored:
            done.synchronize()
            return _to_arrays(copies)

        return wait


def _to_arrays(parts: Sequence[Tensor]) -> Scored:
    scores, *maps = [part.numpy() for part in parts]
    return scores, maps[0] if maps else None
