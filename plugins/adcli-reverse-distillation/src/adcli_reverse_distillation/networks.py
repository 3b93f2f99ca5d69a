"""What is trained: the one-class bottleneck embedding and the decoder that mirrors the teacher (paper, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """What the bottleneck and the decoder take over from the teacher.

    Attributes:
        channels: of the teacher's three maps, the finest first.
        blocks: residual blocks of the decoder for each map, the coarsest first.
        embedding_blocks: residual blocks of the one-class embedding.
        bottleneck: whether blocks are bottlenecks with an expansion of 4, as in ResNet-50, or basic ones.
        widening: factor of a bottleneck's inner width; 2 in wide ResNets.
        halvings: how often a side is halved from the first map to the second, and from there to the third.
        signed: which maps may have values below 0, as behind a linear bottleneck. A block ends with a ReLU, which
            cannot restore them, so that a convolution without one follows.
    """

    channels: tuple[int, int, int]
    blocks: tuple[int, int, int] = (2, 2, 2)
    embedding_blocks: int = 2
    bottleneck: bool = False
    widening: int = 1
    halvings: tuple[int, int] = (1, 1)
    signed: tuple[bool, bool, bool] = (False, False, False)


def architecture_of(
    name: str,
    channels: Sequence[int],
    halvings: tuple[int, int] = (1, 1),
    signed: tuple[bool, bool, bool] = (False, False, False),
) -> Architecture:
    """Return the decoder's architecture for a teacher.

    A ResNet's decoder has its own kind and number of blocks; any other teacher gets basic blocks with its channels.
    """
    c1, c2, c3 = channels
    if halvings != (1, 1) or any(signed):
        return Architecture((c1, c2, c3), halvings=halvings, signed=signed)
    if (c1, c2, c3) == (256, 512, 1024) and "resnet" in name:
        return Architecture((c1, c2, c3), (3, 4, 6), 3, bottleneck=True, widening=2 if "wide" in name else 1)
    if (c1, c2, c3) == (64, 128, 256) and "resnet34" in name:
        return Architecture((c1, c2, c3), (3, 4, 6), 3)
    return Architecture((c1, c2, c3))


class Block(nn.Module):
    """A residual block (He et al., 2016) that keeps, halves, or by a transposed convolution doubles its map's size."""

    def __init__(self, before: int, after: int, like: Architecture, *, scale: float = 1) -> None:
        super().__init__()
        if like.bottleneck:
            width = after // 4 * like.widening
            layers = [_conv(before, width, 1), _resize(width, width, scale), _conv(width, after, 1)]
        else:
            layers = [_resize(before, after, scale), _conv(after, after, 3)]
        self.body = _normalise(layers)
        self.shortcut: nn.Module = nn.Identity()
        if scale == 2:
            self.shortcut = nn.Sequential(_double(before, after), nn.BatchNorm2d(after))
        elif scale == 0.5 or before != after:
            self.shortcut = nn.Sequential(_conv(before, after, 1, stride=round(1 / scale)), nn.BatchNorm2d(after))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.body(features) + self.shortcut(features))
        return activated


def _conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)


def _double(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 2, stride=2, bias=False)


def _resize(before: int, after: int, scale: float) -> nn.Module:
    return _double(before, after) if scale == 2 else _conv(before, after, 3, stride=round(1 / scale))


def _normalise(layers: Sequence[nn.Module]) -> nn.Sequential:
    """Follow each convolution by a batch norm, and all but the last by a ReLU."""
    parts: list[nn.Module] = []
    for layer in layers:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        parts += [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts[:-1])


def _shrink(before: int, after: int, halvings: int) -> list[nn.Module]:
    """Return convolutions that halve a map's sides so often; one that keeps them for none."""
    steps: list[nn.Module] = []
    for _ in range(max(halvings, 1)):
        convolution = _conv(before, after, 3, stride=2 if halvings else 1)
        steps.append(nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)))
        before = after
    return steps


class Bottleneck(nn.Module):
    """The trainable one-class bottleneck embedding (paper, section 3.3).

    Multi-scale feature fusion brings the three maps to the coarsest grid; the one-class embedding condenses them.
    """

    def __init__(self, like: Architecture) -> None:
        super().__init__()
        c1, c2, c3 = like.channels
        first, second = like.halvings
        self.fuse_finest = nn.Sequential(*_shrink(c1, c2, first), *_shrink(c2, c3, second))
        middle = _shrink(c2, c3, second)
        self.fuse_middle = middle[0] if len(middle) == 1 else nn.Sequential(*middle)
        more = [Block(2 * c3, 2 * c3, like) for _ in range(like.embedding_blocks - 1)]
        self.embed = nn.Sequential(Block(3 * c3, 2 * c3, like, scale=0.5), *more)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the teacher's maps to an embedding (N, 2 C_3, h, w) at twice the stride of the last."""
        fused = torch.cat([self.fuse_finest(maps[0]), self.fuse_middle(maps[1]), maps[2]], dim=1)
        embedding: Tensor = self.embed(fused)
        return embedding


class Decoder(nn.Module):
    """The student: the teacher in reverse, from the embedding back to its three maps (paper, section 3.2)."""

    def __init__(self, like: Architecture) -> None:
        super().__init__()
        stages, before = [], 2 * like.channels[2]
        doublings = (1, *reversed(like.halvings))
        for after, count, times in zip(reversed(like.channels), like.blocks, doublings, strict=True):
            # In this order, since it decides which random numbers each of them gets.
            more = [Block(after, after, like) for _ in range(count - 1)]
            scales = [2] * times or [1]
            larger = [Block(before if i == 0 else after, after, like, scale=scale) for i, scale in enumerate(scales)]
            stages.append(nn.Sequential(*larger, *more))
            before = after
        self.stages = nn.ModuleList(stages)
        # A network without these is, to the last name of a parameter, the official one.
        self.outputs = nn.ModuleDict(
            {str(i): nn.Conv2d(like.channels[i], like.channels[i], 1) for i in range(3) if like.signed[i]}
        )

    def forward(self, embedding: Tensor) -> list[Tensor]:
        """Return three maps shaped as the teacher's, the finest first."""
        maps = []
        for i, stage in zip((2, 1, 0), self.stages, strict=True):
            embedding = stage(embedding)
            maps.append(self.outputs[str(i)](embedding) if str(i) in self.outputs else embedding)
        return maps[::-1]


class Student(nn.Sequential):
    """Bottleneck and decoder: the teacher's maps in, their reconstruction out."""

    def __init__(self, like: Architecture) -> None:
        super().__init__(Bottleneck(like), Decoder(like))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
