"""Score images with an exported graph; nothing here needs torch or onnx."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from adcli.errors import ExportError
from adcli.exports import Export, Pixels, Scored, cores


class OnnxRuntime:
    """A session of ONNX Runtime on the CPU.

    Args:
        session: takes uint8 images (N, H, W, 3), gives ``score`` and perhaps ``map``.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        (images,) = session.get_inputs()
        self.input = images.name
        self.batch: int | None = images.shape[0] if isinstance(images.shape[0], int) else None

    def __call__(self, images: Pixels) -> Scored:
        """Score images (N, H, W, 3), RGB, of any size: scores (N,), maps (N, h, w) or None."""
        if self.batch is None or len(images) == self.batch:
            return self._infer(images)
        parts = [self._padded(images[start : start + self.batch]) for start in range(0, len(images), self.batch)]
        maps = [part for _, part in parts if part is not None]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate(maps) if maps else None

    def _padded(self, images: Pixels) -> Scored:
        """Score fewer images than a graph of a fixed batch takes, by repeating the last of them."""
        assert self.batch is not None
        count = len(images)
        scores, maps = self._infer(np.concatenate([images, np.repeat(images[-1:], self.batch - count, axis=0)]))
        return scores[:count], None if maps is None else maps[:count]

    def _infer(self, images: Pixels) -> Scored:
        scores, *maps = self.session.run(None, {self.input: np.ascontiguousarray(images)})
        return scores, maps[0][:, 0] if maps else None


def load(export: Export) -> OnnxRuntime:
    """Open the graph of an exported folder; raises :class:`ExportError` where it is missing or damaged."""
    return open_graph(export.path / export.facts["file"], cores())


def open_graph(graph: Path, threads: int) -> OnnxRuntime:
    """Open a graph's file for the CPU; raises :class:`ExportError` where ONNX Runtime cannot read it."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    try:
        return OnnxRuntime(ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"]))
    except Exception as error:  # its errors have no common base of their own
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{graph}: ONNX Runtime cannot read it ({reason}); export the run again.") from None
