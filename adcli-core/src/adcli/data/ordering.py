"""The order in which photographs were taken, as far as a data set tells it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from adcli.data.fingerprint import relative_names
from adcli.data.references import TABLE, Data
from adcli.data.table import list_images

_NUMBER = re.compile(r"([0-9]+)")


class Ordered(NamedTuple):
    """Images in an order.

    Attributes:
        images: their files.
        names: paths below the folder that they have in common.
        order: which order it is, in words.
    """

    images: Sequence[Path]
    names: Sequence[str]
    order: str


def order_images(data: Data) -> Ordered:
    """Return all images of a data set in the order of time: of a table its rows, and else the natural order of paths.

    If folders tell good images from defective ones, the order is that of the files' names alone.

    Raises:
        DataError: the table cannot be read any more.
    """
    splits = data.splits
    samples = [*splits.train, *splits.test, *splits.validation]
    images = list(dict.fromkeys(sample.image for sample in samples))
    if data.reference is not None and data.reference.startswith(TABLE):
        rows = {image: row for row, image in enumerate(list_images(Path(data.reference.removeprefix(TABLE))))}
        images.sort(key=rows.__getitem__)
        return Ordered(images, relative_names(images), "the order of the table's rows")
    names = dict(zip(images, relative_names(images), strict=True))
    by_name = any(sample.label == "defect" for sample in samples)
    images.sort(key=lambda image: ([_key(image.name)] if by_name else []) + [_key(names[image])])
    return Ordered(images, [names[image] for image in images], f"the order of their {'names' if by_name else 'paths'}")


def _key(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``img2`` before ``img10``: texts, and numbers by their length first."""
    return [
        (len(digits), digits) if part[0] in "0123456789" else (-1, part)
        for part in _NUMBER.split(name)
        if part and (digits := part.lstrip("0")) is not None
    ]
