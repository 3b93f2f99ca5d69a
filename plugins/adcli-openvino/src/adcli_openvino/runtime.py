"""Score images with an exported graph, without torch."""

from typing import Any

import numpy as np
import openvino as ov

from adcli import ExportError, OptionError, one_line
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored, cores, in_batches_of
from adcli_openvino.compiled import load_or_compile

COMPUTES_IN = "f32"
"""If the processor has bfloat16, OpenVINO would use it, which changes scores by several percent."""


def choose_precision(core: ov.Core, device: str, precision: str) -> str:
    """Return what a device computes an export of a precision in: bfloat16 only where that was asked for.

    Raises:
        ExportError: it was, and the device has none.
    """
    if precision != "bf16":
        return COMPUTES_IN
    if "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        raise ExportError(f"-o precision=bf16: this {device} does not compute in bfloat16; export with another.")
    return precision


def runtime_of(compiled: ov.CompiledModel) -> Runtime:
    """Return a runtime that scores images (N, H, W, 3) with a graph, and returns maps if the graph has them."""

    def score(images: ImageBatch) -> Scored:
        found = compiled([np.ascontiguousarray(images)], share_inputs=True)
        return found[0], found[1][:, 0] if len(compiled.outputs) > 1 else None

    batch = compiled.input(0).get_partial_shape()[0]
    return in_batches_of(batch.get_length(), score) if batch.is_static else score


def load(export: Export, device: str) -> Runtime:
    """Compile the graph of an exported folder for a device, in the precision that it was measured in.

    Args:
        export: the folder, whose files are those of its manifest.
        device: ``cpu``, ``gpu`` or ``npu``.

    Raises:
        OptionError: OpenVINO does not find the device.
        ExportError: OpenVINO cannot read the graph.
    """
    core, name = ov.Core(), device.upper()
    if name not in {found.partition(".")[0] for found in core.available_devices}:
        raise OptionError(
            f"{device}: OpenVINO finds {' and '.join(core.available_devices)} alone; leave it out.", option="--device"
        )
    graph = export.path / export.facts["file"]
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": choose_precision(core, name, export.facts["precision"])}
    if device == "cpu":
        properties["INFERENCE_NUM_THREADS"] = cores()
    try:
        # An export that is not finished has no digests yet, by which a graph could be told from others.
        folder = graph.relative_to(export.path).parent.as_posix()
        files = {name: it for name, it in export.manifest.get("files", {}).items() if name.startswith(f"{folder}/")}
        compiled = (
            load_or_compile(core, graph, repr(sorted(files.items())), name, properties)
            if files
            else core.compile_model(graph, name, properties)
        )
        return runtime_of(compiled)
    except RuntimeError as error:
        raise ExportError(f"{graph}: OpenVINO cannot read it ({one_line(error)}); export the run again.") from None
