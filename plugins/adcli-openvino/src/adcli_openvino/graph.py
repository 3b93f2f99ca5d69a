"""Convert a model to a graph that takes the pixels of images of any size."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from adcli import ExportError, one_line
from adcli.data import FINE, Size
from adcli.nn import Model

INPUT = "images"
OUTPUTS = ("score", "map")


@contextlib.contextmanager
def telling_nobody() -> Iterator[None]:
    """Have OpenVINO's tools send nothing about their use: they would, from a process of its own, unless in a CI job."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


class _Outputs(nn.Module):
    """A model whose scores are a plain tuple, without the map if it has none."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scores = self.model(images)
        return tuple(part for part in scores if part is not None)


def convert(model: Model, size: Size, batch: int | None) -> ov.Model:
    """Return the graph of the model alone, from float32 RGB images (N, 3, h, w) in [0, 1] to scores and maps.

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width it takes.
        batch: N, or None for any number of images.

    Raises:
        ExportError: the model cannot be traced or converted.
    """
    # From a batch of one, or of equal images, the tracer might conclude that something is constant.
    example = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    any_number = torch.export.Dim("batch", min=2)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.export.export(_Outputs(model).eval(), (example,), dynamic_shapes=({0: any_number},))
            graph = ov.convert_model(traced)
    except Exception as error:  # Tracing and converting may raise anything.
        advice = "export it with --to onnx, or train with another --backbone"
        raise ExportError(f"the model cannot be converted to OpenVINO: {one_line(error)}; {advice}.") from None
    # The conversion forgets height and width of the input.
    graph.reshape([-1 if batch is None else batch, 3, *size])
    return graph


def prepend_resizing(graph: ov.Model, size: Size, batch: int | None) -> ov.Model:
    """Put resizing and scaling before a graph: from uint8 images (N, H, W, 3) to ``score`` and ``map``.

    Args:
        graph: from :func:`convert`.
        size: height and width it takes.
        batch: N, or None for any number of images.
    """
    pixels = ops.parameter(ov.PartialShape([-1 if batch is None else batch, -1, -1, 3]), np.uint8, name=INPUT)
    scaled = ops.divide(_resize_levels(pixels, size, batch), ops.constant(np.float32(255)))
    (old,) = graph.get_parameters()
    for consumer in old.output(0).get_target_inputs():
        consumer.replace_source_output(scaled.output(0))
    complete = ov.Model(graph.get_results(), [pixels], "model")
    complete.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(complete.outputs, OUTPUTS, strict=False):
        output.get_tensor().set_names({name})
    complete.validate_nodes_and_infer_types()
    return complete


def _resize_levels(pixels: ov.Node, size: Size, batch: int | None) -> ov.Node:
    """Return the levels of :func:`adcli.data.resize`, float32 (N, 3, h, w); images of the right size are not resized.

    Either all images are resized or none. An ``If`` would say so, but OpenVINO 2026.4 sometimes computes nonsense in
    the first call of a graph with an ``If``. So the batch is cut in two parts, of which one is always empty.
    """
    shape = ops.shape_of(pixels, "i32")
    count, sides = (ops.gather(shape, _integers(axes), _integers(0)) for axes in ([0], [1, 2]))
    same = ops.reduce_logical_and(ops.equal(sides, _integers(size)), _integers([0]), True)
    kept = ops.multiply(count, ops.convert(same, "i32"))
    first, last = _slice(pixels, _integers([0]), kept), _slice(pixels, kept, count)
    first = ops.reshape(first, ops.concat([kept, _integers([*size, 3])], 0), False)
    levels = ops.concat([_planes(first), _resize(last, size)], 0)
    return ops.reshape(levels, _integers([-1 if batch is None else batch, 3, *size]), False)


def _slice(pixels: ov.Node, start: ov.Node, stop: ov.Node) -> ov.Node:
    return ops.slice(pixels, start, stop, _integers([1]), _integers([0]))


def _planes(pixels: ov.Node) -> ov.Node:
    return ops.convert(ops.transpose(pixels, _integers([0, 3, 1, 2])), "f32")


def _resize(pixels: ov.Node, size: Size) -> ov.Node:
    """Resize as the core does, by two matrix products.

    OpenVINO's own ``bilinear_pillow`` is slower and computes positions in float32: its values are off by up to 0.003
    levels, these by 2e-5.
    """
    shape = ops.shape_of(pixels, "i32")
    height, width = (ops.gather(shape, _integers(axis), _integers(0)) for axis in (1, 2))
    wide = ops.matmul(_planes(pixels), _triangles(width, size[1]), False, True)
    values = ops.matmul(_triangles(height, size[0]), wide, False, False)
    fine = ops.constant(np.float32(FINE))
    return ops.round(ops.divide(ops.round(ops.multiply(values, fine), "half_to_even"), fine), "half_to_even")


def _triangles(before: ov.Node, after: int) -> ov.Node:
    """Return the weights (after, before) of bilinear interpolation; to shrink a line, triangles are widened.

    Positions are integers, in units of ``1 / (2 * before * after)`` of the line: OpenVINO has no float64 on a CPU, and
    float32 would lose the digits that decide how values are rounded.
    """
    centres = ops.multiply(_integers([[2 * i + 1] for i in range(after)]), before)
    odd = ops.add(ops.multiply(ops.range(_integers(0), before, _integers(1), "i32"), _integers(2)), _integers(1))
    distances = ops.abs(ops.subtract(ops.multiply(odd, _integers(after)), centres))
    width = ops.multiply(ops.maximum(before, _integers(after)), _integers(2))
    weights = ops.convert(ops.maximum(ops.subtract(width, distances), _integers(0)), "f32")
    return ops.divide(weights, ops.reduce_sum(weights, _integers([1]), True))


def _integers(values: int | Sequence[int] | Sequence[Sequence[int]]) -> ov.Node:
    return ops.constant(np.array(values, np.int32))
