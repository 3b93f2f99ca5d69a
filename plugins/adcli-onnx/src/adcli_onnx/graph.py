"""Convert a model to an ONNX graph that takes the pixels of images of any size."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from adcli import ExportError, PluginError, install_command, one_line
from adcli.data import FINE, Size
from adcli.nn import Model

OPSET = 18
INPUT = "images"
OUTPUTS = ("score", "map")


class FromPixels(nn.Module):
    """A model that takes uint8 images (N, H, W, 3) of any size, and whose scores are a plain tuple."""

    def __init__(self, model: Model, size: Size) -> None:
        super().__init__()
        self.model = model
        self.size = size

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scores = self.model(resize_pixels(images, self.size) / 255)
        return tuple(part for part in scores if part is not None)


def resize_pixels(images: Tensor, size: Size) -> Tensor:
    """Resize images (N, H, W, 3) as :func:`adcli.data.resize` does, to float32 levels (N, 3, h, w).

    ONNX's own antialiased Resize differs from Pillow's by up to 17 levels on small images. Two matrix products agree
    with Pillow except for one value in half a million, which is rounded to the next level.
    """
    planes = images.permute(0, 3, 1, 2).float()
    rows, columns = _triangles(images.shape[1], size[0]), _triangles(images.shape[2], size[1])
    return torch.round(torch.round(torch.matmul(rows, torch.matmul(planes, columns.T)) * FINE) / FINE)


def _triangles(before: int, after: int) -> Tensor:
    """Return the weights (after, before) of bilinear interpolation; to shrink a line, triangles are widened."""
    # Float32 positions along long lines would lose the digits that decide how values are rounded.
    scale = before / after
    centres = (torch.arange(after, dtype=torch.float64)[:, None] + 0.5) * scale
    positions = torch.arange(before, dtype=torch.float64) + 0.5
    width = (torch.ones((), dtype=torch.float64) * scale).clamp(min=1)
    weights = (1 - (positions - centres).abs() / width).clamp_min(0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def build(model: Model, size: Size, batch: int | None) -> Any:
    """Return a model as an ``onnx.ModelProto`` from ``images`` (N, H, W, 3) to ``score`` (N,) and ``map`` (N, 1, h, w).

    Args:
        model: in evaluation mode, on the CPU.
        size: height and width it takes.
        batch: N, or None for any number of images.

    Raises:
        PluginError: onnx or onnxscript is missing.
        ExportError: the model cannot be traced or converted.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise PluginError(f"exporting needs onnx and onnxscript: {install_command('adcli-onnx[export]')}") from None
    # The sides differ from each other and from the model's, so that the tracer takes none for another.
    example = torch.randint(0, 256, (batch or 3, size[0] + 7, size[1] + 12, 3), dtype=torch.uint8)
    sides: dict[int, Any] = {1: torch.export.Dim("height", min=2), 2: torch.export.Dim("width", min=2)}
    if batch is None:
        sides[0] = torch.export.Dim("batch", min=2)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = OUTPUTS[: sum(part is not None for part in model(torch.rand(1, 3, *size)))]
            program = torch.onnx.export(
                FromPixels(model, size).eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(sides,),
                input_names=[INPUT],
                output_names=list(names),
                verbose=False,
            )
    except Exception as error:  # Tracing and converting may raise anything.
        advice = "predict with the run itself, or train with another --backbone"
        raise ExportError(f"the model cannot be converted to ONNX: {one_line(error)}; {advice}.") from None
    assert program is not None
    return program.model_proto
