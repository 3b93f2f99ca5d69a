"""Batches of good images for :meth:`adcli.nn.model.Model.fit`."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adcli.data.decoding import Pixels, Size
from adcli.data.samples import Sample
from adcli.data.source import ImageSource, Item, in_batches
from adcli.nn import distributed
from adcli.progress import Progress, Silent
from adcli.scoring.runtime import ImageBatch

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images (N, 3, H, W) in [0, 1] to images of the same shape, drawing its randomness from the generator."""

Shared = TypeVar("Shared", list[Item], NDArray[np.intp])


@dataclass(frozen=True)
class Session:
    """What the core provides to a fit and no model handles itself.

    Attributes:
        progress: where progress and notes go.
        device: the device that batches are put on.
        precision: the type that the backbone and the training step compute in; float32 unless the user asked.
        checkpoints: folder for :func:`adcli.nn.training.optimise` to save to and resume from, or None.
        updatable: whether the model is to keep what :meth:`adcli.nn.model.Model.update` needs.
        patience: after how many epochs without progress :func:`adcli.nn.training.optimise` is to stop; 0 for never.
        stopped: after how many epochs it did, and those of the weights: ``trained`` and ``kept``; empty if it did not.
    """

    progress: Progress = field(default_factory=Silent)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    checkpoints: Path | None = None
    updatable: bool = False
    patience: int = 0
    stopped: dict[str, int] = field(default_factory=dict)


class Batches:
    """Good images to fit on: as many ordered passes and seeded, shuffled epochs as a model wants.

    Iterating gives tensors (N, 3, H, W), float32, RGB in [0, 1]; every image once, in order, the last batch may be
    smaller. Nothing is held but the image source's cache. With tiles or zones, an image is a part of a photograph.

    Under torchrun, every process gets all images, so that a model that knows nothing of several processes fits as in
    one, and no faster. :meth:`sharded` gives each process its part.

    Attributes:
        defects: known defects, with masks or without, if the model's spec says that it learns from them; none of them
            is among the images. :class:`adcli.nn.labelled.LabelledBatches` has both.
    """

    def __init__(
        self,
        items: Sequence[Item],
        source: ImageSource,
        *,
        batch_size: int = 16,
        seed: int = 0,
        session: Session | None = None,
        part: tuple[int, int] = (0, 1),
        defects: Sequence[Sample] = (),
    ) -> None:
        self.defects = defects
        self.items = [part for item in items for part in source.parts(item)]
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.session = session or Session()
        self.part = part

    @property
    def count(self) -> int:
        """Number of images, in all processes."""
        return len(self.items)

    @property
    def photographs(self) -> int:
        """Number of photographs that the images are, or are parts of, in all processes."""
        return len(self._bounds) - 1

    @property
    def image_size(self) -> Size:
        """Height and width of every batch."""
        return self.source.size

    def __len__(self) -> int:
        """Return the number of batches in one pass; of several parts, that of the largest."""
        return math.ceil(len(self.items) / (self.batch_size * self.part[1]))

    def __iter__(self) -> Iterator[Tensor]:
        return self.session.progress.track(self._batches(share(self.items, self.part)), len(self), "reading images")

    def sharded(self) -> "Batches":
        """Return this process's part of the images; ``count`` stays the number of all. In a single process, all images.

        An ordered pass gives each process successive images: joined in the order of the processes
        (:func:`adcli.nn.distributed.gather`), they are all images in order. A shuffled epoch has equally many batches
        in each process: a step takes ``batch_size`` images for each of N processes and shares them out, so that the
        last batch may be smaller, or empty.
        """
        return self._like(self.items, (distributed.rank(), distributed.world_size()))

    def order(self, epoch: int) -> Iterator[NDArray[np.intp]]:
        """Yield the indices of the images of each batch of a shuffled epoch.

        Of more photographs than can be held, the parts of some are shuffled, and then those of others.
        """
        random = np.random.default_rng([self.seed, epoch])
        if self.photographs == len(self.items) or self.photographs <= self.source.photographs_at_once:
            order = random.permutation(len(self.items))
        else:
            order = np.concatenate(list(self._shuffle_some(random)))
        step = self.batch_size * self.part[1]
        for start in range(0, len(order), step):
            yield share(order[start : start + step], self.part)

    @cached_property
    def _bounds(self) -> NDArray[np.intp]:
        """Where the images of each photograph begin, and the end of the last one's."""
        photographs = [object() if item.part is None else item.path for item in self.items]
        begins = [i for i, one in enumerate(photographs) if i == 0 or one != photographs[i - 1]]
        return np.array([*begins, len(photographs)], np.intp)

    def _shuffle_some(self, random: np.random.Generator) -> Iterator[NDArray[np.intp]]:
        """Yield the indices of the parts of all photographs, those of as many as can be held at a time."""
        photographs, at_once = random.permutation(self.photographs), self.source.photographs_at_once
        for start in range(0, len(photographs), at_once):
            some = photographs[start : start + at_once]
            yield random.permutation(
                np.concatenate([np.arange(self._bounds[one], self._bounds[one + 1]) for one in some])
            )

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[Tensor]:
        """Yield every image once in an order drawn from the seed and the epoch alone.

        So an epoch can be repeated after an interruption without replaying the ones before it.
        """
        index, of = self.part
        # Each process augments images of its own.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + index * 500_009)
        missing = len(self) if of > 1 else 0
        for images in self._batches([self.items[i] for chosen in self.order(epoch) for i in chosen]):
            missing -= 1
            yield images if augment is None else augment(images, generator)
        for _ in range(missing):
            yield torch.empty(0, 3, *self.image_size, device=self.session.device)

    def split(self, share: float) -> tuple["Batches", "Batches"]:
        """Return two parts that share no photograph: the larger rest, and a seeded ``share`` (at least one of each).

        The first has the known defects.
        """
        count = self.photographs
        held_out = min(max(round(share * count), 1), count - 1)
        chosen = set(np.random.default_rng([self.seed, 0x5B117]).permutation(count)[:held_out].tolist())
        of = np.repeat(np.arange(count), np.diff(self._bounds))
        rest = [item for i, item in zip(of, self.items, strict=True) if i not in chosen]
        part = [item for i, item in zip(of, self.items, strict=True) if i in chosen]
        smaller = self._like(part, self.part)
        smaller.defects = ()
        return self._like(rest, self.part), smaller

    def _like(self, items: Sequence[Item], part: tuple[int, int]) -> "Batches":
        return Batches(
            items,
            self.source,
            batch_size=self.batch_size,
            seed=self.seed,
            session=self.session,
            part=part,
            defects=self.defects,
        )

    def _batches(self, items: Iterable[Item]) -> Iterator[Tensor]:
        batches = in_batches(self.source.stream_parts(items), self.batch_size)
        return upload(([image.pixels for _, image in batch] for batch in batches), self.session.device)


