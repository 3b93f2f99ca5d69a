"""The order in which photographs were taken, as far as their names, or a table, tell it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adcli._files import check_reachable, is_folder
from adcli.data.fingerprint import relative_names
from adcli.data.folder import holds_layout, images_in
from adcli.data.left_out import LeftOut, Omissions
from adcli.data.references import TABLE, load_data, make_absolute
from adcli.data.table import list_images
from adcli.errors import DataError

_NUMBER = re.compile(r"([0-9]+)")


class Ordered(NamedTuple):
    """Images in an order.

    Attributes:
        images: their files.
        names: paths below the folder that they have in common.
        order: which order it is, in words.
        left_out: what lies among the files and is passed over.
        parts: which part each image shows, if the data say it.
    """

    images: Sequence[Path]
    names: Sequence[str]
    order: str
    left_out: Sequence[LeftOut]
    parts: Mapping[Path, str]


def order_images(reference: str, options: Mapping[str, Any]) -> Ordered:
    """Return all images that ``--data`` names in the order of time, whatever they show.

    Of a table, it is that of the rows; else the natural order of the paths, or, if folders tell good images from
    defective ones, of the names alone. Folders within a folder may be anything, such as days.

    Args:
        reference: what ``--data`` names.
        options: of the data set.

    Raises:
        DataError: as :func:`load_data`.
    """
    check_reachable(reference, DataError)
    if not options and is_folder(Path(reference)) and not holds_layout(Path(reference)):
        left_out = Omissions()
        images = list(images_in([make_absolute(reference)], left_out))
        return _sort(images, by_name=False, left_out=left_out.take(), parts={})
    splits = load_data(reference, dict(options), all_good=True).splits
    samples = [*splits.train, *splits.defects, *splits.test, *splits.validation]
    images = list(dict.fromkeys(sample.image for sample in samples))
    parts = {sample.image: sample.part for sample in samples if sample.part}
    if reference.startswith(TABLE):
        rows = {image: row for row, image in enumerate(list_images(make_absolute(reference.removeprefix(TABLE))))}
        images.sort(key=rows.__getitem__)
        return Ordered(images, relative_names(images), "the order of the table's rows", splits.left_out, parts)
    by_name = any(sample.label == "defect" for sample in samples)
    return _sort(images, by_name=by_name, left_out=splits.left_out, parts=parts)


def _sort(images: list[Path], *, by_name: bool, left_out: Sequence[LeftOut], parts: Mapping[Path, str]) -> Ordered:
    names = dict(zip(images, relative_names(images), strict=True))
    images.sort(key=lambda image: (_key(image.name) if by_name else [], _key(names[image])))
    order = f"the order of their {'names' if by_name else 'paths'}"
    return Ordered(images, [names[image] for image in images], order, left_out, parts)


def _key(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts ``img2`` before ``img10``: digits as numbers, of any length, and before letters."""
    parts = (part for part in _NUMBER.split(name) if part)
    return [
        (False, len(part.lstrip("0")), part.lstrip("0")) if part[0] in "0123456789" else (True, 0, part)
        for part in parts
    ]
