"""A right exporter, which stores the mean image, and wrong ones that differ from it in one thing each."""

from pathlib import Path
from typing import Any

import numpy as np

from adcli.exports import ExportSource


def export(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Write the archive and describe it."""
    save = np.savez_compressed if options.compress else np.savez
    save(folder / "mean.npz", mean=source.model.weights()["mean"].permute(1, 2, 0).numpy())
    height, width = source.image_size
    return {
        "name": source.run.settings["model"],
        "file": "mean.npz",
        "precision": "fp32",
        "inputs": [{"name": "images", "shape": [-1, -1, -1, 3]}],
        "outputs": [{"name": "score", "shape": [-1]}, {"name": "map", "shape": [-1, height, width]}],
        "tolerance": 1e-3,
    }


def without_inputs(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Does not say what the graph takes."""
    return {**export(source, folder, options), "inputs": []}


def with_its_place(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Notes where the archive lies now."""
    facts = export(source, folder, options)
    (folder / "place.txt").write_text(str(folder / facts["file"]))
    return facts


def with_any_tolerance(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Finds everything equal."""
    return {**export(source, folder, options), "tolerance": 1e9}


def with_a_word(source: ExportSource, folder: Path, options: Any) -> dict[str, Any]:
    """Prints while it exports."""
    print("exported")
    return export(source, folder, options)
