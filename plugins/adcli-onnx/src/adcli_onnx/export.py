"""Write a run as an ONNX graph."""

from pathlib import Path
from typing import Any

import torch

from adcli import ExportError
from adcli.exports import ExportSource
from adcli_onnx import OnnxOptions
from adcli_onnx.graph import OPSET, build

TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2}
"""Largest difference of a score, relative to the range of good scores."""

HALVED = 2**16
"""Size from which fp16 stores a constant as float16; halving small ones saves nothing and costs accuracy."""

LARGEST = 2**31 - 1
"""Largest size in bytes of a protobuf message, and so of a graph in one file."""

MEANINGS = {
    "images": "RGB images of any size, as uint8 pixels",
    "score": "one score per image, higher is more anomalous",
    "map": "anomaly maps at the model's input size",
}


def export(source: ExportSource, folder: Path, options: OnnxOptions) -> dict[str, Any]:
    """Write ``NAME/1/model.onnx`` and an example that runs it; return the facts for the manifest.

    Raises:
        ExportError: the model cannot be converted.
        PluginError: onnxscript is missing.
    """
    graph = build(source.model, source.image_size, options.batch)
    import onnx

    forget_places(graph)
    if options.precision == "fp16":
        halve(graph)
    file = Path(source.name) / "1" / "model.onnx"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        graph,
        folder / file,
        save_as_external_data=graph.ByteSize() > LARGEST,
        location="model.data",
        size_threshold=1024,
    )
    (folder / "example.py").write_bytes((Path(__file__).parent / "example.py").read_bytes())
    return {
        "name": source.name,
        "file": file.as_posix(),
        "precision": options.precision,
        "computes_in": "f32",
        "tolerance": TOLERANCES[options.precision] if options.tolerance is None else options.tolerance,
        "inputs": [_describe_port(port) for port in graph.graph.input],
        "outputs": [_describe_port(port) for port in graph.graph.output],
        "opset": OPSET,
        "versions": {"onnx": onnx.__version__, "torch": torch.__version__},
    }


def forget_places(graph: Any) -> None:
    """Remove from an ``onnx.ModelProto`` what torch notes of each part, in place: it has paths of this machine."""
    inner = graph.graph
    for part in (inner, *inner.node, *inner.input, *inner.output, *inner.value_info, *inner.initializer):
        del part.metadata_props[:]


def halve(graph: Any) -> None:
    """Store large float32 constants of an ``onnx.ModelProto`` as float16, in place; the graph converts them back."""
    import numpy as np
    import onnx

    casts = []
    for constant in list(graph.graph.initializer):
        if constant.data_type != onnx.TensorProto.FLOAT or np.prod(constant.dims) < HALVED:
            continue
        values = onnx.numpy_helper.to_array(constant)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        half = f"{constant.name}_half"
        casts.append(onnx.helper.make_node("Cast", [half], [constant.name], to=onnx.TensorProto.FLOAT))
        constant.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _describe_port(port: Any) -> dict[str, Any]:
    import onnx

    kind = port.type.tensor_type
    shape = [side.dim_value if side.HasField("dim_value") else "any" for side in kind.shape.dim]
    names = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32"}
    if kind.elem_type not in names:
        raise ExportError(f"the model's output '{port.name}' is not a float32 tensor, as scores and maps must be.")
    return {"name": port.name, "shape": shape, "type": names[kind.elem_type], "meaning": MEANINGS[port.name]}
