"""Score images with an exported graph, without torch and onnx."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from adcli import ExportError, OptionError, one_line
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


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""What ONNX Runtime calls what computes."""


def load(export: Export, device: str) -> Runtime:
    """Open the graph of an exported folder.

    Args:
        export: the folder.
        device: ``cpu``, ``cuda`` or ``tensorrt``.

    Raises:
        OptionError: the installed ONNX Runtime has no such device.
        ExportError: the graph is missing or damaged.
    """
    if PROVIDERS[device] not in ort.get_available_providers():
        raise OptionError(
            f"{device}: the installed ONNX Runtime lacks it; type: pip install onnxruntime-gpu", option="--device"
        )
    return open_graph(export.path / export.facts["file"], cores(), device)


def open_graph(graph: Path, threads: int, device: str = "cpu") -> Runtime:
    """Open a graph's file; raises :class:`ExportError` if ONNX Runtime cannot read it."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    # Threads that spin take the cores from other processes, and gain nothing where there are none.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # TensorRT takes the parts of a graph that it can, and CUDA the others; neither may fall back to the CPU.
    providers = [PROVIDERS[each] for each in (("tensorrt", "cuda") if device == "tensorrt" else (device,))]
    try:
        # A session that falls back says so on stdout, which may be one JSON document; here is nothing to fall back to.
        session = ort.InferenceSession(graph, settings, providers, enable_fallback=0)
    except Exception as error:  # Its errors share no other base class.
        raise ExportError(f"{graph}: ONNX Runtime cannot read it ({one_line(error)}); export the run again.") from None
    if device != "cpu" and session.get_providers()[0] != providers[0]:
        raise OptionError(f"{device}: ONNX Runtime cannot use it here; leave it out.", option="--device")
    return runtime_of(session)
