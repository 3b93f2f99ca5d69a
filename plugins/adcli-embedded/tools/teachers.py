"""Frozen teachers, and what a student is asked to learn from them."""

import importlib.util
from math import log2
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SETTLE = 100
"""Batches over which the statistics of a teacher's channels are taken."""

CLAMP = 6.0
"""Standard deviations beyond which a target is cut; a few channels of every network have rare, huge values."""


class Lesson(NamedTuple):
    """A teacher's answer: feature maps by stride, and logits where it has a classifier."""

    maps: dict[int, Tensor]
    logits: Tensor | None


class Teacher(nn.Module):
    """A frozen network: a name of timm, or ``FILE.py:CLASS``.

    The class's ``load()`` must return a module that gives a list of feature maps of ImageNet-normalised images.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.from_timm = ".py:" not in name
        if self.from_timm:
            self.network = timm.create_model(name, pretrained=True)
            mean, std = self.network.pretrained_cfg["mean"], self.network.pretrained_cfg["std"]
        else:
            self.network = _from_file(*name.rsplit(":", 1))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Lesson:
        """Answer for images (N, 3, H, W) in [0, 1]."""
        images = (images - self.mean) / self.std
        if not self.from_timm:
            return Lesson(_by_stride(self.network(images), images), None)
        last, maps = self.network.forward_intermediates(images)
        logits = self.network.forward_head(last) if self.network.num_classes else None
        return Lesson(_by_stride(maps, images), logits)


def _from_file(file: str, name: str) -> nn.Module:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise SystemExit(f"--teacher {file}:{name}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = getattr(module, name)().load()
    return network


def _by_stride(maps: list[Tensor], images: Tensor) -> dict[int, Tensor]:
    """Return the last map of each stride."""
    return {2 ** round(log2(images.shape[-1] / part.shape[-1])): part for part in maps}


class Target(nn.Module):
    """One teacher map as a target for one student map: standardised, and met through a 1 x 1 convolution.

    The statistics of the first ``SETTLE`` batches are kept, so that the target soon stands still.
    """

    def __init__(self, student_channels: int, channels: int) -> None:
        super().__init__()
        self.adapter = nn.Conv2d(student_channels, channels, 1)
        for name in ("total", "squares"):
            self.register_buffer(name, torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def standardise(self, lesson: Tensor) -> Tensor:
        """Return the map with zero mean and unit variance in each channel, clamped."""
        if self.training and self.batches < SETTLE:
            self.total += lesson.double().mean(dim=(0, 2, 3))
            self.squares += lesson.double().square().mean(dim=(0, 2, 3))
            self.batches += 1
        mean = self.total / self.batches
        std = (self.squares / self.batches - mean.square()).clamp_min(1e-8).sqrt()
        shaped = (lesson - mean.float().view(1, -1, 1, 1)) / std.float().view(1, -1, 1, 1)
        return shaped.clamp(-CLAMP, CLAMP)

    def forward(self, student: Tensor, lesson: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared error of the map and that of its relations."""
        target = self.standardise(lesson)
        return F.mse_loss(self.adapter(student), target), relation_loss(student, target)


def relation_loss(student: Tensor, teacher: Tensor, count: int = 512) -> Tensor:
    """Return the mean squared difference of two maps' cosine similarities between positions of the whole batch.

    What nearest-neighbour and Gaussian detectors use of a feature is how far it lies from other features; the map's
    own error leaves that to the adapter. (After Park et al., Relational Knowledge Distillation, CVPR 2019.)
    """
    every = max(1, student.shape[0] * student.shape[2] * student.shape[3] // count)
    similarities = []
    for maps in (student, teacher):
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)[::every]
        rows = F.normalize(rows - rows.mean(dim=0), dim=1)
        similarities.append(rows @ rows.T)
    return F.mse_loss(*similarities)
