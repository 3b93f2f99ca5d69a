"""Feature maps of a network that training does not change: computed once, as far as memory allows."""

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adcli.errors import DataError
from adcli.nn.batches import Augmentation, Batches, Session
from adcli.nn.devices import memory_share

Network = Callable[[Tensor], Sequence[Tensor]]
"""Maps images (N, 3, H, W) to feature maps of N rows each; a frozen :class:`adcli.nn.backbones.Backbone` does."""


class FrozenFeatures:
    """Good images as a frozen network's feature maps, to train on with :func:`adcli.nn.training.optimise`.

    A batch is the list of its maps, (N, C, h, w) each, channels-last as the backbone's. When this is made, the maps of
    the first images are computed, of as many as fit into memory; those of the others are computed in every epoch. How
    many are kept depends on nothing but the bound, so that an interrupted training continues to the same result.

    Args:
        network: what computes the maps, in evaluation mode; no gradients reach it.
        batches: the images.
        memory: bytes that the kept maps may take, on the device where they are computed; a GPU gives a quarter of its
            memory, if that is more. With 0, none are kept.
        with_images: let every batch begin with the images themselves, (N, 3, H, W).

    Attributes:
        kept: number of images whose maps are kept.

    Raises:
        DataError: an image cannot be read any more.
    """

    def __init__(self, network: Network, batches: Batches, memory: int, *, with_images: bool = False) -> None:
        self._network, self._batches, self._with_images = network, batches, with_images
        blank = self._compute(torch.zeros(1, 3, *batches.image_size, device=batches.session.device))
        if memory > 0:
            memory = max(memory, memory_share(batches.session.device, 0.25, memory))
        self.kept = min(max(memory, 0) // sum(part.nbytes for part in blank), batches.count)
        self._maps = [_make_room(part, self.kept) for part in blank]
        self._rows = np.arange(batches.count)
        """Of each image, the row of its maps; there is none from the number of rows on."""
        if self.kept:
            self._fill()

    @property
    def session(self) -> Session:
        """What the core provides."""
        return self._batches.session

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._batches)

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[list[Tensor]]:
        """Yield the maps of all images, in the order in which :meth:`Batches.shuffled` yields the images.

        Raises:
            ValueError: the images are to be augmented, so that their features cannot be kept.
            DataError: an image cannot be read any more.
        """
        if augment is not None:
            raise ValueError("features of augmented images cannot be kept; train on the images themselves")
        orders = (self._rows[numbers] for numbers in self._batches.order(epoch))
        if self.kept == self._batches.count and not self._with_images:
            yield from map(self._look_up, orders)
            return
        stream = self._batches.shuffled(epoch)
        for rows in orders:
            images = next(stream, torch.empty(0))
            self._check(len(images), len(rows))
            maps = self._maps_of(rows, images)
            yield [images, *maps] if self._with_images else maps

    def split(self, share: float) -> tuple["FrozenFeatures", "FrozenFeatures"]:
        """Return two parts that share no photograph, as :meth:`Batches.split` does; the maps stay where they are."""
        first, second = (self._part(part) for part in self._batches.split(share))
        return first, second

    def _part(self, batches: Batches) -> "FrozenFeatures":
        rows = dict(zip(self._batches.items, self._rows, strict=True))
        part = copy.copy(self)
        part._batches = batches
        part._rows = np.array([rows[item] for item in batches.items], np.intp)
        part.kept = int((part._rows < len(self._maps[0])).sum())
        return part

    def sharded(self) -> "FrozenFeatures":
        """Return this process's part of each epoch; all processes keep the maps of the same images."""
        part = copy.copy(self)
        part._batches = self._batches.sharded()
        return part

    def _fill(self) -> None:
        """Compute the maps of the first images, in place: joining batches would take twice the memory."""
        first = Batches(
            self._batches.items[: self.kept],
            self._batches.source,
            batch_size=self._batches.batch_size,
            session=self._batches.session,
        )
        done = 0
        for images in first:
            for kept, part in zip(self._maps, self._compute(images), strict=True):
                kept[done : done + len(images)] = part
            done += len(images)
        self._check(done, self.kept)

    def _maps_of(self, rows: NDArray[np.intp], images: Tensor) -> list[Tensor]:
        """Return the maps of some images; those that are not kept are computed."""
        is_new = rows >= len(self._maps[0])
        new, old = np.flatnonzero(is_new), np.flatnonzero(~is_new)
        if len(new) == 0:
            return self._look_up(rows)
        if len(old) == 0:
            return self._compute(images)
        joined = []
        computed = self._compute(images[_index(new, images)])
        for kept, part in zip(self._look_up(rows[old]), computed, strict=True):
            both = _make_room(part, len(rows))
            both[_index(old, both)] = kept
            both[_index(new, both)] = part
            joined.append(both)
        return joined

    def _look_up(self, rows: NDArray[np.intp]) -> list[Tensor]:
        return [part[_index(rows, part)] for part in self._maps]

    # Not in inference mode: its tensors cannot be saved for the backward pass of what is trained on them.
    @torch.no_grad()
    def _compute(self, images: Tensor) -> list[Tensor]:
        return list(self._network(images))

    def _check(self, found: int, expected: int) -> None:
        """Compare numbers of images: if one were skipped, maps would be paired with the wrong images."""
        if found != expected:
            skipped = list(self._batches.source.skipped.values())
            raise DataError(f"an image cannot be read any more ({skipped[-1] if skipped else 'unknown'}); train again.")


def _make_room(like: Tensor, count: int) -> Tensor:
    """Return room for the maps of a number of images, channels-last."""
    layout = torch.channels_last if like.ndim == 4 else torch.contiguous_format
    return torch.empty(count, *like.shape[1:], dtype=like.dtype, device=like.device, memory_format=layout)


def _index(numbers: NDArray[np.intp], where: Tensor) -> Tensor:
    # A GPU's copy waits until the numbers are read, but not for what it computes.
    return torch.from_numpy(numbers).to(where.device, non_blocking=True)
