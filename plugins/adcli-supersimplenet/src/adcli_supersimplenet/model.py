"""SuperSimpleNet: heads that tell features of good images from noisy ones, and from those of known defects.

Rolih, Fučka and Skočaj, ICPR 2024, arXiv 2408.03143. Architecture, losses, noise and schedule are those of the official
code, in both of its modes: without known defects, and with some. As there, an epoch with known defects has each of them
in four flips and as many good images, gradients are clipped, noise is added at fewer places, and the segmentation head
learns from the classification loss, too. These things differ:

- maps are enlarged with half-pixel centres, where the official code aligns their corners: a position of the map so lies
  where its features come from;
- the adaptor is applied before maps are enlarged and averaged, and not after it. That is the same, as the one mixes
  channels and the other mixes positions, in a fraction of the time;
- the four flips are drawn at random for each image, good ones among them: the official code flips defects alone, so
  that heads may learn to tell them by that;
- a mask is averaged, not sampled, down to the features' grid, and marks at least one position;
- a known defect may lack a mask: then its positions are left out of the segmentation losses, and get no noise.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import MultiStepLR

from adcli.data import Size
from adcli.nn import (
    Batches,
    Cover,
    FrozenFeatures,
    LabelledBatch,
    LabelledBatches,
    Model,
    Scores,
    create_backbone,
    optimise,
    upsample,
    upsample_and_blur,
)
from adcli_supersimplenet import SuperSimpleNetOptions
from adcli_supersimplenet.heads import Heads
from adcli_supersimplenet.noise import draw_masks

MARGIN, FOCUS = 0.5, 4
"""Of the truncated L1 loss, and the exponent of the focal loss (official code)."""

ADAPTOR_RATE, DECAY, ADAPTOR_DECAY = 0.5, 1e-5, 1e-2
"""The adaptor's step size as a share of the heads', and the weight decays of both (official code)."""

MILESTONES, FALL = (0.8, 0.9), 0.4
"""The shares of the training at which step sizes fall, and to which share (official code)."""

THRESHOLD, THRESHOLD_WITH_DEFECTS, NORM_WITH_DEFECTS = 0.2, 0.6, 1.0
"""Of Perlin noise, and to what gradients are clipped (official code)."""

FLIPS = 4


class SuperSimpleNet(Model):
    """SuperSimpleNet; see the module for the choices made."""

    def __init__(self, options: SuperSimpleNetOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.backbone = create_backbone(options, image_size=image_size, pretrained=pretrained)
        self.heads = Heads(sum(self.backbone.channels))

    def fit(self, batches: Batches) -> None:
        """Train the heads on good images, and on known defects if there are any."""
        optimizer = self._make_optimizer()
        milestones = [math.ceil(round(share * self.options.epochs, 6)) for share in MILESTONES]
        schedule = {
            "optimizer": optimizer,
            "epochs": self.options.epochs,
            "scheduler": MultiStepLR(optimizer, milestones, FALL),
        }
        if batches.defects:
            optimizer.register_step_pre_hook(lambda *_: self._clip_gradients())
            repeat, augment = (FLIPS, flip) if self.options.flips else (1, None)
            optimise(self.heads, self.labelled_loss, LabelledBatches(batches, repeat), augment=augment, **schedule)
        else:
            features = FrozenFeatures(self.backbone, batches, self.options.memory << 20)
            optimise(self.heads, self.good_loss, features, **schedule)
        self.heads.requires_grad_(False)

    def _make_optimizer(self) -> torch.optim.AdamW:
        rate, adaptor = self.options.learning_rate, self.heads.adaptor
        own = set(adaptor.parameters())
        groups: list[dict[str, Any]] = [
            {"params": list(own), "lr": ADAPTOR_RATE * rate, "weight_decay": ADAPTOR_DECAY},
            {"params": [one for one in self.heads.parameters() if one not in own], "lr": rate, "weight_decay": DECAY},
        ]
        return torch.optim.AdamW(groups)

    def _clip_gradients(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.heads.parameters(), NORM_WITH_DEFECTS)

    def good_loss(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the loss of the backbone's maps of good images."""
        adapted = self.adapt(maps)
        marked = adapted.new_zeros(len(adapted), 1, *adapted.shape[2:])
        return self._loss(adapted, marked, marked[:, 0, 0, 0], THRESHOLD, apart=True)

    def labelled_loss(self, batch: LabelledBatch) -> Tensor:
        """Return the loss of good images and known defects."""
        with torch.no_grad():
            maps = self.backbone(batch.images)
        adapted = self.adapt(maps)
        marked = shrink_masks(batch.masks, (adapted.shape[2], adapted.shape[3]))
        return self._loss(adapted, marked, batch.labels, THRESHOLD_WITH_DEFECTS, apart=False)

    def _loss(self, adapted: Tensor, marked: Tensor, labels: Tensor, threshold: float, *, apart: bool) -> Tensor:
        """Return the loss of features with noise at some places (paper, section 3.2 and 3.4).

        Args:
            adapted: features, (N, C, h, w); each image is taken twice, with noise at other places.
            marked: 1 where they are defective, 0 where they are good, NaN where it is not known, (N, 1, h, w).
            labels: 1 of defects, 0 of good images, (N,).
            threshold: of Perlin noise, unless the user gives another.
            apart: as :class:`Heads` has it.
        """
        adapted, marked, labels = (torch.cat([part, part]) for part in (adapted, marked, labels))
        asked = self.options.perlin_threshold
        size = (adapted.shape[2], adapted.shape[3])
        noisy = draw_masks(len(adapted), size, threshold if asked is None else asked).to(adapted.device)
        noisy &= marked == 0
        logits, scores = self.heads(add_noise(adapted, noisy, self.options.noise), apart=apart)
        marked = torch.where(noisy, 1.0, marked)
        labels = torch.maximum(labels, noisy.flatten(1).any(dim=1).to(labels.dtype))
        known = ~marked.isnan()
        return segmentation_loss(logits.float()[known], marked[known]) + focal_loss(scores.float(), labels)

    def adapt(self, maps: Sequence[Tensor]) -> Tensor:
        """Return what the adaptor makes of the backbone's maps, (N, C, h, w), on twice the grid of the first one.

        The official code joins the maps, enlarged, averages 3 x 3 neighbourhoods (zeros beyond the border counted),
        and then mixes channels.
        """
        first, covers = maps[0], self.backbone.covers
        grid, cover = (2 * first.shape[2], 2 * first.shape[3]), Cover(covers[0].stride / 2, covers[0].offset)
        adaptor = self.heads.adaptor
        weights = torch.split(adaptor.weight, [part.shape[1] for part in maps], dim=1)
        mixed = [
            upsample(F.conv2d(part, weight), grid, None if part is first else place.on(cover))
            for part, weight, place in zip(maps, weights, covers, strict=True)
        ]
        joined = torch.stack(mixed).sum(dim=0) if len(mixed) > 1 else mixed[0]
        assert adaptor.bias is not None
        return F.avg_pool2d(joined, 3, stride=1, padding=1) + adaptor.bias[:, None, None]

    def forward(self, images: Tensor) -> Scores:
        logits, scores = self.heads(self.adapt(self.backbone(images)))
        cover = self.backbone.covers[0]
        fine = Cover(cover.stride / 2, cover.offset)
        return Scores(scores, upsample_and_blur(logits, self.image_size, self.options.sigma, fine))


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (N, C, H, W), each upside down or not and sideways or not, by chance."""
    chosen = torch.rand(2, len(images), 1, 1, 1, generator=generator) < 0.5
    upside, sideways = chosen.to(images.device)
    images = torch.where(upside, images.flip(2), images)
    return torch.where(sideways, images.flip(3), images)


def shrink_masks(masks: Tensor, size: Size) -> Tensor:
    """Return masks (N, 1, H, W) on a grid, (N, 1, h, w): 1 where they mark at least half of a position, and else 0.

    If they mark less of each, those of which they mark most are 1, so that no defect is lost. What is not known, NaN,
    stays so.
    """
    shares = F.adaptive_avg_pool2d(masks, size)
    most = shares.amax(dim=(2, 3), keepdim=True)
    marked = (shares >= most.clamp(max=0.5)) & (most > 0)
    return torch.where(shares.isnan(), shares, marked.to(shares.dtype))


def add_noise(features: Tensor, places: Tensor, deviation: float) -> Tensor:
    """Return features (N, C, h, w) with normal noise at some places, (N, 1, h, w)."""
    noise = torch.zeros_like(features, memory_format=torch.channels_last)
    count = int(places.sum())
    noise.permute(0, 2, 3, 1)[places[:, 0]] = deviation * torch.randn(
        count, features.shape[1], device=features.device, dtype=features.dtype
    )
    return features + noise


def segmentation_loss(logits: Tensor, marked: Tensor) -> Tensor:
    """Return the truncated L1 loss and the focal loss of positions (paper, Eq. 2 to 4), of any number.

    Args:
        logits: higher where a defect is more likely.
        marked: 1 of defective positions, 0 of good ones.
    """
    sides = ((1 - marked, logits), (marked, -logits))
    truncated = [(side * (value + MARGIN).clamp(min=0)).sum() / side.sum().clamp(min=1) for side, value in sides]
    return torch.stack(truncated).sum() + focal_loss(logits, marked)


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean focal loss of logits for truths of 0 or 1 (Lin et al., ICCV 2017, Eq. 4; exponent 4).

    Of no logits, it is 0.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return ((1 - (-entropy).exp()) ** FOCUS * entropy).sum() / max(truth.numel(), 1)
