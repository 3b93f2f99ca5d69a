"""The networks of GANomaly (paper, section 3.2): those of DCGAN (Radford et al., 2016), for images of any shape."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from adcli.data import Size

SMALLEST = 4
"""Positions along the shorter side of the coarsest map."""


@dataclass(frozen=True)
class Pyramid:
    """How often the image is halved, and what is left at the end.

    For 32 x 32 images this is the official architecture: halved three times, to 4 x 4. The official code knows squares
    whose side is a power of two; any other shape ends in a coarsest map that is no square of 4 x 4.
    """

    image: Size
    features: int

    @property
    def halvings(self) -> int:
        """Halvings until the coarsest map, at least one."""
        return max(1, (min(self.image) // SMALLEST).bit_length() - 1)

    @property
    def coarsest(self) -> Size:
        """Height and width of the coarsest map."""
        height, width = (-(-side // 2**self.halvings) for side in self.image)
        return height, width

    @property
    def padded(self) -> Size:
        """Height and width that the networks work at."""
        height, width = (side * 2**self.halvings for side in self.coarsest)
        return height, width

    @property
    def channels(self) -> list[int]:
        """Channels of the maps, the finest first."""
        return [self.features * 2**i for i in range(self.halvings)]


def encoder(pyramid: Pyramid, outputs: int) -> tuple[nn.Sequential, nn.Conv2d]:
    """Return what maps images (N, 3, H, W) to the coarsest map, and what condenses that to (N, outputs, 1, 1)."""
    layers: list[nn.Module] = []
    before = 3
    for after in pyramid.channels:
        layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
        if before != 3:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        before = after
    return nn.Sequential(*layers), nn.Conv2d(before, outputs, pyramid.coarsest, bias=False)


def decoder(pyramid: Pyramid, latent: int) -> nn.Sequential:
    """Return what maps codes (N, latent, 1, 1) to images (N, 3, H, W) in [-1, 1]."""
    channels = pyramid.channels[::-1]
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(latent, channels[0], pyramid.coarsest, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(inplace=True),
    ]
    for before, after in pairwise(channels):
        layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers += [nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


class Generator(nn.Module):
    """Encoder, decoder, and an encoder of the same kind for what was decoded."""

    def __init__(self, pyramid: Pyramid, latent: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(*encoder(pyramid, latent))
        self.decode = decoder(pyramid, latent)
        self.encode_again = nn.Sequential(*encoder(pyramid, latent))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction of images (N, 3, H, W), their code and its code, both (N, latent, 1, 1)."""
        code = self.encode(images)
        restored = self.decode(code)
        return restored, code, self.encode_again(restored)


class Discriminator(nn.Module):
    """Tells images from reconstructions; what it sees in them is what the generator must match."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.features, self.decide = encoder(pyramid, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-odds that images are real, (N,), and the map before that decision."""
        features = self.features(images)
        return self.decide(features).flatten(), features


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Draw weights as DCGAN does: N(0, 0.02) for convolutions, N(1, 0.02) for the scales of batch norms."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
