"""DFM: deep features of good images lie near a low-dimensional subspace; a score says how far from it, or where in it.

Ahuja et al., arXiv 1909.11786 (the likelihood), and Ndiour et al., FRE, arXiv 2211.12650 (the reconstruction error, by
the same group, with the official code that this follows). The feature of an image is its pooled map, flattened; a
principal component analysis keeps a share of the variance. With x the feature, mu its mean and W the components,

- the feature reconstruction error is |(I - W W') (x - mu)|², and its parts at each position are the anomaly map;
- the negative log-likelihood is that of W' (x - mu) under the Gaussian whose variances the components have;
- a third score is our own: the largest value of the map. The error of the whole image is a sum over all positions, in
  which the noise of a hundred good ones can outweigh one that is defective.

The document that this project started from gives ResNet-18's feature a length of 2048; it has 512, and what is modelled
by default is layer 3, as in the official code.

The PCA is exact, from the Gram matrix, while the features of all images fit the memory allowed. Beyond that it is
randomised (Halko, Martinsson and Tropp, SIAM Review 2011): four passes over the images, and no feature is kept. The
share retained is measured against the exact total variance in both cases.

With ``-o features=patch``, the feature is that of a patch: what a position holds in all layers, on the grid of the
finest. One subspace is that of all patches of good images, in any place. This is SubspaceAD (Lendering et al., CVPR
2026, arXiv 2602.23013), with its mean of the largest hundredth of the map, rotated references, and averaged layers of a
transformer (``-o average=``). Its PCA is exact, from sums over the patches.
"""

import math
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli import OptionError, TrainingError
from adcli.data import Size
from adcli.nn import (
    Batches,
    Cover,
    Model,
    Principal,
    Scores,
    collect_rows,
    create_backbone,
    distributed,
    patch_embedding,
    principal_components,
    randomised_components,
    rotate,
    streamed_components,
    upsample_and_blur,
)
from adcli_dfm import DfmOptions


