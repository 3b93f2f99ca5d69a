"""Score images with an exported graph, without torch and onnx."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from adcli import ExportError, one_line
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored, cores, in_batches_of


def runtime_of(session: ort.InferenceSession) -> Runtime:
    """Return a runtime that scores images (N, H, W, 3) with a session, and returns maps if the graph has them."""
    (port,) = session.get_inputs()

    def score(images: ImageBatch) -> Scored:
        scores, *maps = session.run(None, {port.name: np.ascontiguousarray(images)})
        return scores, maps[0][:, 0] if maps else None

    batch = port.shape[0]
    return in_batches_of(batch, score) if isinstance(batch, int) else score


def load(export: Export) -> Runtime:
    """Open the graph of an exported folder; raises :class:`ExportError` if it is missing or damaged."""
    return open_graph(export.path / export.facts["file"], cores())


def open_graph(graph: Path, threads: int) -> Runtime:
    """Open a graph's file on the CPU; raises :class:`ExportError` if ONNX Runtime cannot read it."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    try:
        # A session that falls back says so on stdout, which may be one JSON document; here is nothing to fall back to.
        return runtime_of(ort.InferenceSession(graph, settings, ["CPUExecutionProvider"], enable_fallback=0))
    except Exception as error:  # Its errors share no other base class.
        raise ExportError(f"{graph}: ONNX Runtime cannot read it ({one_line(error)}); export the run again.") from None
