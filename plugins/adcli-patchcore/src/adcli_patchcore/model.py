"""PatchCore: a memory bank of good patch features, thinned to a coreset, and the distance to it.

Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, arXiv 2106.08265. If paper and official
code differ, this follows the code:

- the patch score is the squared Euclidean distance to the nearest bank member (the paper: its root), and the image
  score the largest patch score, before the map is interpolated and blurred;
- the reweighting of the image score by Eq. 7 is off (``-o reweight=9`` turns it on).

Choices of our own: the coreset starts from one seeded random patch and minimises true distances (the code starts from
the mean distance to ten), in a seeded Gaussian projection (the code: an untrained linear layer); and the whole image is
looked at (the paper crops its centre, ``-o crop=0.875``, which hides defects at the border).

Rotated good images, the cosine distance, the mean of the largest hundredth of the patch scores and the foreground
(:mod:`adcli_patchcore.foreground`) are those of AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529), which is
PatchCore with a transformer's patches, few images and no coreset. All are off by default.

Of several backbones, ``A+B``, each has a bank of its own, and the distances of a patch to its nearest member in each
are added. First they are brought to one scale: that of their standard deviations over good patches.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from adcli import OptionError, Progress
from adcli.data import Size
from adcli.nn import (
    Batches,
    Model,
    Scores,
    create_backbone,
    distributed,
    memory_share,
    patch_embedding,
    rotate,
    upsample_and_blur,
)
from adcli_patchcore import PatchcoreOptions, sharded
from adcli_patchcore.foreground import Foreground
from adcli_patchcore.halves import BankSplitter, Halves, has_matrix_units, squared_distances
from adcli_patchcore.held import HeldPatches

SAMPLE = 16384
"""Good patches, at most, that the scale of distances is measured on."""

BANK_BLOCK = 2048
"""Bank members compared at a time, which bounds memory to patches x BANK_BLOCK distances."""


class PatchCore(Model):
    """PatchCore; see the module for the choices made.

    Buffers:
        bank: the coreset of patch embeddings, (M, D); of ``A+B``, those of the backbone with the finest map, and
            ``bank2`` those of the other.
        scale: what embeddings are divided by, (D,); ones unless ``standardise``.
        weight: of ``A+B``, what the distances to each bank are multiplied by, (2,).

    Attributes:
        foreground: which patches are looked at; None if all are.
        widths: how many of the D channels of an embedding belong to each bank.
    """

    bank: Tensor
    scale: Tensor
    weight: Tensor

    def __init__(self, options: PatchcoreOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        if options.reweight and options.score != "max":
            raise OptionError("is of the largest patch score; leave it out, or give -o score=max.", option="reweight")
        self.crop = (max(round(options.crop * image_size[0]), 1), max(round(options.crop * image_size[1]), 1))
        self.backbone = create_backbone(options, image_size=self.crop, pretrained=pretrained)
        self._owned = _group_by_owner(self.backbone.members)
        if options.reweight and len(self._owned) > 1:
            raise OptionError(f"is for a single bank; leave it out, or split {options.backbone}.", option="reweight")
        self.widths = [self._width([self.backbone.channels[i] for i in owned]) for owned in self._owned]
        self._names = ["bank", *(f"bank{i}" for i in range(2, len(self._owned) + 1))]
        for name in self._names:
            self.register_buffer(name, torch.empty(0, 0))
        self.register_buffer("scale", torch.empty(0))
        if len(self._owned) > 1:
            self.register_buffer("weight", torch.ones(len(self._owned)))
        self.foreground = Foreground() if options.foreground else None
        self._splitters = [BankSplitter() for _ in self._names]

    @property
    def banks(self) -> list[Tensor]:
        """The coreset of each backbone's embeddings, (M, D_i)."""
        return [getattr(self, name) for name in self._names]

    def _width(self, channels: Sequence[int]) -> int:
        """Return how many channels an embedding of maps has, of those that :func:`patch_embedding` leaves of each."""
        share = max(self.options.dimensions // len(channels), 1)
        return sum(min(count, share) for count in channels)

    def embed(self, images: Tensor) -> Tensor:
        """Return the patch embeddings of images (N, 3, H, W) as (N, D, h, w), those for one bank after another."""
        top, left = ((side - crop) // 2 for side, crop in zip(self.image_size, self.crop, strict=True))
        cropped = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        maps, covers = self.backbone(cropped), self.backbone.covers
        parts = [
            patch_embedding(
                [maps[i] for i in owned],
                self.options.dimensions,
                [covers[i] for i in owned],
                self.options.neighbourhood,
            )
            for owned in self._owned
        ]
        if len(parts) == 1:
            return parts[0]
        return patch_embedding(parts, covers=[covers[owned[0]] for owned in self._owned], neighbourhood=1)

    def fit(self, batches: Batches) -> None:
        """Fill the memory bank with the embeddings of good images and thin it to its coreset.

        Of several processes, each holds patches of its own images, and all get the bank.
        """
        self.backbone.equalise(batches)
        if self.foreground is not None:
            self.foreground.learn(lambda: map(self.embed, batches), batches.session.progress)
        size, height, width = self.embed(self.backbone.mean.new_zeros(1, 3, *self.image_size)).shape[1:]
        self.scale = self._standard_deviation(batches, size)
        project = self._projection()
        # At most: of several processes, some may see an image less.
        count = -(-batches.count // distributed.world_size()) * height * width * self.options.rotations
        # The bank has as many members as one of whole photographs would have: the search for neighbours takes as long
        # for each tile as for an image, and parts that overlap or look alike need no more.
        share = self.options.coreset * batches.photographs / batches.count
        held = HeldPatches(count, self.options.patches, project, wanted=round(share * count))
        for rows in self._embed_all(batches):
            held.add(rows)
        patches = held.rows()
        counts = torch.tensor([held.seen, len(patches)], device=patches.device)
        seen, total = distributed.reduce_sum(counts).cpu().tolist()
        progress = batches.session.progress
        count = self._size_of_bank(share, seen, total, progress)
        first = int(torch.randint(total, (1,)))
        for name, columns in zip(self._names, self._columns(), strict=True):
            if len(self._names) > 1:
                project = self._projection(self.scale[columns])
            setattr(self, name, self._thin(patches[:, columns], self.scale[columns], project, count, first, progress))
        if len(self._names) > 1:
            self.weight = self._weigh(patches[:: max(len(patches) // SAMPLE, 1)])

    def _thin(
        self,
        rows: Tensor,
        scale: Tensor,
        project: Callable[[Tensor], Tensor],
        count: int,
        first: int,
        progress: Progress,
    ) -> Tensor:
        """Return the coreset of embeddings (P, D_i), divided by their scale (D_i,), from the row ``first`` on."""
        picks = sharded.k_centre(project(rows), count, first=first)
        chosen = torch.tensor(list(progress.track(picks, count, "coreset")), device=rows.device)
        return self._normalise(sharded.members(rows, chosen) / scale)

    def _columns(self) -> list[slice]:
        """Return which channels of an embedding belong to each bank."""
        ends = list(accumulate(self.widths))
        return [slice(end - width, end) for end, width in zip(ends, self.widths, strict=True)]

    def _weigh(self, patches: Tensor) -> Tensor:
        """Return what distances are multiplied by so that those to each bank deviate alike over patches (P, D)."""
        found = []
        for i, columns in enumerate(self._columns()):
            rows = self._normalise(patches[:, columns] / self.scale[columns])
            _, distances = self._nearest(rows, min(2, len(self.banks[i])), i)
            # What is a member itself is compared with the others.
            found.append(torch.where(distances[:, 0] > 0, distances[:, 0], distances[:, -1]))
        deviations = sharded.standard_deviation([torch.stack(found, dim=1)])
        return deviations[0] / deviations.clamp_min(1e-12)

    def update(self, batches: Batches) -> None:
        """Choose the coreset again, of the bank and the embeddings of more images; their scale stays that of the fit.

        The bank grows by the share of the new patches that a fit would keep. A patch of the fit lies no farther from
        its bank than before, and that no farther from the new one than the largest distance of this selection.
        """
        height, width = self.embed(self.backbone.mean.new_zeros(1, 3, *self.image_size)).shape[2:]
        project, members = self._projection(), len(self.bank)
        count = batches.count * height * width * self.options.rotations
        share = self.options.coreset * batches.photographs / batches.count
        held = HeldPatches(count, max(self.options.patches - members, 2), project, wanted=round(share * count))
        for rows in self._embed_all(batches):
            held.add(rows)
        new = held.rows()
        wanted = members + max(round(share * held.seen), 1)
        if len(new) < held.seen:
            wanted = min(wanted, max((members + len(new)) // 2, members))
        first = int(torch.randint(members + len(new), (1,)))
        for name, bank, columns in zip(self._names, self.banks, self._columns(), strict=True):
            scale = self.scale[columns]
            if len(self._names) > 1:
                project = self._projection(scale)
            patches = torch.cat([bank * scale, new[:, columns]])
            setattr(self, name, self._thin(patches, scale, project, wanted, first, batches.session.progress))

    def _size_of_bank(self, share: float, seen: int, held: int, progress: Progress) -> int:
        count = max(round(share * seen), 1)
        if held == seen or count <= held // 2:
            return count
        # What is held has been chosen already: to keep more than half would be no choice among it.
        progress.note(f"-o patches={self.options.patches}: the coreset has {held // 2} patches instead of {count}.")
        return held // 2

    def _embed_all(self, batches: Batches) -> Iterator[Tensor]:
        """Yield the embeddings of this process's patches, in all orientations, (P, D) at a time."""
        for images in batches.sharded():
            for i in range(self.options.rotations):
                embedding = self.embed(rotate(images, 360 * i / self.options.rotations))
                rows = embedding.permute(0, 2, 3, 1).flatten(0, 2)
                yield rows if self.foreground is None else rows[self.foreground(embedding).flatten() > 0]

    def _standard_deviation(self, batches: Batches, size: int) -> Tensor:
        """Return what the ``size`` channels are divided by, (D,); measured in a pass of its own."""
        if not self.options.standardise:
            return torch.ones(size, device=batches.session.device)
        deviation = sharded.standard_deviation(self._embed_all(batches))
        # A channel that hardly varies on good images must not outweigh all others as soon as it does vary.
        return deviation.clamp(min=0.1 * float(deviation.mean()))

    def _projection(self, scale: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Return what maps embeddings to the dimensions that the coreset is chosen in (paper, section 3.2).

        Args:
            scale: what the embeddings are divided by, (D_i,); that of all channels if None.
        """
        divisor = self.scale if scale is None else scale
        dimensions: int = self.options.projection
        if len(divisor) <= dimensions:
            return lambda rows: self._normalise(rows / divisor)
        # Drawn on the CPU, so that every device gets the same.
        projection = torch.randn(len(divisor), dimensions).to(divisor.device) / dimensions**0.5
        if self.options.distance == "cosine":
            return lambda rows: self._normalise(rows / divisor) @ projection
        return lambda rows: rows @ (projection / divisor[:, None])

    def _normalise(self, rows: Tensor) -> Tensor:
        """Return rows (P, D) of unit length for the cosine distance, else as they are."""
        return F.normalize(rows, dim=1) if self.options.distance == "cosine" else rows

    def forward(self, images: Tensor) -> Scores:
        embedding = self.embed(images)
        scaled = embedding / self.scale.view(1, -1, 1, 1) if self.options.standardise else embedding
        height, width = embedding.shape[2:]
        rows = scaled.permute(0, 2, 3, 1).flatten(0, 2)
        patch_scores = self._score_patches(rows).reshape(-1, height * width)
        if self.foreground is not None:
            patch_scores = patch_scores * self.foreground(embedding).flatten(1)
        image_scores = self._score_images(patch_scores)
        if self.options.reweight:
            image_scores = image_scores * self._weight(self._normalise(rows), patch_scores)
        located = patch_scores.reshape(-1, 1, height, width)
        maps = upsample_and_blur(located, self.crop, self.options.sigma, self.backbone.covers[0])
        return Scores(image_scores, self._uncrop(maps))

    def _score_patches(self, rows: Tensor) -> Tensor:
        """Return the distances of rows (P, D) to the banks, (P,)."""
        total = rows.new_zeros(())
        parts = [rows[:, columns].contiguous() for columns in self._columns()] if len(self.widths) > 1 else [rows]
        for i, (bank, part) in enumerate(zip(self.banks, parts, strict=True)):
            count = min(self.options.neighbours, len(bank))
            distance = self._nearest(self._normalise(part), count, i)[1].mean(dim=1)
            total = distance if i == 0 else total + self.weight[i] * distance
        # Of unit vectors, |a - b|^2 = 2 (1 - a b).
        return total / 2 if self.options.distance == "cosine" else total

    def _score_images(self, patch_scores: Tensor) -> Tensor:
        """Return the score of each image, (N,), from those of its patches, (N, P)."""
        if self.options.score == "max":
            return patch_scores.amax(dim=1)
        count = max(patch_scores.shape[1] // 100, 1)
        return torch.topk(patch_scores, count, dim=1).values.mean(dim=1)

    def _nearest(self, rows: Tensor, count: int, index: int = 0) -> tuple[Tensor, Tensor]:
        """Return the indices of a bank's nearest members, nearest first, and their squared distances, both (P, count).

        They are found by |r - b|^2 - |r|^2 = |b|^2 - 2 r b, one matrix product. This loses the digits of small
        distances between long vectors, so the distances returned come from the differences r - b.
        """
        bank = self.banks[index]
        if not has_matrix_units(rows.device):
            norms = bank.square().sum(dim=1)
            return self._search(
                rows, bank, count, BANK_BLOCK, lambda part: torch.addmm(norms[part], rows, bank[part].T, alpha=-2)
            )
        origin, members = self._splitters[index].split(bank)
        halves = Halves.of(rows, origin)
        if count == 1:
            _, nearest = halves.find_nearest(members)
            return nearest[:, None], squared_distances(rows, bank, nearest)[:, None]
        width = max(memory_share(rows.device, 1 / 40, 0) // (4 * len(rows)), BANK_BLOCK) // 8 * 8
        return self._search(rows, bank, count, width, lambda part: halves.compare(members[part]))

    def _search(
        self, rows: Tensor, bank: Tensor, count: int, width: int, compare: Callable[[slice], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Find the nearest among a block of the bank at a time; ``compare`` orders the members of one, (P, width).

        Distances are taken while the block is at hand, as an exported graph, in which blocks are constants, would
        otherwise hold the whole bank a second time.
        """
        best, nearest, exact = torch.empty(0), torch.empty(0), torch.empty(0)
        for start in range(0, len(bank), width):
            block = bank[start : start + width]
            relative, index = _smallest(compare(slice(start, start + width)), min(count, len(block)))
            differences = [rows - block[index[:, i]] for i in range(index.shape[1])]
            distances = torch.stack([difference.square().sum(dim=1) for difference in differences], dim=1)
            if start == 0:
                best, nearest, exact = relative, index, distances
                continue
            # The best of the blocks before compete with this block's.
            best, order = _smallest(torch.cat([best, relative], dim=1), count)
            nearest = torch.cat([nearest, index + start], dim=1).gather(1, order)
            exact = torch.cat([exact, distances], dim=1).gather(1, order)
        return nearest, exact

    def _weight(self, rows: Tensor, patch_scores: Tensor) -> Tensor:
        """Return Eq. 7's factor of the image score, (N,): low if the nearest member's own neighbours are as near."""
        positions = patch_scores.shape[1]
        most = patch_scores.argmax(dim=1) + torch.arange(len(patch_scores), device=rows.device) * positions
        patch = rows[most]
        nearest, _ = self._nearest(patch, 1)
        member = self.bank[nearest[:, 0]]
        around, _ = self._nearest(member, min(self.options.reweight, len(self.bank)))
        distances = (patch[:, None] - self.bank[around]).square().sum(dim=2).sqrt()
        return 1 - torch.softmax(distances, dim=1)[:, 0]

    def _uncrop(self, maps: Tensor) -> Tensor:
        """Return maps at the image's size, 0 outside the crop."""
        margins = []
        for side, crop in zip(reversed(self.image_size), reversed(self.crop), strict=True):
            before = (side - crop) // 2
            margins += [before, side - crop - before]
        return F.pad(maps, margins) if any(margins) else maps


def _group_by_owner(members: Sequence[int]) -> list[list[int]]:
    """Return the maps of each backbone, the one with the finest map first: ``(1, 0, 0, 1)`` gives [0, 3] and [1, 2]."""
    return [[i for i, owner in enumerate(members) if owner == one] for one in dict.fromkeys(members)]


def _smallest(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the smallest values of each row, the least first, and their columns, both (P, count)."""
    # A minimum takes a fraction of the time of a sorted selection.
    if count == 1:
        return distances.min(dim=1, keepdim=True)
    return torch.topk(distances, count, dim=1, largest=False)
