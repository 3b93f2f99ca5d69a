"""Networks of inverted residuals with linear bottlenecks, without classifiers.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, arXiv 1801.04381; Tan and Le,
EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946. EfficientNet-Lite
is EfficientNet without squeeze and excitation, with ReLU6 instead of swish.

Parameters have the names of timm, which is not imported, since that takes a second.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from adcli.nn import IMAGENET_MEAN, IMAGENET_STD

STEM = 32
"""Channels of the first convolution."""

LAYERS = (2, 3, 5, 7)
"""How many stages lead to layers 1 to 4: the last maps at strides 4, 8, 16 and 32."""


class Stage(NamedTuple):
    """Blocks of one kind (MobileNetV2, Table 2).

    Attributes:
        channels: of each block's output.
        blocks: how many there are.
        kernel: size of their depthwise convolutions.
        stride: of the first block; the others have 1.
        expansion: how many times a block's inner channels are those of its input.
    """

    channels: int
    blocks: int
    kernel: int
    stride: int
    expansion: int = 6


@dataclass(frozen=True)
class Design:
    """What distinguishes the networks.

    Attributes:
        stages: from the stem on.
        eps: of all batch norms.
        same: whether strided convolutions are padded as TensorFlow pads them.
        mean, std: of the images that the network was trained on, per channel of [0, 1] pixels.
    """

    stages: tuple[Stage, ...]
    eps: float
    same: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of layers 1 to 4."""
        return tuple(self.stages[count - 1].channels for count in LAYERS)


class SameConv2d(nn.Conv2d):
    """A convolution whose map has ceil(side / stride) positions; an odd one of the padded rows is below the image.

    So TensorFlow pads; PyTorch pads alike on all sides.
    """

    def forward(self, input: Tensor) -> Tensor:
        below, right = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(input.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        padded = F.pad(input, (right // 2, right - right // 2, below // 2, below - below // 2))
        return super().forward(padded)


def _convolve(design: Design, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if design.same and stride > 1:
        return SameConv2d(before, after, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project without activation (MobileNetV2, section 3.3 and Fig. 4)."""

    def __init__(self, design: Design, stage: Stage, before: int, stride: int) -> None:
        super().__init__()
        inner = before * stage.expansion
        self.conv_pw = _convolve(design, before, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner, design.eps)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_dw = _convolve(design, inner, inner, stage.kernel, stride, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner, design.eps)
        self.act2 = nn.ReLU6(inplace=True)
        self.conv_pwl = _convolve(design, inner, stage.channels, 1)
        self.bn3 = nn.BatchNorm2d(stage.channels, design.eps)
        self.has_shortcut = stride == 1 and before == stage.channels

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.act1(self.bn1(self.conv_pw(maps)))
        inner = self.act2(self.bn2(self.conv_dw(inner)))
        projected: Tensor = self.bn3(self.conv_pwl(inner))
        return projected + maps if self.has_shortcut else projected


class Separable(nn.Module):
    """An inverted residual that does not expand, and has no shortcut: the first block of all networks."""

    def __init__(self, design: Design, stage: Stage, before: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolve(design, before, before, stage.kernel, stride, groups=before)
        self.bn1 = nn.BatchNorm2d(before, design.eps)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = _convolve(design, before, stage.channels, 1)
        self.bn2 = nn.BatchNorm2d(stage.channels, design.eps)

    def forward(self, maps: Tensor) -> Tensor:
        projected: Tensor = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(maps)))))
        return projected


class MobileNet(nn.Module):
    """Stem and stages of a design, up to stride 32, with random weights."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.conv_stem = _convolve(design, 3, STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM, design.eps)
        self.act1 = nn.ReLU6(inplace=True)
        self.blocks = nn.Sequential()
        before = STEM
        for stage in design.stages:
            kind = InvertedResidual if stage.expansion > 1 else Separable
            blocks = nn.Sequential()
            for i in range(stage.blocks):
                blocks.append(kind(design, stage, before, stage.stride if i == 0 else 1))
                before = stage.channels
            self.blocks.append(blocks)

    def layers(self) -> list[nn.Module]:
        """Return, for layers 1 to 4, the modules that lead to it from the layer before."""
        stem = nn.Sequential(self.conv_stem, self.bn1, self.act1)
        parts = [self.blocks[start:end] for start, end in zip((0, *LAYERS), LAYERS, strict=False)]
        return [nn.Sequential(stem, parts[0]), *parts[1:]]


HALF = (0.5, 0.5, 0.5)
LITE0 = Design(
    stages=(
        Stage(16, blocks=1, kernel=3, stride=1, expansion=1),
        Stage(24, blocks=2, kernel=3, stride=2),
        Stage(40, blocks=2, kernel=5, stride=2),
        Stage(80, blocks=3, kernel=3, stride=2),
        Stage(112, blocks=3, kernel=5, stride=1),
        Stage(192, blocks=4, kernel=5, stride=2),
        Stage(320, blocks=1, kernel=3, stride=1),
    ),
    eps=1e-3,
    same=True,
    mean=HALF,
    std=HALF,
)
"""EfficientNet-Lite0: EfficientNet-B0 (Table 1), with its stem and head as narrow in all sizes."""

LITE2 = Design(
    stages=(
        Stage(16, blocks=1, kernel=3, stride=1, expansion=1),
        Stage(24, blocks=3, kernel=3, stride=2),
        Stage(48, blocks=3, kernel=5, stride=2),
        Stage(88, blocks=4, kernel=3, stride=2),
        Stage(120, blocks=4, kernel=5, stride=1),
        Stage(208, blocks=5, kernel=5, stride=2),
        Stage(352, blocks=1, kernel=3, stride=1),
    ),
    eps=1e-3,
    same=True,
    mean=HALF,
    std=HALF,
)
"""EfficientNet-Lite2: 1.1 times as wide and 1.2 times as deep."""

MOBILE = Design(
    stages=(
        Stage(16, blocks=1, kernel=3, stride=1, expansion=1),
        Stage(24, blocks=2, kernel=3, stride=2),
        Stage(32, blocks=3, kernel=3, stride=2),
        Stage(64, blocks=4, kernel=3, stride=2),
        Stage(96, blocks=3, kernel=3, stride=1),
        Stage(160, blocks=3, kernel=3, stride=2),
        Stage(320, blocks=1, kernel=3, stride=1),
    ),
    eps=1e-5,
    same=False,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
"""MobileNetV2 (Table 2)."""
