"""The conditional normalizing flow of one feature map (paper, section 4.3), of FrEIA's coupling blocks."""

import math

import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn


def positional_encoding(channels: int, height: int, width: int) -> Tensor:
    """Return sines and cosines of every position (paper, section 4.3; Vaswani et al., 2017), (channels, h, w).

    The first half encodes the column, the second the row, at frequencies that fall geometrically from 1 to 1/10000.
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(0, half, 2) / half)
    parts = []
    for length, shape in ((width, (1, 1, width)), (height, (1, height, 1))):
        angles = (frequencies[:, None] * torch.arange(length)).view(-1, *shape[1:])
        waves = torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
        parts.append(waves.expand(half, height, width))
    return torch.cat(parts)


def subnet(before: int, after: int) -> nn.Sequential:
    """Return the network that computes a coupling's scaling and shift."""
    return nn.Sequential(nn.Linear(before, 2 * before), nn.ReLU(), nn.Linear(2 * before, after))


def rotation(channels: int) -> Tensor:
    """Draw an orthogonal matrix uniformly (Mezzadri, Notices of the AMS 2007), of determinant 1.

    FrEIA draws one with scipy, which takes minutes for the channels of a wide ResNet.
    """
    q, r = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
    q = q * r.diagonal().sign()
    if torch.linalg.slogdet(q).sign < 0:
        q[:, 0] = -q[:, 0]
    rotated: Tensor = q.float()
    return rotated


class Flow(nn.Module):
    """Maps patch features, given their position, to where they should be normally distributed; see :meth:`rotate`.

    Args:
        channels: of a patch feature.
        condition: length of a position's encoding.
        blocks: number of coupling blocks.
        clamp: bound of the logarithm of a block's scaling.
    """

    def __init__(self, channels: int, condition: int, blocks: int, clamp: float) -> None:
        super().__init__()
        self.channels = channels
        self.blocks = nn.ModuleList(self._block(condition, clamp) for _ in range(blocks))

    def _block(self, condition: int, clamp: float) -> AllInOneBlock:
        block = AllInOneBlock(
            [(self.channels,)],
            [(condition,)],
            subnet_constructor=subnet,
            affine_clamping=clamp,
            global_affine_type="SOFTPLUS",
        )
        block.w_perm.data = torch.eye(self.channels)
        # The way back is never taken; its matrices would double the size of a run.
        block.w_perm_inv = None
        return block

    def rotate(self) -> None:
        """Draw the rotations between blocks; not when a flow is made, for a restored one brings its own."""
        for block in self.blocks:
            matrix = block.get_parameter("w_perm")
            matrix.data = rotation(self.channels).to(matrix)

    def forward(self, features: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (N, C) and the logarithm of the Jacobian's determinant (N,), for features (N, C)."""
        log_determinant = features.new_zeros(1)
        for block in self.blocks:
            (features,), part = block((features,), c=[condition])
            log_determinant = log_determinant + part
        return features, log_determinant

    def log_likelihood(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return the log-likelihood per channel (paper, Eq. 5 and 6) of features (N, C) with conditions (N, P)."""
        z, log_determinant = self(features, condition)
        log_normal = -0.5 * (z.float().square().sum(dim=1) + self.channels * math.log(2 * math.pi))
        likelihood: Tensor = (log_normal + log_determinant.float()) / self.channels
        return likelihood
