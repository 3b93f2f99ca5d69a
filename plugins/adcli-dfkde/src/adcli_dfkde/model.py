"""DFKDE: the density of good images' features, estimated with Gaussian kernels on a few principal components.

The feature is the last map averaged over the image (2048 numbers for ResNet-50). There is no paper; the estimator is
Scott's (Multivariate Density Estimation, 1992): kernels with the covariance of the data, narrowed by the factor
n^(-1 / (d + 4)). It is evaluated in log space throughout, so that images far from all good ones keep their order; as
densities, all of these would be zero. The score is the negative log-density, neither scaled nor squashed.
"""

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from adcli import TrainingError
from adcli.data import Size
from adcli.nn import Batches, Model, Scores, collect_rows, create_backbone, distributed, principal_components
from adcli_dfkde import DfkdeOptions


class Dfkde(Model):
    """DFKDE; see the module for the choices made.

    Buffers, for D features, d components and n kernels:
        mean: of the features, (D,).
        whitening: maps features to components in units of the kernels' width, (D, d).
        kernels: the good images' components in these units, (n, d).
        log_norm: logarithm of n times a kernel's integral in the units of the components.
    """

    mean: Tensor
    whitening: Tensor
    kernels: Tensor
    log_norm: Tensor

    def __init__(self, options: DfkdeOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.backbone = create_backbone(options, image_size=image_size, pretrained=pretrained)
        for name in ("mean", "whitening", "kernels", "log_norm"):
            self.register_buffer(name, torch.empty(0))

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images (N, 3, H, W), (N, D)."""
        return torch.cat([part.mean(dim=(2, 3)) for part in self.backbone(images)], dim=1)

    def fit(self, batches: Batches) -> None:
        """Place a kernel on every good image.

        Raises:
            TrainingError: there are no more images than components, so that their covariance has no inverse.
        """
        self.backbone.equalise(batches)
        self._learn(batches, ())

    def update(self, batches: Batches) -> None:
        """Place a kernel on every image whose features the run keeps, and on every new one."""
        self._learn(batches, [self.kept["features"].to(self.backbone.mean.device)])

    def _learn(self, batches: Batches, earlier: Sequence[Tensor]) -> None:
        """Estimate the density from images, and from the features (N, D) of earlier ones."""
        size: int = self.options.components
        features = (self.features(images) for images in batches.sharded())
        count = batches.count + sum(map(len, earlier))
        rows = distributed.gather(collect_rows(chain(earlier, features), count))
        if batches.session.updatable:
            self.kept = {"features": rows.cpu()}
        principal = principal_components(rows, 1.0, size) if len(rows) > size else None
        if principal is None or len(principal.variances) < size:
            found = f"{len(rows)} good images" if principal is None else f"{len(principal.variances)} that differ"
            raise TrainingError(
                f"DFKDE with {size} components needs at least {size + 1} good images to fit on, there are {found}; "
                "add images, or lower -o components= or --calibration."
            )
        if len(rows) > self.options.limit:
            rows = rows[torch.randperm(len(rows))[: self.options.limit].to(rows.device)]
        factor = self.options.bandwidth * len(rows) ** (-1 / (size + 4))
        # Principal components are uncorrelated: the kernels' covariance is diagonal.
        widths = factor * principal.variances.sqrt()
        self.mean, self.whitening = principal.mean, principal.directions / widths
        self.kernels = torch.cat([(part - self.mean) @ self.whitening for part in torch.split(rows, 512)])
        log_integral = size / 2 * math.log(2 * math.pi) + widths.log().sum()
        self.log_norm = (math.log(len(rows)) + log_integral).reshape(1)

    def forward(self, images: Tensor) -> Scores:
        points = (self.features(images) - self.mean) @ self.whitening
        squared = (points[:, None] - self.kernels).square().sum(dim=2)
        return Scores(self.log_norm - torch.logsumexp(-0.5 * squared, dim=1))
