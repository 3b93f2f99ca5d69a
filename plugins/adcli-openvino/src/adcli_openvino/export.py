"""Write a run as an OpenVINO graph, in the layout that OpenVINO Model Server serves."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops

from adcli import StorageError
from adcli.data import resize
from adcli.exports import ExportSource
from adcli_openvino import OpenvinoOptions
from adcli_openvino.graph import INPUT, OUTPUTS, convert, with_pixels
from adcli_openvino.runtime import COMPUTES_IN

HALVED = 2**16
"""Numbers that a constant needs to have for fp16 and int8 to store it as float16."""

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.25}
"""Largest score difference relative to the range of good scores."""


def export(source: ExportSource, folder: Path, options: OpenvinoOptions) -> dict[str, Any]:
    """Write ``NAME/1/model.xml`` with its weights, and an example that runs it; return what the manifest says of them.

    Raises:
        AdcliError: the model cannot be converted, or nncf is missing for int8.
        StorageError: the folder cannot be written.
    """
    graph = convert(source.model, source.image_size, options.batch)
    if options.precision == "int8":
        from adcli_openvino.quantisation import quantise

        images = (resize(image, source.image_size) for image in source.calibration_images())
        graph = quantise(graph, images, options.images, options.batch or 1)
    if options.precision != "fp32":
        halve(graph)
    graph = with_pixels(graph, source.image_size, options.batch)
    file = Path(source.name) / "1" / "model.xml"
    _write(graph, folder / file)
    (folder / "example.py").write_bytes((Path(__file__).parent / "example.py").read_bytes())
    return {"name": source.name, "file": file.as_posix(), **_facts(graph, options)}


def halve(graph: ov.Model) -> None:
    """Store large float32 constants as float16, in place; the graph widens them again, and computes in float32.

    OpenVINO's own compression takes the small ones too, which saves nothing and moves scores: the kernels and
    components of a density need their digits.
    """
    for constant in graph.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != ov.Type.f32:
            continue
        values = constant.data
        if values.size < HALVED or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        wide = ops.convert(ops.constant(values.astype(np.float16)), "f32")
        for consumer in constant.output(0).get_target_inputs():
            consumer.replace_source_output(wide.output(0))


def _write(graph: ov.Model, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        ov.save_model(graph, file, compress_to_fp16=False)
    except RuntimeError as error:
        raise StorageError(f"cannot write {file}: {' '.join(str(error).split())[:200]}") from None


def _facts(graph: ov.Model, options: OpenvinoOptions) -> dict[str, Any]:
    tolerance = TOLERANCES[options.precision] if options.tolerance is None else options.tolerance
    return {
        "precision": options.precision,
        "computes_in": f"int8 convolutions, else {COMPUTES_IN}" if options.precision == "int8" else COMPUTES_IN,
        "tolerance": tolerance,
        "auroc_drop": options.auroc_drop if options.precision == "int8" else None,
        "inputs": [_port(graph.input(INPUT), "RGB images of any size, as uint8 pixels")],
        "outputs": [_port(graph.output(name), meaning) for name, meaning in _meanings(graph)],
        "opset": "opset13",
        "versions": {"openvino": ov.__version__, "torch": torch.__version__},
    }


def _meanings(graph: ov.Model) -> list[tuple[str, str]]:
    meanings = ("one score per image, higher is more anomalous", "anomaly maps at the model's input size")
    return list(zip(OUTPUTS, meanings, strict=True))[: len(graph.outputs)]


def _port(port: Any, meaning: str) -> dict[str, Any]:
    shape = [side.get_length() if side.is_static else "any" for side in port.get_partial_shape()]
    kind = {"u8": "uint8", "f32": "float32"}[port.get_element_type().get_type_name()]
    return {"name": port.get_any_name(), "shape": shape, "type": kind, "meaning": meaning}
