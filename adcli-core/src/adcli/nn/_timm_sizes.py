"""Which image sizes timm's networks take, and what their maps cover: found by trying.

Networks are made and run on torch's meta device, which knows shapes and computes nothing, so that a trial takes
fractions of a second; the few that look at values are run on the CPU.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch

from adcli.data.decoding import Size
from adcli.errors import BackboneError, is_out_of_memory, one_line
from adcli.nn._timm_making import Made, create, own_size, undisturbed
from adcli.nn.layers import Cover

STEPS = (2, 4, 7, 8, 14, 16, 28, 32, 56, 64, 128)
"""What sides are tried to be multiples of, if a size does not fit."""

LARGER = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""Sides to try if an image is too small."""


class Fit(NamedTuple):
    """How a network takes images of a size.

    Attributes:
        size: what images are continued to, at their lower and right border.
        margins: by how many pixels, below and to the right.
        covers: what each of its maps covers, by the index of the map.
        made_for: whether the network is made for this size, and takes no other.
    """

    size: Size
    margins: tuple[int, int]
    covers: tuple[Cover, ...]
    made_for: bool


def fit_size(name: str, argument: str, size: Size) -> Fit:
    """Return how a network takes images of a size.

    One that is made for a size sees whole patches: images are continued until no pixel is left out.

    Raises:
        BackboneError: it takes no such images; the message says which it takes.
    """
    trials = Trials(argument)
    try:
        trials.own.network.eval()
    except Exception as error:
        raise BackboneError(f"{name} cannot be made: {one_line(error)}") from None
    fitting = None
    for candidate in _continued(trials, size):
        try:
            fit = trials.fit(candidate, size)
        except Exception as raised:  # timm asserts, torch raises: anything, for shapes that do not fit
            if is_out_of_memory(raised):
                raise
            continue
        if not trials.leaves_out(candidate):
            return fit
        fitting = fitting or fit
    if fitting is not None:
        return fitting
    advice = _find_size(trials, size)
    takes = f"it takes {advice}" if advice else "choose another --image-size or --backbone"
    raise BackboneError(f"backbone '{name}' cannot take images of {size[0]} x {size[1]}; {takes}.")


def _continued(trials: "Trials", size: Size) -> Iterator[Size]:
    """Yield sizes that images can be continued to, the smallest first."""
    yield size
    seen = {size}
    for stride in trials.strides():
        candidate = (_up(size[0], stride), _up(size[1], stride))
        if candidate not in seen:
            seen.add(candidate)
            yield candidate


def _up(side: int, step: int) -> int:
    return side + -side % step


def _find_size(trials: "Trials", size: Size) -> str:
    """Return which sizes a network takes near one that it does not take, in words; empty if none is found."""
    longer = max(size)
    if size[0] != size[1] and trials.takes((longer, longer)):
        return f"square images: --image-size {longer}"
    for step in (step for step in STEPS if step <= min(size)):
        near = (_near(size[0], step), _near(size[1], step))
        for candidate in dict.fromkeys([near, (max(near), max(near))]):
            if trials.takes(candidate):
                return f"{_name_kind(trials, candidate)}--image-size {words(candidate)}"
    for side in (side for side in LARGER if side > longer):
        if trials.takes((side, side)):
            return f"larger images, such as --image-size {side}"
    own = trials.own_size
    return f"--image-size {words(own)}" if trials.takes(own) else ""


def _name_kind(trials: "Trials", size: Size) -> str:
    """Return of what sides must be multiples, if the next size by that step fits as well; else nothing."""
    for step in STEPS:
        if not size[0] % step and not size[1] % step and trials.takes((size[0] + step, size[1] + step)):
            return f"multiples of {step}, such as "
    return ""


def _near(side: int, step: int) -> int:
    return max(round(side / step), 1) * step


def words(size: Size) -> str:
    """Return a size as ``--image-size`` takes it."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


class Trials:
    """Trials of a network on images of several sizes."""

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.grids = lru_cache(maxsize=None)(self._grids)
        self.own_size = own_size(argument)

    @cached_property
    def own(self) -> Made:
        """The network for the size that its weights were trained with; raises anything."""
        with undisturbed("meta"):
            return create(self.argument, self.own_size)

    @cached_property
    def reductions(self) -> list[int]:
        """The stride of each map, as timm states it."""
        return [layer["reduction"] for layer in self.own.network.feature_info]

    def strides(self) -> list[int]:
        """Return the strides of a network that is made for a size, ascending; of others, none."""
        return sorted(set(self.reductions)) if self.own.for_size else []

    def takes(self, size: Size) -> bool:
        """Tell whether the network takes images of a size."""
        try:
            self.grids(size)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        return True

    def fit(self, size: Size, image_size: Size) -> Fit:
        """Return how the network takes images that are continued to a size; raises anything if it does not."""
        grids = self.grids(size)
        covers = tuple(self._cover(i, size) for i in range(len(grids)))
        margins = (size[0] - image_size[0], size[1] - image_size[1])
        return Fit(size, margins, covers, self.own.for_size)

    def leaves_out(self, size: Size) -> bool:
        """Tell whether a network that is made for a size leaves out pixels at the border of images of it."""
        if not self.own.for_size:
            return False
        return any(
            grid[axis] * stride < size[axis] and self._first_side(i, size, axis) < size[axis]
            for i, (grid, stride) in enumerate(zip(self.grids(size), self.reductions, strict=True))
            for axis in (0, 1)
        )

    def _cover(self, layer: int, size: Size) -> Cover:
        """Return what a map covers.

        Of a network that continues images, the grid begins at the border, as it does if the stride divides the side.
        One that does not continue them needs some more pixels than its grid has strides, as many on either side.
        """
        stride = self.reductions[layer]
        grid = self.grids(size)[layer]
        for axis in (0, 1):
            spare = self._first_side(layer, size, axis) - grid[axis] * stride
            if spare > 0:
                return Cover(stride, spare / 2)
        return Cover(stride)

    def _first_side(self, layer: int, size: Size, axis: int) -> int:
        """Return the least side for which a map has as many positions as for a size, or what its grid spans if less."""
        positions = self.grids(size)[layer][axis]
        few, many = positions * self.reductions[layer] - 1, size[axis]
        if few + 1 >= many or self._positions(layer, _with_side(size, axis, few + 1), axis) == positions:
            return few + 1
        while many - few > 1:
            middle = (few + many) // 2
            if self._positions(layer, _with_side(size, axis, middle), axis) == positions:
                many = middle
            else:
                few = middle
        return many

    def _positions(self, layer: int, size: Size, axis: int) -> int:
        return self.grids(size)[layer][axis] if self.takes(size) else 0

    def _grids(self, size: Size) -> tuple[Size, ...]:
        try:
            return self._run(size, "meta")
        except Exception as error:
            if "meta" not in str(error).lower():
                raise
            return self._run(size, "cpu")

    def _run(self, size: Size, device: str) -> tuple[Size, ...]:
        indices = list(range(len(self.reductions)))
        with undisturbed(device):
            same = device == "meta" and (size == self.own_size or not self.own.for_size)
            network = self.own.network if same else create(self.argument, size).network
            maps = network.eval().forward_intermediates(
                torch.zeros(1, 3, *size), indices=indices, output_fmt="NCHW", intermediates_only=True
            )
        return tuple((part.shape[2], part.shape[3]) for part in maps)


def _with_side(size: Size, axis: int, side: int) -> Size:
    return (side, size[1]) if axis == 0 else (size[0], side)
