"""Batches of good images for :meth:`adcli.model.Model.fit`."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adcli.data.decoding import Pixels, Size
from adcli.data.images import ImageSource
from adcli.progress import Progress, Silent

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images (N, 3, H, W) in [0, 1] to images of the same shape, drawing its randomness from the generator."""


@dataclass(frozen=True)
class Session:
    """What the core provides to a fit and no model handles itself.

    Attributes:
        progress: where progress and notes go.
        device: the device that batches are put on.
        precision: the type that the backbone and the training step compute in; float32 unless the user asked.
        checkpoints: folder for :func:`adcli.training.optimise` to save to and resume from, or None.
    """

    progress: Progress = field(default_factory=Silent)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    checkpoints: Path | None = None


class Batches:
    """Good images to fit on: as many ordered passes and seeded, shuffled epochs as a model wants.

    Iterating gives tensors (N, 3, H, W), float32, RGB in [0, 1]; every image once, in order, the last batch may be
    smaller. Nothing is held but the image source's cache.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        source: ImageSource,
        *,
        batch_size: int = 16,
        seed: int = 0,
        session: Session | None = None,
    ) -> None:
        self.paths = list(paths)
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.session = session or Session()

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def image_size(self) -> Size:
        """Height and width of every batch."""
        return self.source.size

    def __len__(self) -> int:
        """Return the number of batches in one pass."""
        return math.ceil(len(self.paths) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        return self.session.progress.track(self._batches(self.paths), len(self), "reading images")

    def shuffled(self, epoch: int, *, augment: Augmentation | None = None) -> Iterator[Tensor]:
        """Yield every image once in an order drawn from the seed and the epoch alone.

        So an epoch can be repeated after an interruption without replaying the ones before it.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.paths))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        for images in self._batches([self.paths[i] for i in order]):
            yield images if augment is None else augment(images, generator)

    def split(self, share: float) -> tuple["Batches", "Batches"]:
        """Return two disjoint parts: the larger rest, and a seeded ``share`` of the images (at least one of each)."""
        held_out = min(max(round(share * self.count), 1), self.count - 1)
        chosen = set(np.random.default_rng([self.seed, 0x5B117]).permutation(self.count)[:held_out].tolist())
        rest = [path for i, path in enumerate(self.paths) if i not in chosen]
        part = [path for i, path in enumerate(self.paths) if i in chosen]
        return self._like(rest), self._like(part)

    def _like(self, paths: Sequence[Path]) -> "Batches":
        return Batches(paths, self.source, batch_size=self.batch_size, seed=self.seed, session=self.session)

    def _batches(self, paths: Iterable[Path]) -> Iterator[Tensor]:
        gathered: list[Pixels] = []
        for _, image in self.source.stream(paths, ahead=2 * self.batch_size):
            gathered.append(image.pixels)
            if len(gathered) == self.batch_size:
                yield to_tensor(gathered, self.session.device)
                gathered = []
        if gathered:
            yield to_tensor(gathered, self.session.device)


def to_tensor(images: Sequence[Pixels], device: torch.device | str = "cpu") -> Tensor:
    """Return images (H, W, 3), uint8, as one tensor (N, 3, H, W), float32 in [0, 1], laid out channels-last."""
    stacked = torch.from_numpy(np.stack(images)).to(device)
    return stacked.permute(0, 3, 1, 2).float().div_(255)
