"""Compiled graphs, kept in the user's cache folder: to load one takes a third of the time of compiling it."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from adcli import cache_folder

LARGEST = 2 << 30
"""Bytes of compiled graphs that are kept; of more, those that were not used for longest are removed."""

_DIGEST = hashlib.sha256().digest_size


def load_or_compile(
    core: ov.Core, graph: Path, digest: str, device: str, properties: Mapping[str, Any]
) -> ov.CompiledModel:
    """Return a compiled graph: the one that is kept, if it is whole and of the same graph, device and OpenVINO.

    Args:
        core: of OpenVINO.
        graph: the file of the graph.
        digest: of all that the graph is.
        device: as OpenVINO calls it.
        properties: what it is compiled with.

    Raises:
        RuntimeError: OpenVINO cannot read or compile it.
    """
    machine = core.get_property(device, "FULL_DEVICE_NAME")
    key = repr((digest, ov.__version__, device, machine, sorted((name, str(it)) for name, it in properties.items())))
    file = cache_folder() / "openvino" / f"{hashlib.sha256(key.encode()).hexdigest()}.blob"
    kept = _load(core, file, device, properties)
    if kept is not None:
        return kept
    compiled = core.compile_model(graph, device, dict(properties))
    # Devices that cannot give away what they compiled, and folders that cannot be written, have it compiled each time.
    with contextlib.suppress(OSError, RuntimeError):
        _keep(file, compiled.export_model().getvalue())
    return compiled


def _load(core: ov.Core, file: Path, device: str, properties: Mapping[str, Any]) -> ov.CompiledModel | None:
    """Return what is kept in a file, if its digest is that of its content and OpenVINO takes it."""
    try:
        content = np.memmap(file, np.uint8, "r")
        if len(content) <= _DIGEST or hashlib.sha256(content[_DIGEST:].data).digest() != content[:_DIGEST].tobytes():
            return None
        compiled = core.import_model(ov.Tensor(content[_DIGEST:]), device, dict(properties))
        os.utime(file)
    except (OSError, ValueError, RuntimeError):
        return None
    return compiled


def _keep(file: Path, content: bytes) -> None:
    if len(content) > LARGEST:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        new = Path(folder) / file.name
        with new.open("wb") as writing:
            writing.write(hashlib.sha256(content).digest())
            writing.write(content)
        new.replace(file)
    _remove_unused(file.parent)


def _remove_unused(folder: Path) -> None:
    """Remove what was not used for longest, until no more than :data:`LARGEST` bytes are left."""
    kept = sorted(((path.stat(), path) for path in folder.glob("*.blob")), key=lambda one: -one[0].st_mtime)
    total = 0
    for state, path in kept:
        total += state.st_size
        if total > LARGEST:
            path.unlink(missing_ok=True)
