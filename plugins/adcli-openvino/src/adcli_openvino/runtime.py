"""Score images with an exported graph, without torch."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from adcli import ExportError, one_line
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored, cores, in_batches_of

COMPUTES_IN = "f32"
"""If the processor has bfloat16, OpenVINO would use it, which changes scores by several percent."""


def runtime_of(compiled: ov.CompiledModel) -> Runtime:
    """Return a runtime that scores images (N, H, W, 3) with a graph, and returns maps if the graph has them."""

    def score(images: ImageBatch) -> Scored:
        found = compiled([np.ascontiguousarray(images)], share_inputs=True)
        return found[0], found[1][:, 0] if len(compiled.outputs) > 1 else None

    batch = compiled.input(0).get_partial_shape()[0]
    return in_batches_of(batch.get_length(), score) if batch.is_static else score


def load(export: Export) -> Runtime:
    """Compile the graph of an exported folder for the CPU, in the precision it was measured in.

    Raises:
        ExportError: a file of the graph is missing or damaged. (The digests reveal the file of another graph.)
    """
    return compile_graph(export.path / export.facts["file"], INFERENCE_NUM_THREADS=cores())


def compile_graph(graph: Path | ov.Model, **properties: Any) -> Runtime:
    """Compile a graph or its file for the CPU; raises :class:`ExportError` if OpenVINO cannot read it."""
    try:
        core = ov.Core()
        model = graph if isinstance(graph, ov.Model) else core.read_model(graph)
        return runtime_of(core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": COMPUTES_IN, **properties}))
    except RuntimeError as error:
        raise ExportError(f"{graph}: OpenVINO cannot read it ({one_line(error)}); export the run again.") from None
