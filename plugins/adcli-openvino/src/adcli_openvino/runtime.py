"""Score images with an exported graph; nothing here needs torch."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from adcli.errors import ExportError
from adcli.exports import Export, Pixels, Scored, cores

COMPUTES_IN = "f32"
"""OpenVINO would pick bfloat16 where the processor has it, which moves scores by several percent."""


class OpenvinoRuntime:
    """A compiled graph.

    Args:
        compiled: takes uint8 images (N, H, W, 3), gives ``score`` and perhaps ``map``.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.compiled = compiled
        batch = compiled.input(0).get_partial_shape()[0]
        self.batch: int | None = batch.get_length() if batch.is_static else None

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
        found = self.compiled([np.ascontiguousarray(images)], share_inputs=True)
        return found[0], found[1][:, 0] if len(self.compiled.outputs) > 1 else None


def load(export: Export) -> OpenvinoRuntime:
    """Compile the graph of an exported folder for the CPU, in the precision it was measured in.

    Raises:
        ExportError: a file of the graph is missing or damaged. (That of another graph, its digest gives away.)
    """
    return compile_graph(export.path / export.facts["file"], INFERENCE_NUM_THREADS=cores())


def compile_graph(graph: Path | ov.Model, **properties: Any) -> OpenvinoRuntime:
    """Compile a graph or its file for the CPU; raises :class:`ExportError` where OpenVINO cannot read it."""
    try:
        core = ov.Core()
        model = graph if isinstance(graph, ov.Model) else core.read_model(graph)
        return OpenvinoRuntime(
            core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": COMPUTES_IN, **properties})
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(f"{graph}: OpenVINO cannot read it ({reason}); export the run again.") from None
