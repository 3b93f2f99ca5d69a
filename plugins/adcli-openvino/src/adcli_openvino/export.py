"""Write a run as an OpenVINO graph, in the layout that OpenVINO Model Server serves."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops

from adcli import StorageError, one_line
from adcli.data import resize
from adcli.exports import ExportSource
from adcli_openvino import OpenvinoOptions
from adcli_openvino.graph import INPUT, OUTPUTS, convert, prepend_resizing, telling_nobody
from adcli_openvino.runtime import choose_precision

HALVED = 2**16
"""Size from which fp16, bf16 and int8 store a constant as float16."""

MEANINGS = ("one score per image, higher is more anomalous", "anomaly maps at the model's input size")
"""What the outputs mean, in the order of ``OUTPUTS``."""

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 0.25, "int8": 0.25}
"""Largest difference of a score, relative to the range of good scores."""


@telling_nobody()
def export(source: ExportSource, folder: Path, options: OpenvinoOptions) -> dict[str, Any]:
    """Write ``NAME/1/model.xml`` with its weights, and an example that runs it; return the facts for the manifest.

    Raises:
        ExportError: the model cannot be converted, or the processor does not compute in the precision.
        OptionError: there are no images for int8.
        PluginError: nncf is missing for int8.
        StorageError: the folder cannot be written.
    """
    computes_in = choose_precision(ov.Core(), "CPU", options.precision)
    graph = convert(source.model, source.image_size, options.batch)
    if options.precision == "int8":
        from adcli_openvino.quantisation import quantise

        images = (resize(image, source.image_size) for image in source.calibration_images())
        graph = quantise(graph, images, options.images, options.batch or 1)
    if options.precision != "fp32":
        halve(graph)
    graph = prepend_resizing(graph, source.image_size, options.batch)
    file = Path(source.name) / "1" / "model.xml"
    _write(graph, folder / file)
    (folder / "example.py").write_bytes((Path(__file__).parent / "example.py").read_bytes())
    return {"name": source.name, "file": file.as_posix(), **_collect_facts(graph, options, computes_in)}


def halve(graph: ov.Model) -> None:
    """Store large float32 constants as float16, in place; the graph converts them back and computes in float32.

    OpenVINO's own compression also halves small constants, which saves nothing and changes scores: densities need the
    digits of their kernels and components.
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
        raise StorageError(f"cannot write {file}: {one_line(error)}") from None


def _collect_facts(graph: ov.Model, options: OpenvinoOptions, computes_in: str) -> dict[str, Any]:
    tolerance = TOLERANCES[options.precision] if options.tolerance is None else options.tolerance
    return {
        "precision": options.precision,
        "computes_in": f"int8 convolutions, else {computes_in}" if options.precision == "int8" else computes_in,
        "tolerance": tolerance,
        "auroc_drop": options.auroc_drop if options.precision in ("bf16", "int8") else None,
        "inputs": [_describe_port(graph.input(INPUT), "RGB images of any size, as uint8 pixels")],
        "outputs": [
            _describe_port(graph.output(name), meaning)
            for name, meaning in zip(OUTPUTS[: len(graph.outputs)], MEANINGS, strict=False)
        ],
        "opset": "opset13",
        "versions": {"openvino": ov.__version__, "torch": torch.__version__},
    }


def _describe_port(port: Any, meaning: str) -> dict[str, Any]:
    shape = [side.get_length() if side.is_static else "any" for side in port.get_partial_shape()]
    kind = {"u8": "uint8", "f32": "float32"}[port.get_element_type().get_type_name()]
    return {"name": port.get_any_name(), "shape": shape, "type": kind, "meaning": meaning}
