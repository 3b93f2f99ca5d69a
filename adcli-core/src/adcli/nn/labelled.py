"""Batches of good images and known defects, with masks and labels, for models that learn from defects."""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import tee
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adcli.data.decoding import Size, read_mask
from adcli.data.samples import Sample
from adcli.data.source import Decoded, Item, in_batches
from adcli.errors import DataError, OptionError
from adcli.nn.batches import Augmentation, Batches, Session, share, upload

KEPT_BYTES = 64 << 20
"""What masks take in memory at most; the others are read each time."""

_DECK = 0xDEC4
"""What is drawn, so that draws of one seed have nothing to do with each other."""


class LabelledBatch(NamedTuple):
    """Images, and what is known of them.

    Attributes:
        images: (N, 3, H, W), float32, RGB in [0, 1].
        masks: share of each pixel that is defective, (N, 1, H, W); 0 of good images, NaN of defects without a mask.
        labels: 1 of a defect, 0 of a good image, (N,), float32.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor


class LabelledBatches:
    """Known defects beside as many good images, to train on with :func:`adcli.nn.training.optimise`.

    An epoch has each defect as often as ``repeat`` says, and as many good images; of these, all are used before one is
    used again. Both are mixed in an order that depends on nothing but the seed and the number of the epoch.

    With tiles or zones, an image is a part of a photograph, and a defect is a part that its mask marks; the other parts
    of a photograph with a defect are not learnt from.

    Args:
        batches: the good images and the known defects.
        repeat: how often an epoch has each defect.

    Raises:
        DataError: a mask cannot be read, or no defect lies in what is looked at.
    """

    def __init__(self, batches: Batches, repeat: int = 1) -> None:
        self._batches = batches
        self._repeat = repeat
        self._samples = {sample.image: sample for sample in batches.defects}
        self._kept: dict[Item, NDArray[np.uint8]] = {}
        self._room = KEPT_BYTES
        self._defects = [part for sample in batches.defects for part in self._find_parts(sample)]
        if not self._defects:
            raise DataError(
                f"none of the {len(batches.defects)} known defects lies in what is looked at, such as that of "
                f"{batches.defects[0].image}."
            )

    @property
    def session(self) -> Session:
        """What the core provides."""
        return self._batches.session

    @property
    def image_size(self) -> Size:
        """Height and width of every batch."""
        return self._batches.image_size

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(2 * self._repeat * len(self._defects) / self._step)

    @property
    def _step(self) -> int:
        return self._batches.batch_size * self._batches.part[1]

    def split(self, share: float) -> tuple["LabelledBatches", "LabelledBatches"]:
        """Refuse to hold images out, since a few known defects leave none to spare.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "holds images out, and known defects are too few for that; leave it out, and lower -o epochs=.",
            option="--patience",
        )

    def sharded(self) -> "LabelledBatches":
        """Return this process's part of each epoch."""
        part = copy.copy(self)
        part._batches = self._batches.sharded()
        return part

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[LabelledBatch]:
        """Yield the batches of an epoch.

        Args:
            epoch: its number, from 0.
            augment: is given images and masks together, (N, 4, H, W), so that it moves both alike.
        """
        index, of = self._batches.part
        generator = torch.Generator().manual_seed(self._batches.seed * 1_000_003 + epoch + index * 500_009)
        missing = len(self) if of > 1 else 0
        for batch in self._read(self._draw(epoch)):
            missing -= 1
            yield batch if augment is None else _augmented(batch, augment, generator)
        for _ in range(missing):
            images = torch.empty(0, 3, *self.image_size, device=self.session.device)
            yield LabelledBatch(images, images[:, :1], images[:, 0, 0, 0])

    def _draw(self, epoch: int) -> list[Item]:
        """Return what this process reads of an epoch, in order."""
        count = self._repeat * len(self._defects)
        good = self._batches.items
        deck = _deal(len(good), epoch * count, count, self._batches.seed)
        drawn = [*self._defects * self._repeat, *(good[i] for i in deck)]
        order = np.random.default_rng([self._batches.seed, epoch]).permutation(len(drawn))
        chunks = (order[start : start + self._step] for start in range(0, len(order), self._step))
        return [drawn[i] for chunk in chunks for i in share(chunk, self._batches.part)]

    def _read(self, items: Sequence[Item]) -> Iterator[LabelledBatch]:
        device, source = self.session.device, self._batches.source
        first, second = tee(in_batches(source.stream_parts(items), self._batches.batch_size))
        uploaded = upload(([image.pixels for _, image in batch] for batch in first), device)
        for images, batch in zip(uploaded, second, strict=True):
            masks = torch.from_numpy(np.stack([self._mask_of(*read) for read in batch])[:, None])
            labels = torch.tensor([float(item.path in self._samples) for item, _ in batch])
            yield LabelledBatch(images, masks.to(device), labels.to(device))

    def _mask_of(self, item: Item, image: Decoded) -> NDArray[np.float32]:
        """Return the share of each pixel that is defective, (H, W)."""
        sample = self._samples.get(item.path)
        if sample is None or sample.mask is None:
            return np.full(self.image_size, 0.0 if sample is None else np.nan, np.float32)
        kept = self._kept.get(item)
        if kept is None:
            kept = self._cut(self._read_sheet(sample, image.original_size), item.part)
        return kept.astype(np.float32) / np.float32(255)

    def _find_parts(self, sample: Sample) -> Iterator[Item]:
        """Yield the parts of a photograph that show its defect; keeps their masks, as far as there is room."""
        source = self._batches.source
        parts = source.parts(Item(sample.image))
        if sample.mask is None:
            yield from parts
            return
        sheet = self._read_sheet(sample, source.read(parts[0]).original_size)
        for item in parts:
            mask = self._cut(sheet, item.part)
            if not mask.any():
                continue
            if mask.nbytes <= self._room:
                self._room -= mask.nbytes
                self._kept[item] = mask
            yield item

    def _read_sheet(self, sample: Sample, original: Size) -> NDArray[np.uint8]:
        assert sample.mask is not None
        source = self._batches.source
        return source.framing.fitted_mask(read_mask(sample.mask), original, source.size, sample.image)

    def _cut(self, sheet: NDArray[np.uint8], part: int | None) -> NDArray[np.uint8]:
        if part is None:
            return sheet
        source = self._batches.source
        # A view would keep the whole sheet.
        return source.framing.cut_part(sheet, source.size, part).copy()


def _augmented(batch: LabelledBatch, augment: Augmentation, generator: torch.Generator) -> LabelledBatch:
    joined = augment(torch.cat([batch.images, batch.masks], dim=1), generator)
    return LabelledBatch(joined[:, :3], joined[:, 3:], batch.labels)


def _deal(size: int, start: int, count: int, seed: int) -> NDArray[np.intp]:
    """Return the numbers at some places of an endless deck, in which every ``size`` numbers are each below it once."""
    rounds = range(start // size, (start + count - 1) // size + 1)
    deck = [np.random.default_rng([seed, _DECK, one]).permutation(size) for one in rounds]
    return np.concatenate(deck)[start - rounds.start * size :][:count]
