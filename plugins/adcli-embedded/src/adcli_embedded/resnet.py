"""ResNet-18 (He et al., Deep Residual Learning for Image Recognition, CVPR 2016), without a classifier.

Parameters have the names and the initial distributions of timm, which is not imported, since that takes a second.
"""

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
"""Channels of layer1 to layer4."""


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them (paper, Fig. 2)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, maps: Tensor) -> Tensor:
        changed = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(maps)))))
        changed += maps if self.downsample is None else self.downsample(maps)
        output: Tensor = self.act2(changed)
        return output


class ResNet18(nn.Module):
    """Stem and four layers at strides 4, 8, 16 and 32, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, width in enumerate(WIDTHS):
            first = BasicBlock(WIDTHS[max(i - 1, 0)], width, 1 if i == 0 else 2)
            self.add_module(f"layer{i + 1}", nn.Sequential(first, BasicBlock(width, width, 1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                # At first, a block is its shortcut alone (Goyal et al., arXiv 1706.02677, section 5.1).
                nn.init.zeros_(module.bn2.weight)

    def stages(self) -> list[nn.Module]:
        """Return, for each layer, the modules that lead to it from the layer before."""
        stem = nn.Sequential(self.conv1, self.bn1, self.act1, self.maxpool)
        layers = [self.get_submodule(f"layer{i + 1}") for i in range(len(WIDTHS))]
        return [nn.Sequential(stem, layers[0]), *layers[1:]]
