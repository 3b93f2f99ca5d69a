"""What SuperSimpleNet trains: the adaptor, and the heads that say where a defect is and whether there is one."""

import torch
from torch import Tensor, nn

HIDDEN, WIDTH = 1024, 128
"""Channels within the segmentation head and the classification head (paper, section 3.3)."""


class Heads(nn.Module):
    """The adaptor and the two heads.

    Args:
        channels: of the feature maps that are joined.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.adaptor = nn.Conv2d(channels, channels, 1)
        self.segmentation = nn.Sequential(
            nn.Conv2d(channels, HIDDEN, 1),
            nn.BatchNorm2d(HIDDEN),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(HIDDEN, 1, 1, bias=False),
        )
        self.classification = nn.Sequential(
            nn.Conv2d(channels + 1, WIDTH, 5, padding=2),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(inplace=True),
        )
        self.score = nn.Linear(2 * WIDTH + 2, 1)
        self.apply(_begin)

    def forward(self, adapted: Tensor, *, apart: bool = False) -> tuple[Tensor, Tensor]:
        """Return logits of each position being defective, (N, 1, h, w), and of each image, (N,).

        Args:
            adapted: features, (N, C, h, w), perhaps with noise.
            apart: let what the classification head learns not reach the segmentation head.
        """
        logits = self.segmentation(adapted)
        seen = logits.detach() if apart else logits
        found = self.classification(torch.cat([adapted, seen], dim=1))
        pooled = [part for maps in (found, seen) for part in (maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3)))]
        return logits, self.score(torch.cat(pooled, dim=1)).squeeze(1)


def _begin(module: nn.Module) -> None:
    """Draw weights as the official code does (Glorot and Bengio, 2010)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
