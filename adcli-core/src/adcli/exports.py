"""The exported folder and what runs it: what an exporter is given, what it returns, and how the result is opened.

Nothing here imports torch: a machine that only runs exported models has none.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adcli.calibration import Calibration
    from adcli.model import Model
    from adcli.run import Run

Pixels = NDArray[np.uint8]
Scored = tuple[NDArray[np.float32], NDArray[np.float32] | None]


class Runtime(Protocol):
    """Scores images with an exported graph."""

    def __call__(self, images: Pixels) -> Scored:
        """Score images (N, H, W, 3), RGB, of any size: scores (N,), maps (N, h, w) at the model's size or None."""
        ...


@dataclass(frozen=True)
class ExportSource:
    """What an exporter turns into a graph.

    Attributes:
        run: the finished run.
        model: its model, restored, in evaluation mode, on the CPU; ``forward`` takes (N, 3, H, W), RGB in [0, 1].
        image_size: height and width that ``model`` takes; the graph resizes to it as :mod:`adcli.data.decoding` does.
        calibration_images: gives good images as they are in their files, (H, W, 3) uint8, each of its own size; for
            formats that quantise.
    """

    run: "Run"
    model: "Model"
    image_size: tuple[int, int]
    calibration_images: Callable[[], Iterable[Pixels]]


@dataclass(frozen=True)
class Export:
    """A finished exported folder.

    Attributes:
        path: the folder.
        manifest: the content of its ``manifest.yaml``.
        calibration: threshold and p-values, from scores of the exported graph.
    """

    path: Path
    manifest: Mapping[str, Any]
    calibration: "Calibration"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the exporter's ``target`` returned when the folder was made."""
        facts: Mapping[str, Any] = self.manifest["graph"]
        return facts
