"""Score images with an exported graph; nothing here needs torch or onnx."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from adcli import ExportError
from adcli.exports import Export
from adcli.scoring import ImageBatch, Runtime, Scored, cores, in_batches_of


def runtime_of(session: ort.InferenceSession) -> Runtime:
    """Return what scores images with a session: uint8 images (N, H, W, 3) to ``score`` and perhaps ``map``."""
    (port,) = session.get_inputs()

    def score(images: ImageBatch) -> Scored:
        scores, *maps = session.run(None, {port.name: np.ascontiguousarray(images)})
        return scores, maps[0][:, 0] if maps else None

    batch = port.shape[0]
    return in_batches_of(batch, score) if isinstance(batch, int) else score


def load(export: Export) -> Runtime:
    """Open the graph of an exported folder; raises :class:`ExportError` where it is missing or damaged."""
    return open_graph(export.path / export.facts["file"], cores())


def open_graph(graph: Path, threads: int) -> Runtime:
    """Open a graph's file for the CPU; raises :class:`ExportError` where ONNX Runtime cannot read it."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    try:
        return runtime_of(ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"]))
    except Exception as error:  # its errors have no common base of their own
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{graph}: ONNX Runtime cannot read it ({reason}); export the run again.") from None
