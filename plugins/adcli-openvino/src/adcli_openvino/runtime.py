"""Score images with an exported graph; nothing here needs torch."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from adcli import ExportError
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored, cores, in_batches_of

COMPUTES_IN = "f32"
"""OpenVINO would pick bfloat16 where the processor has it, which moves scores by several percent."""


def runtime_of(compiled: ov.CompiledModel) -> Runtime:
    """Return what scores images with a compiled graph: uint8 images (N, H, W, 3) to ``score`` and perhaps ``map``."""

    def score(images: ImageBatch) -> Scored:
        found = compiled([np.ascontiguousarray(images)], share_inputs=True)
        return found[0], found[1][:, 0] if len(compiled.outputs) > 1 else None

    batch = compiled.input(0).get_partial_shape()[0]
    return in_batches_of(batch.get_length(), score) if batch.is_static else score


def load(export: Export) -> Runtime:
    """Compile the graph of an exported folder for the CPU, in the precision it was measured in.

    Raises:
        ExportError: a file of the graph is missing or damaged. (That of another graph, its digest gives away.)
    """
    return compile_graph(export.path / export.facts["file"], INFERENCE_NUM_THREADS=cores())


def compile_graph(graph: Path | ov.Model, **properties: Any) -> Runtime:
    """Compile a graph or its file for the CPU; raises :class:`ExportError` where OpenVINO cannot read it."""
    try:
        core = ov.Core()
        model = graph if isinstance(graph, ov.Model) else core.read_model(graph)
        return runtime_of(core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": COMPUTES_IN, **properties}))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{graph}: OpenVINO cannot read it ({reason}); export the run again.") from None
