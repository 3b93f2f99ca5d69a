"""From a model to a graph that takes the pixels of images of any size."""

import warnings

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from adcli.data.decoding import Size
from adcli.errors import AdcliError
from adcli.model import Model

INPUT = "images"
OUTPUTS = ("score", "map")

FINE = 16384
"""Parts of a grey level that resized values are rounded to before they are rounded to levels."""


class _Outputs(nn.Module):
    """A model whose scores are a plain tuple, without the map where there is none."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scores = self.model(images)
        return tuple(part for part in scores if part is not None)


def build(model: Model, size: Size, batch: int | None) -> ov.Model:
    """Return the graph of a model: uint8 RGB images (N, H, W, 3) to ``score`` (N,) and ``map`` (N, 1, h, w).

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width it takes.
        batch: N, or None for any number of images.

    Raises:
        AdcliError: the model cannot be traced or converted.
    """
    graph = _convert(model, size)
    # Converted inputs lose height and width.
    graph.reshape([-1 if batch is None else batch, 3, *size])
    return _with_pixels(graph, size, batch)


def _convert(model: Model, size: Size) -> ov.Model:
    # A batch of one, or of all alike, would be taken for a constant or for a property of the graph.
    example = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=2)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.export.export(_Outputs(model).eval(), (example,), dynamic_shapes=({0: batch},))
            return ov.convert_model(traced)
    except Exception as error:  # both raise anything
        reason = " ".join(str(error).split())[:300]
        raise AdcliError(f"the model cannot be converted to OpenVINO: {type(error).__name__}: {reason}") from None


def _with_pixels(graph: ov.Model, size: Size, batch: int | None) -> ov.Model:
    """Put the resizing of :func:`adcli.data.decoding.resize` and the scaling to [0, 1] before a graph."""
    shape = ov.PartialShape([-1 if batch is None else batch, -1, -1, 3])
    pixels = ops.parameter(shape, np.uint8, name=INPUT)
    resized = ops.interpolate(
        ops.convert(pixels, "f32"),
        np.array(size, np.int32),
        "bilinear_pillow",
        "sizes",
        axes=np.array([1, 2], np.int32),
        pads_begin=[0, 0, 0, 0],
        pads_end=[0, 0, 0, 0],
    )
    # A value halfway between two levels, off by float32's rounding, must still go to the same one as in the core.
    fine = ops.constant(np.float32(FINE))
    snapped = ops.divide(ops.round(ops.multiply(resized, fine), "half_to_even"), fine)
    levels = ops.transpose(ops.round(snapped, "half_to_even"), np.array([0, 3, 1, 2], np.int32))
    scaled = ops.divide(levels, ops.constant(np.float32(255)))
    (old,) = graph.get_parameters()
    for consumer in old.output(0).get_target_inputs():
        consumer.replace_source_output(scaled.output(0))
    complete = ov.Model(graph.get_results(), [pixels], "model")
    complete.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(complete.outputs, OUTPUTS, strict=False):
        output.get_tensor().set_names({name})
    complete.validate_nodes_and_infer_types()
    return complete
