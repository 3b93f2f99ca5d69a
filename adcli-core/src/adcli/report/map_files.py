"""The anomaly map of a photograph, and the mask of what is marked in it, as files at the photograph's own size."""

import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from adcli._files import writing
from adcli.data.decoding import Size
from adcli.errors import DataError, OptionError, StorageError
from adcli.metrics.strips import strips
from adcli.scoring.prediction import Prediction

_LARGEST_TIFF = (1 << 32) - 1
"""Bytes of a TIFF, whose offsets have 32 bits."""

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_FIELDS = struct.Struct("<HHII")


def write_map(prediction: Prediction, path: Path) -> None:
    """Write the anomaly map of a photograph: :attr:`Prediction.map`, float32, never clamped, NaN where not looked at.

    It is written a few rows at a time, and its name never stands for half of it. A TIFF has one channel and is not
    compressed.

    Args:
        prediction: of a photograph that could be read.
        path: a file in a folder that is there; it ends with ``.tiff``, ``.tif`` or ``.npy``.

    Raises:
        DataError: the photograph could not be read.
        OptionError: the prediction has no map, or the path has another ending.
        StorageError: the file cannot be written, or a TIFF would have more than 4 GiB.
    """
    _check_read(prediction)
    begin = _BEGINNINGS.get(path.suffix.lower())
    if begin is None:
        raise OptionError(f"{path}: a map is a .tiff or .npy file; give the path one of these endings.")
    rows = prediction.rows_at(prediction.size)
    if rows is None:
        raise OptionError(f"{prediction.name}: has no anomaly map to write, since its model only classifies.")
    beginning = begin(prediction.size)
    if begin is _begin_tiff and len(beginning) + _count_bytes(prediction.size) > _LARGEST_TIFF:
        raise StorageError(f"cannot write {path}: a TIFF has 4 GiB at most; write .npy files instead.")
    with writing(path) as file:
        file.write(beginning)
        for part in strips(prediction.size):
            file.write(np.ascontiguousarray(rows[part], "<f4").data)


def write_mask(prediction: Prediction, path: Path) -> None:
    """Write :attr:`Prediction.marked` as a PNG of 8 bits: 255 for what is marked as defective, and else 0.

    The mask of a good photograph is 0 everywhere.

    Args:
        prediction: of a photograph that could be read.
        path: a file in a folder that is there.

    Raises:
        DataError: the photograph could not be read.
        OptionError: the prediction has no map, or no verdict, so that nothing is known to be good.
        StorageError: the file cannot be written.
    """
    _check_read(prediction)
    if prediction.model_map is None:
        raise OptionError(f"{prediction.name}: has no anomaly map to mark, since its model only classifies.")
    if prediction.is_defect is None:
        raise OptionError(f"{prediction.name}: has no verdict, and so no mask; set a threshold first.")
    marked = np.zeros(prediction.size, bool) if prediction.marked is None else prediction.marked
    with writing(path) as file:
        Image.fromarray(marked.view(np.uint8) * np.uint8(255)).save(file, "PNG")


def _check_read(prediction: Prediction) -> None:
    if prediction.problem:
        raise DataError(prediction.problem)


def _count_bytes(size: Size) -> int:
    return 4 * size[0] * size[1]


def _begin_npy(size: Size) -> bytes:
    """Return what comes before the values of an array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": tuple(size)})
    return header.getvalue()


def _begin_tiff(size: Size) -> bytes:
    """Return what comes before the values of a grey picture of float32: one strip, which every reader takes."""
    height, width = size
    tags = [
        (256, _LONG, width),
        (257, _LONG, height),
        (258, _SHORT, 32),  # bits of a value
        (259, _SHORT, 1),  # not compressed
        (262, _SHORT, 1),  # 0 is black
        (273, _LONG, 0),  # where the values begin
        (277, _SHORT, 1),  # channels
        (278, _LONG, height),  # rows of the strip
        (279, _LONG, _count_bytes(size)),
        (282, _RATIONAL, 0),  # pixels per unit, of which there is none
        (283, _RATIONAL, 0),
        (296, _SHORT, 1),
        (339, _SHORT, 3),  # floating point
    ]
    resolution = 8 + 2 + _FIELDS.size * len(tags) + 4
    # Where values lie at multiples of their size, a reader need not copy them.
    values = -(-(resolution + 8) // 4) * 4
    places = {273: values, 282: resolution, 283: resolution}
    fields = [_FIELDS.pack(tag, kind, 1, places.get(tag, value) & _LARGEST_TIFF) for tag, kind, value in tags]
    directory = struct.pack("<H", len(tags)) + b"".join(fields) + struct.pack("<I", 0)
    return (b"II" + struct.pack("<HI", 42, 8) + directory + struct.pack("<II", 1, 1)).ljust(values, b"\0")


_BEGINNINGS: Mapping[str, Callable[[Size], bytes]] = {".tiff": _begin_tiff, ".tif": _begin_tiff, ".npy": _begin_npy}
