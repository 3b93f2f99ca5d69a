"""Devices beside the CPU: what they say is compared with the CPU before it is believed."""

import contextlib
import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adcli._files import cache_folder
from adcli.errors import ExportError
from adcli.scoring.runtime import ImageBatch, Runtime, Scored

if TYPE_CHECKING:
    from adcli.exports.export import Export

COMPARED = 16
"""Images of which a device and the CPU must say the same; then the device is believed on this machine."""


def compare_first(runtime: Runtime, load_cpu: Callable[[], Runtime], device: str, export: "Export") -> Runtime:
    """Return a runtime that compares what a device says of its first images with what the CPU says.

    The CPU's scores were compared with the run's when the export was made, and thresholds come from them. That a device
    has agreed is remembered in the cache folder, for this export on this machine.

    Args:
        runtime: scores on the device.
        load_cpu: loads what scores on the CPU.
        device: its name.
        export: what both have loaded.
    """
    mark = cache_folder() / "devices" / _name_mark(export, device)
    if mark.exists():
        return runtime
    reference: Runtime | None = load_cpu()
    compared = 0

    def score(images: ImageBatch) -> Scored:
        nonlocal reference, compared
        found = runtime(images)
        if reference is not None:
            _compare(found, reference(images), device, export)
            compared += len(images)
            if compared >= COMPARED:
                reference = None
                _remember(mark)
        return found

    return score


def _name_mark(export: "Export", device: str) -> str:
    files = sorted(export.manifest["files"].items())
    return hashlib.sha256(repr((files, device, platform.node(), platform.version())).encode()).hexdigest()


def _remember(mark: Path) -> None:
    # Where nothing can be written, it is compared again the next time.
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _compare(found: Scored, expected: Scored, device: str, export: "Export") -> None:
    """Raise :class:`ExportError` if scores differ by more than an export may differ from its run."""
    if "measured" not in export.manifest:
        raise ExportError(f"{export.path}: was not compared with its run; export the run again.")
    allowed = export.facts["tolerance"]
    difference = float(np.abs(found[0] - expected[0]).max()) / export.manifest["measured"]["range"]
    if not difference <= allowed:
        raise ExportError(
            f"{export.path}: on --device {device}, scores differ from those on the CPU by {difference:.1e} of the "
            f"range of good ones (allowed: {allowed}); leave --device out, or export with a larger -o tolerance=."
        )
