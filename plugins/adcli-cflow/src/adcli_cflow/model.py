"""CFlow: the likelihood of good patch features at each position, by a conditional normalizing flow for each scale.

Gudovskiy et al., WACV 2022, arXiv 2107.12571. Flows, loss and schedule are those of the official code, without its
random rotation of training images by up to five degrees: so the frozen backbone's features can be computed once. The
scales' likelihoods are added as there, each relative to the greatest one; two things differ, since a score must depend
on nothing but its image:

- the greatest likelihood is that of the training images, not of the images that are scored;
- the map is -log(S / L) of the sum S over L scales instead of max(S) - S. That is the same order, without the ties of
  patches so unlikely that S is lost beside its maximum.

A step moves the flow of its own scale alone. (With the versions of torch that the official code used, Adam's momentum
moved the other flows as well.)
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from adcli import OptionError
from adcli.data import Size
from adcli.nn import (
    Batches,
    FrozenFeatures,
    Model,
    Scores,
    create_backbone,
    distributed,
    gaussian_blur,
    optimise,
    upsample,
)
from adcli_cflow import CflowOptions
from adcli_cflow.flows import Flow, positional_encoding

STAGES, WARM_UP, LOWEST = 25, 2, 1e-3
"""Stages of the schedule, how many of them the step size rises in, and its share at the end (official code)."""


class Cflow(Model):
    """CFlow; see the module for the choices made.

    Buffers:
        greatest: the greatest log-likelihood per channel of good patches, for each of L scales, (L,).
    """

    greatest: Tensor

    def __init__(self, options: CflowOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        if options.condition % 4:
            raise OptionError(f"-o condition={options.condition}: give a multiple of 4, for example 128.")
        self.backbone = create_backbone(options, image_size=image_size, pretrained=pretrained)
        self.flows = nn.ModuleList(
            Flow(channels, options.condition, options.coupling_blocks, options.clamp)
            for channels in self.backbone.channels
        )
        self.register_buffer("greatest", torch.zeros(len(self.flows)))

    def fit(self, batches: Batches) -> None:
        """Train the flows, then find how likely the likeliest good patches are."""
        self.backbone.equalise(batches)
        features = FrozenFeatures(self.backbone, batches, self.options.memory << 20)
        for flow in self.flows:
            assert isinstance(flow, Flow)
            flow.rotate()
        trained = [parameter for parameter in self.flows.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.options.learning_rate, fused=True)
        optimise(
            self.flows,
            self.losses,
            features,
            optimizer=optimizer,
            epochs=self.options.epochs,
            # At the middle of an epoch, so that a training of one epoch is not all warm-up.
            scheduler=LambdaLR(optimizer, lambda epoch: rate((epoch + 0.5) / self.options.epochs)),
        )
        self.flows.requires_grad_(False)
        found = [self._greatest(maps) for maps in features.sharded().shuffled(0) if len(maps[0])]
        self.greatest = distributed.gather(torch.stack(found)).amax(dim=0)

    def losses(self, maps: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the loss of every fibre: a few hundred patches of one scale, drawn from the whole batch.

        Of several processes, each has its share of a fibre's patches.
        """
        fibre = max(self.options.fibre // distributed.world_size(), 1)
        for flow, part in zip(self.flows, maps, strict=True):
            assert isinstance(flow, Flow)
            vectors, conditions = self._vectors(part)
            order = torch.randperm(len(vectors), device=vectors.device)
            for chosen in zip(torch.split(vectors[order], fibre), torch.split(conditions[order], fibre), strict=True):
                yield -F.logsigmoid(flow.log_likelihood(*chosen)).mean()

    def _vectors(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches of maps (N, C, h, w) as rows (N h w, C), and their positions' encodings."""
        count, channels, height, width = part.shape
        encoding = positional_encoding(self.options.condition, height, width).to(part.device, non_blocking=True)
        conditions = encoding.flatten(1).T.repeat(count, 1)
        return part.permute(0, 2, 3, 1).reshape(-1, channels), conditions

    def log_likelihoods(self, maps: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the log-likelihood per channel at each position of each map, (N, 1, h, w)."""
        for flow, part in zip(self.flows, maps, strict=True):
            assert isinstance(flow, Flow)
            yield flow.log_likelihood(*self._vectors(part)).reshape(-1, 1, *part.shape[2:])

    @torch.no_grad()
    def _greatest(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.stack([likelihood.amax() for likelihood in self.log_likelihoods(maps)])

    def forward(self, images: Tensor) -> Scores:
        logarithms = self.log_likelihoods(self.backbone(images))
        likelihoods = [
            upsample((part - greatest).exp(), self.image_size, cover, align_corners=True)
            for part, greatest, cover in zip(logarithms, self.greatest, self.backbone.covers, strict=True)
        ]
        mean = torch.stack(likelihoods).mean(dim=0)
        anomaly_map = gaussian_blur(-mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), self.options.sigma)
        return Scores(anomaly_map.flatten(1).amax(dim=1), anomaly_map)


def rate(progress: float) -> float:
    """Return the step size at a share of the training, as a share of its highest (the official code's schedule)."""
    stage = progress * STAGES
    if stage < WARM_UP:
        return 0.1 + (_cosine(WARM_UP) - 0.1) * stage / WARM_UP
    return _cosine(math.floor(stage))


def _cosine(stage: float) -> float:
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * stage / STAGES)) / 2
