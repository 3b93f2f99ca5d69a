"""Writes the archive."""

from pathlib import Path
from typing import Any

import numpy as np

from adcli.exports import ExportSource


def export(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Write the mean image, and what else the runtime needs."""
    number = np.float32 if options.precision == "fp32" else np.float16
    height, width = source.image_size
    np.savez(
        folder / "mean.npz",
        mean=source.model.weights()["mean"].permute(1, 2, 0).numpy().astype(number),
        power=source.run.settings["options"]["power"],
        error=options.error,
    )
    return {
        "name": source.run.settings["model"],
        "file": "mean.npz",
        "precision": options.precision,
        "inputs": [{"name": "images", "shape": [-1, -1, -1, 3], "type": "uint8"}],
        "outputs": [{"name": "score", "shape": [-1]}, {"name": "map", "shape": [-1, height, width]}],
        "tolerance": 1e-3 if options.precision == "fp32" else 1e-2,
    }