def share(items: Shared, part: tuple[int, int]) -> Shared:
    """Return one of several parts of a sequence: successive items, in numbers that differ by one at most."""
    index, of = part
    return items[-(-index * len(items) // of) : -(-(index + 1) * len(items) // of)]


def to_tensor(images: ImageBatch, device: torch.device | str = "cpu") -> Tensor:
    """Return images (N, H, W, 3), uint8, as a tensor (N, 3, H, W), float32 in [0, 1], laid out channels-last."""
    # torch warns of arrays that must not be written to.
    pixels = torch.from_numpy(np.require(images, requirements="W"))
    if torch.device(device).type == "cuda":
        # From other memory, a copy would wait until the device has nothing left to do.
        pixels = pixels.pin_memory()
    return scale(pixels.to(device, non_blocking=True))


def upload(batches: Iterator[list[Pixels]], device: torch.device) -> Iterator[Tensor]:
    """Yield batches of images (H, W, 3), uint8, as :func:`to_tensor` gives them.

    For a GPU, a thread gathers and copies the next batch while the device computes with the last one.
    """
    if device.type != "cuda":
        yield from (to_tensor(np.stack(images), device) for images in batches)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def copy_next() -> Tensor | None:
        images = next(batches, None)
        if images is None:
            return None
        with torch.cuda.stream(stream):
            return pin(images).to(device, non_blocking=True)

    with ThreadPoolExecutor(1) as copier:
        following = copier.submit(copy_next)
        while (copied := following.result()) is not None:
            # The device, not this process, waits for the copy.
            torch.cuda.current_stream(device).wait_stream(stream)
            following = copier.submit(copy_next)
            copied.record_stream(torch.cuda.current_stream(device))
            yield scale(copied)


def pin(images: Sequence[Pixels]) -> Tensor:
    """Stack images (H, W, 3) in memory that a GPU reads by itself, (N, H, W, 3)."""
    pinned = torch.empty(len(images), *images[0].shape, dtype=torch.uint8, pin_memory=True)
    np.stack(images, out=pinned.numpy())
    return pinned


def scale(images: Tensor) -> Tensor:
    """Return images (N, H, W, 3), uint8, as (N, 3, H, W), float32 in [0, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(255)
