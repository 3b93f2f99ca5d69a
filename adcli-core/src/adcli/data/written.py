"""What adcli itself writes into folders, whose pictures are no photographs."""

import os
from collections.abc import Container
from pathlib import Path

from adcli._files import DIGEST

VERDICTS_FILE, PICTURES_FOLDER = "predictions.csv", "maps"
"""What ``adcli predict`` writes into a folder: a table, and beside it the folder of its pictures."""

_SEALED = ("run.yaml", "manifest.yaml")
"""Files that a run and an export have; those of others end without a digest."""

_BESIDE = "calibration.json"
"""What else both have; whoever trains by the settings of a run may have copied its ``run.yaml`` beside their images."""

_LAST_LINE = len(DIGEST) + 64 + 1


def is_artefact(folder: Path, names: Container[str] = _SEALED) -> bool:
    """Tell whether a folder is a run or an export.

    Args:
        folder: which may be one.
        names: of what lies in it, if that is known.
    """
    return any(name in names and _is_sealed(folder / name) for name in _SEALED) and (folder / _BESIDE).is_file()


def find_artefact(folder: Path) -> Path | None:
    """Return the run or export that a folder is, or lies in; None if there is none."""
    real = Path(os.path.realpath(folder))
    return next((place for place in (real, *real.parents) if is_artefact(place)), None)


def _is_sealed(path: Path) -> bool:
    try:
        # A pipe would be waited for.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            file.seek(-min(_LAST_LINE, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read(len(DIGEST)) == DIGEST.encode()
    except OSError:
        return False