class Dfm(Model):
    """DFM; see the module for the choices made.

    Buffers:
        mean: of the features, (D,).
        directions: the principal components as columns, (D, K).
        variances: along them, (K,).
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor

    def __init__(self, options: DfmOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        if options.features == "patch" and options.score == "nll":
            raise OptionError("nll is of whole images; leave out -o features=patch, or choose another.", option="score")
        self.backbone = create_backbone(options, image_size=image_size, pretrained=pretrained)
        for name in ("mean", "directions", "variances"):
            self.register_buffer(name, torch.empty(0))

    def pooled(self, images: Tensor) -> list[Tensor]:
        """Return the pooled maps of images (N, 3, H, W), each (N, C, h, w)."""
        side = self.options.pooling
        return [
            F.avg_pool2d(part, min(side, part.shape[2], part.shape[3])) if side else part.mean(dim=(2, 3), keepdim=True)
            for part in self.backbone(images)
        ]

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images, (N, D), or of their patches, (N P, D)."""
        maps = self.pooled(images)
        if self.options.features == "patch":
            return self._patches(maps).permute(0, 2, 3, 1).flatten(0, 2)
        return torch.cat([part.flatten(1) for part in maps], dim=1)

    def _patches(self, maps: list[Tensor]) -> Tensor:
        """Return what each position holds in all maps, on the grid of the finest, (N, D, h, w)."""
        covers = [cover for cover in self._pooled_covers() if cover is not None]
        return patch_embedding(maps, covers=covers or None, neighbourhood=1)

    def fit(self, batches: Batches) -> None:
        """Find the principal components of the features of good images."""
        if batches.count < 2:
            raise TrainingError(f"DFM needs at least 2 good images to fit on, there are {batches.count}.")
        if self.options.features == "patch" and batches.session.updatable:
            raise OptionError("patch keeps nothing that an update needs; leave out --updatable.", option="features")
        self.backbone.equalise(batches)
        self._learn(batches, self.mean.new_empty(0, 0))

    def update(self, batches: Batches) -> None:
        """Find the components of the features that the run keeps and those of more images."""
        self._learn(batches, self.kept["features"].to(self.backbone.mean.device))

    def _learn(self, batches: Batches, earlier: Tensor) -> None:
        """Find the components of the features of images, and of earlier ones (N, D)."""
        principal = self._components(batches, earlier)
        if principal.retained < self.options.variance - 1e-6:
            batches.session.progress.note(
                f"warning: {len(principal.variances)} components retain {principal.retained:.1%} of the variance, not "
                f"the {self.options.variance:.1%} asked for; raise -o components= or -o memory=."
            )
        self.mean, self.directions = principal.mean, principal.directions.contiguous()
        self.variances = principal.variances

    def _components(self, batches: Batches, earlier: Tensor) -> Principal:
        if self.options.features == "patch":
            return streamed_components(self._rows(batches), self.options.variance, sharded=True)
        length = self.features(next(iter(batches))[:1]).shape[1]
        count = len(earlier) + batches.count * self.options.rotations
        if count * length * 4 <= self.options.memory << 20:
            before = [earlier] if len(earlier) else []
            rows = distributed.gather(collect_rows(chain(before, self._rows(batches)), count))
            if batches.session.updatable:
                self.kept = {"features": rows.cpu()}
            return principal_components(rows, self.options.variance)
        if batches.session.updatable:
            needed = -(-count * length * 4 // (1 << 20))
            raise TrainingError(
                f"the features of {count} images, which updates need, take {needed} MB, more than -o "
                f"memory={self.options.memory}; raise it, or leave out --updatable."
            )
        share, limit = self.options.variance, self.options.components
        return randomised_components(lambda: self._rows(batches), share, limit, sharded=True)

    def _rows(self, batches: Batches) -> Iterator[Tensor]:
        count = self.options.rotations
        return (self.features(rotate(images, 360 * i / count)) for images in batches.sharded() for i in range(count))

    def forward(self, images: Tensor) -> Scores:
        maps = self.pooled(images)
        if self.options.features == "patch":
            return self._score_patches(self._patches(maps))
        centred = torch.cat([part.flatten(1) for part in maps], dim=1) - self.mean
        coefficients = centred @ self.directions
        error = (centred - coefficients @ self.directions.T).square()
        anomaly_map = self._map(error, maps)
        if self.options.score == "nll":
            constant = self.variances.log().sum() + len(self.variances) * math.log(2 * math.pi)
            return Scores(0.5 * ((coefficients.square() / self.variances).sum(dim=1) + constant), anomaly_map)
        return Scores(self._score(error, anomaly_map), anomaly_map)

    def _score_patches(self, patches: Tensor) -> Scores:
        """Score images by the errors of their patches (N, D, h, w)."""
        height, width = patches.shape[2:]
        centred = patches.permute(0, 2, 3, 1).flatten(0, 2) - self.mean
        error = (centred - (centred @ self.directions) @ self.directions.T).square().sum(dim=1)
        located = error.reshape(-1, 1, height, width)
        anomaly_map = upsample_and_blur(located, self.image_size, self.options.sigma, self._pooled_covers()[0])
        return Scores(self._score(located.flatten(1), anomaly_map), anomaly_map)

    def _score(self, error: Tensor, anomaly_map: Tensor) -> Tensor:
        """Return image scores (N,) from all errors, (N, E), or from the maps (N, 1, H, W)."""
        if self.options.score == "fre":
            return error.sum(dim=1)
        pixels = anomaly_map.flatten(1)
        if self.options.score == "peak":
            return pixels.amax(dim=1)
        return torch.topk(pixels, max(pixels.shape[1] // 100, 1), dim=1).values.mean(dim=1)

    def _map(self, error: Tensor, maps: list[Tensor]) -> Tensor:
        """Sum the errors of the channels at each position, and the layers at each pixel."""
        parts = torch.split(error, [part.shape[1] * part.shape[2] * part.shape[3] for part in maps], dim=1)
        located = [
            upsample_and_blur(
                values.reshape(-1, *part.shape[1:]).sum(dim=1, keepdim=True), self.image_size, self.options.sigma, cover
            )
            for values, part, cover in zip(parts, maps, self._pooled_covers(), strict=True)
        ]
        return torch.stack(located).sum(dim=0)

    def _pooled_covers(self) -> list[Cover | None]:
        """Return what the pooled maps cover; all of the image, if there is one position."""
        side = self.options.pooling
        if not side:
            return [None] * len(self.backbone.covers)
        return [Cover(side * cover.stride, cover.offset) for cover in self.backbone.covers]
