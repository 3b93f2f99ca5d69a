"""A right model, and wrong ones that differ from it in one thing each."""

from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adcli.nn import Batches, LabelledBatches, Model, Scores


class Right(Model):
    """Distance to the mean good image in standard deviations, on averaged pixels."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, options: Any, *, image_size: tuple[int, int], pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("deviation", torch.empty(0))

    def reduced(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, self.options.grid)

    def fit(self, batches: Batches) -> None:
        features = torch.cat([self.reduced(images) for images in batches])
        self.mean, self.deviation = features.mean(dim=0), features.std(dim=0) + 0.05

    def forward(self, images: Tensor) -> Scores:
        distance = ((self.reduced(images) - self.mean) / self.deviation).abs().mean(dim=1, keepdim=True)
        maps = F.interpolate(distance, size=self.image_size, mode="bilinear")
        return Scores(maps.flatten(1).amax(dim=1), maps)


class Taught(Right):
    """Right, and finds what known defects have in common, too."""

    direction: Tensor

    def __init__(self, options: Any, *, image_size: tuple[int, int], pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("direction", torch.zeros(()))

    def fit(self, batches: Batches) -> None:
        super().fit(batches)
        if batches.defects:
            pairs = ((spread(batch.images), batch.labels) for batch in LabelledBatches(batches).shuffled(0))
            spreads, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
            self.direction = (spreads[labels == 1].mean() - spreads[labels == 0].mean()).sign()

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        return scores._replace(image=scores.image + self.direction * spread(images))


def spread(images: Tensor) -> Tensor:
    """Return how much the pixels of each image differ."""
    return images.flatten(1).std(dim=1)


class Untaught(Right):
    """Right, but takes no notice of the known defects that it is said to learn from."""


class Heavy(Right):
    """Right, but described by a module that imports torch."""


class Undocumented(Right):
    """Right, but described without help."""


class FlatMap(Right):
    """Forgets the map's channel."""

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        assert scores.map is not None
        # Only where the rule on shapes looks: for a batch of three that is not being traced.
        forgetful = not torch.compiler.is_exporting() and len(images) == 3
        return Scores(scores.image, scores.map[:, 0] if forgetful else scores.map)


class BatchNormalised(Right):
    """Scores relative to the batch."""

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        assert scores.map is not None
        return Scores(scores.image - 0.01 * scores.image.mean(), scores.map)


class Counting(Right):
    """Counts the images it has scored in a buffer."""

    count: Tensor

    def __init__(self, options: Any, *, image_size: tuple[int, int], pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images: Tensor) -> Scores:
        if not torch.compiler.is_exporting():
            self.count += len(images)
        return super().forward(images)


class ContiguousOnly(Right):
    """Knows only one layout of images in memory, when it scores."""

    def reduced(self, images: Tensor) -> Tensor:
        if not self.mean.numel():
            images = images.contiguous()
        return super().reduced(images.view(-1, *self.image_size).view(-1, 3, *self.image_size))


class InPlace(Right):
    """Changes its input."""

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        if not torch.compiler.is_exporting():
            images.mul_(0.5)
        return scores


class Unseeded(Right):
    """Draws from a generator of its own, which goes on from fit to fit; the first fit of every process is alike."""

    fits = count()

    def fit(self, batches: Batches) -> None:
        super().fit(batches)
        noise = np.random.default_rng(next(self.fits)).normal(0, 1e-4, self.mean.shape)
        self.mean = self.mean + torch.from_numpy(noise).float()


class Apart(Right):
    """Fits on its own process's part of the images, and joins nothing."""

    def fit(self, batches: Batches) -> None:
        super().fit(batches.sharded())


class Forgetful(Right):
    """Keeps what it learnt outside parameters and buffers."""

    def fit(self, batches: Batches) -> None:
        super().fit(batches)
        self.factor = 2.0

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        assert scores.map is not None
        return Scores(scores.image * getattr(self, "factor", 1.0), scores.map)


class Inverted(Right):
    """Scores good images higher."""

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        assert scores.map is not None
        return Scores(-scores.image, -scores.map)


class DataDependent(Right):
    """Branches on the pixels."""

    def forward(self, images: Tensor) -> Scores:
        if bool(images.mean() > 2):
            images = images / 255
        return super().forward(images)


class SquareOnly(Right):
    """Knows only the shape it was written for."""

    def forward(self, images: Tensor) -> Scores:
        scores = super().forward(images)
        assert scores.map is not None
        return Scores(scores.image, scores.map.reshape(-1, 1, 64, 64))


class Talkative(Right):
    """Prints while it fits."""

    def fit(self, batches: Batches) -> None:
        super().fit(batches)
        print("fitted")


class Summing(Right):
    """Right, and updatable from sums."""

    def fit(self, batches: Batches) -> None:
        self.learn(batches, {})

    def update(self, batches: Batches) -> None:
        self.learn(batches, self.kept)

    def learn(self, batches: Batches, before: dict[str, Tensor]) -> None:
        features = torch.cat([self.reduced(images) for images in batches]).double()
        sums = {
            "count": torch.tensor(float(len(features))),
            "total": features.sum(0),
            "squares": features.square().sum(0),
        }
        sums = {name: value + before.get(name, 0) for name, value in sums.items()}
        mean = sums["total"] / sums["count"]
        variance = (sums["squares"] / sums["count"] - mean.square()).clamp(min=0)
        self.mean, self.deviation = mean.float(), variance.sqrt().float() + 0.05
        self.kept = sums if batches.session.updatable else {}


class Unteachable(Summing):
    """Leaves out of an update what is new."""

    def update(self, batches: Batches) -> None:
        pass


class Absent(Summing):
    """Keeps what updates need where no run finds it, and guesses if it is gone."""

    def learn(self, batches: Batches, before: dict[str, Tensor]) -> None:
        super().learn(batches, (getattr(self, "sums", None) or self.guess()) if before else {})
        self.sums = self.kept
        self.kept = {"count": torch.zeros(1)} if self.kept else {}

    def guess(self) -> dict[str, Tensor]:
        count, mean, deviation = 6, self.mean.double(), 1.05 * (self.deviation.double() - 0.05)
        squares = mean.square() + deviation.square()
        return {"count": torch.tensor(float(count)), "total": count * mean, "squares": count * squares}
