"""PaDiM: the distribution of good patches at every position is a Gaussian; a patch's score its distance to it.

Defard et al., PaDiM, ICPR 2020, arXiv 2011.08785. There is no official code. On what the paper leaves open, this
follows the implementation that reproduces its figures: coarser maps are repeated on the finest grid, distances are
interpolated and blurred, and the image score is the largest value of the map. Three things are our own:

- the map is never stretched to its range over the test images, which would make scores depend on one another;
- no embedding is stored: means and covariances are sums over the images, in float64, so that memory depends on the
  size of the maps alone;
- what repetition would repeat is computed once (:mod:`adcli_padim.gaussians`).

A position is compared with itself, so objects must stand in the same place in every image.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adcli import TrainingError
from adcli.data import Size
from adcli.nn import (
    Batches,
    Cover,
    Model,
    Scores,
    create_backbone,
    principal_directions,
    to_float64,
    upsample_and_blur,
)
from adcli_padim import PadimOptions
from adcli_padim.gaussians import Moments, NestedGaussians


class Reduction(nn.Module):
    """Reduces the C channels of a map to D, by the buffer ``directions``, (C, D)."""

    directions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("directions", torch.empty(0, 0))

    def forward(self, maps: Tensor) -> Tensor:
        """Reduce maps (N, C, h, w) to (N, D, h, w)."""
        # A convolution needs no copy of channels-last maps.
        return F.conv2d(maps, self.directions.T[:, :, None, None])


class Padim(Model):
    """PaDiM; see the module for the choices made.

    Attributes:
        reductions: of the channels of each of the backbone's maps.
        gaussians: of the reduced maps.
    """

    def __init__(self, options: PadimOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.backbone = create_backbone(options, image_size=image_size, pretrained=pretrained)
        self.reductions = nn.ModuleList(Reduction() for _ in self.backbone.channels)
        self.gaussians = NestedGaussians(len(self.reductions))

    def embed(self, images: Tensor) -> list[Tensor]:
        """Return the reduced maps of images (N, 3, H, W), (N, D_i, h_i, w_i), the coarsest first.

        Principal directions take channels of all maps: each map contributes a summand, and the result is one map.
        """
        maps: list[Tensor] = []
        for part, reduction in zip(self.backbone(images), self.reductions, strict=True):
            assert isinstance(reduction, Reduction)
            if reduction.directions.shape[1]:
                maps.append(reduction(part))
        return [_add_up(maps)] if self.options.reduction == "pca" else maps[::-1]

    def fit(self, batches: Batches) -> None:
        """Estimate mean and covariance at every position (paper, Eq. 1)."""
        if batches.count < 2:
            raise TrainingError(f"PaDiM needs at least 2 good images to fit on, there are {batches.count}.")
        self.backbone.equalise(batches)
        self._set_directions(self._choose_directions(batches))
        self._learn(Moments(), 0, batches)

    def update(self, batches: Batches) -> None:
        """Add to the sums; channels or principal directions stay those of the fit."""
        place = to_float64(self.backbone.mean).device
        moments = Moments.restore({name: tensor.to(place) for name, tensor in self.kept.items()})
        self._learn(moments, int(self.kept["count"]), batches)

    def _learn(self, moments: Moments, count: int, batches: Batches) -> None:
        """Add images to the sums over ``count`` others, and estimate the Gaussians."""
        for images in batches.sharded():
            moments.add(self.embed(images))
        moments.reduce()
        count += batches.count
        self.gaussians.estimate(moments, count, self.options.regularisation)
        if batches.session.updatable:
            self.kept = {"count": torch.tensor([count]), **moments.store()}

    def _set_directions(self, directions: Tensor) -> None:
        """Give each map its rows of a matrix (C, D), and of random channels only the columns that lie in it."""
        parts = torch.split(directions, list(self.backbone.channels))
        for reduction, rows in zip(self.reductions, parts, strict=True):
            used = rows.any(dim=0) if self.options.reduction == "random" else slice(None)
            reduction.directions = rows[:, used].contiguous()

    def _choose_directions(self, batches: Batches) -> Tensor:
        """Return the channels or principal directions that are kept, as a matrix (C, D)."""
        channels = sum(self.backbone.channels)
        count = min(self.options.dimensions, channels)
        device = batches.session.device
        if self.options.reduction == "random":
            return torch.eye(channels)[:, torch.randperm(channels)[:count]].to(device)
        return principal_directions(self._positions(batches.sharded()), count, sharded=True)

    def _positions(self, batches: Batches) -> Iterator[Tensor]:
        """Yield all channels at all positions of the finest grid, a batch's (N P, C) at a time."""
        for images in batches:
            maps = self.backbone(images)
            grid = maps[0].shape[2:]
            full = torch.cat([F.interpolate(part, size=grid, mode="nearest") for part in maps], dim=1)
            yield full.permute(0, 2, 3, 1).flatten(0, 2)

    def forward(self, images: Tensor) -> Scores:
        # The Mahalanobis distance (paper, Eq. 2).
        distances = self.gaussians(self.embed(images)).sqrt()
        maps = upsample_and_blur(distances, self.image_size, self.options.sigma, self._finest_cover())
        return Scores(maps.flatten(1).amax(dim=1), maps)

    def _finest_cover(self) -> Cover:
        """Return what the finest of the maps that are used covers."""
        used = (reduction.directions.shape[1] > 0 for reduction in self.reductions)  # type: ignore[index]
        return next(cover for cover, is_used in zip(self.backbone.covers, used, strict=True) if is_used)


def _add_up(maps: list[Tensor]) -> Tensor:
    """Add maps up on the grid of the first, the finest."""
    finest, *coarser = maps
    for part in coarser:
        finest = finest + F.interpolate(part, size=finest.shape[2:], mode="nearest")
    return finest
