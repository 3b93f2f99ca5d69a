"""PaDiM: the distribution of good patches at every position is a Gaussian; a patch's score its distance to it.

Defard et al., PaDiM, ICPR 2020, arXiv 2011.08785. There is no official code; where the paper is silent, this follows
the implementation that reproduces its figures: coarser maps are brought to the finest grid by repetition, distances are
interpolated and blurred, and the image score is the largest value of the map. Two things are our own: the map is never
stretched to its range over the test images, which would make scores depend on one another; and no embedding is stored.
Mean and covariance of every position are sums over the images in float64, so that memory depends on positions and
dimensions alone: positions x dimensions² x 12 bytes at the end of fitting (float64 sums, float32 result), 0.5 GB for
256 x 256 images and 100 dimensions.

The objects must stand alike in every image: a position is compared with itself.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli import distributed
from adcli.backbones import create_backbone
from adcli.data.batches import Batches
from adcli.data.decoding import Size
from adcli.errors import TrainingError
from adcli.layers import gaussian_blur, principal_directions, upsample
from adcli.model import Model, Scores
from adcli_padim import PadimOptions

POSITIONS = 256
"""Positions whose covariances are inverted at a time."""

FACTORED = 16
"""Dimensions up to which a covariance is factored at once; larger ones by halves."""


class Padim(Model):
    """PaDiM; see the module for the choices made.

    Buffers, for D dimensions at P = h x w positions:
        directions: what reduces C channels to D, (C, D).
        mean: of the embeddings at every position, (P, D).
        whitening: W with W' W = inverse of the covariance at every position, (P, D, D).
    """

    directions: Tensor
    mean: Tensor
    whitening: Tensor

    def __init__(self, options: PadimOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.backbone = create_backbone(options, pretrained=pretrained)
        for name in ("directions", "mean", "whitening"):
            self.register_buffer(name, torch.empty(0))

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings of images (N, 3, H, W), (N, D, h, w).

        Channels are reduced before coarser maps are repeated, which gives the same at a fraction of the work; by
        convolutions, which take maps as they lie in memory.
        """
        finest, *coarser = (
            F.conv2d(part, rows.T[:, :, None, None])
            for part, rows in zip(
                self.backbone(images), torch.split(self.directions, list(self.backbone.channels)), strict=True
            )
        )
        for part in coarser:
            finest += F.interpolate(part, size=finest.shape[2:], mode="nearest")
        return finest

    def fit(self, batches: Batches) -> None:
        """Estimate mean and covariance at every position (paper, Eq. 1)."""
        if batches.count < 2:
            raise TrainingError(f"PaDiM needs at least 2 good images to fit on, there are {batches.count}.")
        self.directions = self._choose_directions(batches)
        origin = total = squares = torch.empty(0)
        for images in batches.sharded():
            # In the order of the products, which would else copy them in every step.
            rows = _by_position(self.embed(images)).to(torch.float64, memory_format=torch.contiguous_format)
            if not total.numel():
                # Sums of squares about a point near the mean lose no digits; all processes add up about the same.
                origin = distributed.broadcast(rows.mean(dim=1, keepdim=True))
                total, squares = torch.zeros_like(origin), rows.new_zeros(len(rows), rows.shape[2], rows.shape[2])
            rows -= origin
            total += rows.sum(dim=1, keepdim=True)
            squares.baddbmm_(rows.mT, rows)
        total, squares = distributed.reduce_sum(total), distributed.reduce_sum(squares)
        self._set_gaussians(origin, total / batches.count, squares, batches.count)

    def _set_gaussians(self, origin: Tensor, offset: Tensor, squares: Tensor, count: int) -> None:
        """Turn sums about an origin into means and whitening matrices, some positions at a time."""
        self.mean = (origin + offset)[:, 0].float()
        self.whitening = torch.empty(squares.shape, dtype=torch.float32, device=squares.device)
        inference = torch.is_inference_mode_enabled()

        def whiten(start: int) -> None:
            part = slice(start, start + POSITIONS)
            with torch.inference_mode(inference):
                centred = squares[part].baddbmm_(offset[part].mT, offset[part], alpha=-count)
                # The covariance times the degrees of freedom, which spares a pass over the matrices.
                centred.diagonal(dim1=1, dim2=2).add_((count - 1) * self.options.regularisation)
                self.whitening[part] = whitening(centred).mul_((count - 1) ** 0.5)

        # LAPACK takes one small matrix after the other, on one core.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(whiten, range(0, len(squares), POSITIONS)))

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
        embedding = self.embed(images)
        # The Mahalanobis distance (paper, Eq. 2) is the length of the whitened difference.
        whitened = torch.bmm(_by_position(embedding) - self.mean[:, None], self.whitening.mT)
        distances = torch.linalg.vector_norm(whitened, dim=2).T
        height, width = embedding.shape[2:]
        maps = upsample(distances.reshape(-1, 1, height, width), self.image_size)
        maps = gaussian_blur(maps, self.options.sigma)
        return Scores(maps.flatten(1).amax(dim=1), maps)


def whitening(covariances: Tensor) -> Tensor:
    """Return W with W' W = the inverse of each covariance (P, D, D): the inverse of its Cholesky factor.

    Found by halves, so that most of the work is products of matrices: LAPACK alone takes twice as long for many small
    ones.

    Raises:
        torch.linalg.LinAlgError: a matrix is not positive definite.
    """
    size = covariances.shape[1]
    if size <= FACTORED:
        identity = torch.eye(size, dtype=covariances.dtype, device=covariances.device)
        inverse: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(covariances), identity, upper=False)
        return inverse
    first, second = slice(size // 2), slice(size // 2, size)
    inverse = torch.zeros_like(covariances)
    upper = inverse[:, first, first] = whitening(covariances[:, first, first])
    # The lower left block of the factor, and what of the lower right block it does not explain.
    factor = covariances[:, second, first] @ upper.mT
    rest = torch.baddbmm(covariances[:, second, second], factor, factor.mT, alpha=-1)
    lower = inverse[:, second, second] = whitening(rest)
    inverse[:, second, first] = -lower @ (factor @ upper)
    return inverse


def _by_position(embedding: Tensor) -> Tensor:
    """Return embeddings (N, D, h, w) as a matrix for each position, (h w, N, D)."""
    return embedding.flatten(2).permute(2, 0, 1)
