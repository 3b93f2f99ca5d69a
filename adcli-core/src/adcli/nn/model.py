"""What a model author subclasses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adcli.data.decoding import Size
from adcli.errors import RunError, one_line
from adcli.nn.backbones import Backbone
from adcli.nn.batches import Batches


class Scores(NamedTuple):
    """What a model says of a batch of images; higher is more anomalous.

    Attributes:
        image: one score per image, shape (N,).
        map: anomaly maps, shape (N, 1, H, W) at the images' size, or None for a model that only classifies.
    """

    image: Tensor
    map: Tensor | None = None


class Model(nn.Module, ABC):
    """A model that learns what good images look like and scores what departs from them.

    Everything learnt lives in parameters and buffers: saving, moving to a device and restoring are done here. A buffer
    whose size is known only after fitting is registered empty in ``__init__`` and assigned in ``fit``.

    Args:
        options: an instance of the options class that the model's spec names.
        image_size: height and width of the images it will see.
        pretrained: load the backbone's weights; False when they will be restored from a run, so nothing is downloaded.

    Attributes:
        kept: what :meth:`update` needs beside the weights, by names. ``fit`` sets it if ``batches.session.updatable``,
            and the run keeps it in a file of its own. It is on the CPU.
    """

    def __init__(self, options: Any, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__()
        self.options = options
        self.image_size = image_size
        self.kept: dict[str, Tensor] = {}

    @abstractmethod
    def fit(self, batches: Batches) -> None:
        """Learn from good images: ``batches`` yields (N, 3, H, W), RGB in [0, 1], as often as it is iterated.

        If the spec says that the model learns from defects, ``batches.defects`` may hold some, and
        :class:`adcli.nn.LabelledBatches` yields them beside good images, with masks and labels.
        """

    @abstractmethod
    def forward(self, images: Tensor) -> Scores:
        """Score images (N, 3, H, W), RGB in [0, 1]; the score of an image must not depend on the rest of the batch."""

    def update(self, batches: Batches) -> None:
        """Learn more good images, as if they had been among those of the fit, and set ``kept`` anew.

        The model is restored: it has its weights, and ``kept`` as the fit, or the last update, left it. It is called
        only if the model's spec says that it is ``updatable``.

        Args:
            batches: of the images to learn in addition.
        """
        raise NotImplementedError

    def set_precision(self, precision: torch.dtype) -> None:
        """Have the backbones compute in a precision; what they return stays float32."""
        for module in self.modules():
            if isinstance(module, Backbone):
                module.precision = precision

    def weights(self) -> dict[str, Tensor]:
        """Return all that was learnt as contiguous tensors on the CPU that share no memory, as safetensors wants."""
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
            for name, tensor in self.state_dict().items()
        }

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Load what :meth:`weights` returned, giving buffers the shape they were saved with.

        Raises:
            RunError: a tensor is missing, unknown or of another shape.
        """
        for name, module in self.named_modules():
            prefix = f"{name}." if name else ""
            for buffer in module._buffers:
                saved = weights.get(prefix + buffer)
                if saved is not None:
                    module._buffers[buffer] = torch.empty_like(saved)
        try:
            self.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise RunError(f"the saved weights do not fit the model: {one_line(str(error))}") from None
        for module in self.modules():
            if isinstance(module, Backbone):
                module.to(memory_format=torch.channels_last)
        self.eval()
