"""What the headers of images and masks tell, before hours are spent on a training that would end at one of them.

Nothing is decoded: thousands of files take seconds. What only decoding shows is not found here.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from adcli.data.ahead import load_all
from adcli.data.decoding import Size, read_header, read_mask_size
from adcli.data.framing import Framing
from adcli.data.samples import Sample, have_same_aspect
from adcli.data.splitting import READERS
from adcli.errors import DataError


class Problem(NamedTuple):
    """Why a sample cannot be used; ``message`` is one line that names the file."""

    sample: Sample
    message: str


def check_headers(samples: Sequence[Sample], framing: Framing) -> Iterator[Problem | None]:
    """Yield, for each sample in order, what the headers of its image and of its mask tell to be wrong.

    Args:
        samples: with their masks.
        framing: what the images have to suit.
    """
    suits = cache(lambda size: _misfit(framing, size, "") is None)

    def look(sample: Sample) -> str | None:
        return _find_problem(sample, lambda size: None if suits(size) else _misfit(framing, size, sample.image))

    for sample, message in zip(samples, load_all(samples, look, READERS), strict=True):
        yield None if message is None else Problem(sample, message)


def compare_shapes(sample: Sample, mask: Size, image: Size) -> str | None:
    """Return that the mask of a sample has another shape than its image, or None; sizes are (height, width)."""
    if have_same_aspect(mask, image):
        return None
    return f"{sample.mask}: {mask[1]} x {mask[0]} pixels, a different shape from {sample.image}."


def _misfit(framing: Framing, size: Size, name: Path | str) -> str | None:
    try:
        framing.check(size, name)
    except DataError as error:
        return error.message
    return None


def _find_problem(sample: Sample, misfit: Callable[[Size], str | None]) -> str | None:
    try:
        # A file that seems to be wrong is worth decoding, to be sure of its orientation.
        return _compare(sample, misfit, thorough=False) and _compare(sample, misfit, thorough=True)
    except DataError as error:
        return error.message


def _compare(sample: Sample, misfit: Callable[[Size], str | None], *, thorough: bool) -> str | None:
    size = read_header(sample.image, thorough=thorough).size
    if sample.mask is None:
        return misfit(size)
    return misfit(size) or compare_shapes(sample, read_mask_size(sample.mask, thorough=thorough), size)
