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
"""

from collections.abc import Callable, Iterator

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

BANK_BLOCK = 2048
"""Bank members compared at a time, which bounds memory to patches x BANK_BLOCK distances."""


class PatchCore(Model):
    """PatchCore; see the module for the choices made.

    Buffers:
        bank: the coreset of patch embeddings, (M, D).
        scale: what embeddings are divided by, (D,); ones unless ``standardise``.

    Attributes:
        foreground: which patches are looked at; None if all are.
    """

    bank: Tensor
    scale: Tensor

    def __init__(self, options: PatchcoreOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        if options.reweight and options.score != "max":
            raise OptionError("is of the largest patch score; leave it out, or give -o score=max.", option="reweight")
        self.crop = (max(round(options.crop * image_size[0]), 1), max(round(options.crop * image_size[1]), 1))
        self.backbone = create_backbone(options, image_size=self.crop, pretrained=pretrained)
        self.register_buffer("bank", torch.empty(0, 0))
        self.register_buffer("scale", torch.empty(0))
        self.foreground = Foreground() if options.foreground else None
        self._splitter = BankSplitter()

    def embed(self, images: Tensor) -> Tensor:
        """Return the patch embeddings of images (N, 3, H, W) as (N, D, h, w)."""
        top, left = ((side - crop) // 2 for side, crop in zip(self.image_size, self.crop, strict=True))
        cropped = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        maps = self.backbone(cropped)
        return patch_embedding(maps, self.options.dimensions, self.backbone.covers, self.options.neighbourhood)

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
        picks = sharded.k_centre(project(patches), count, first=int(torch.randint(total, (1,))))
        chosen = torch.tensor(list(progress.track(picks, count, "coreset")), device=patches.device)
        self.bank = self._normalise(sharded.members(patches, chosen) / self.scale)

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

    def _projection(self) -> Callable[[Tensor], Tensor]:
        """Return what maps embeddings to the dimensions that the coreset is chosen in (paper, section 3.2)."""
        dimensions: int = self.options.projection
        if len(self.scale) <= dimensions:
            return lambda rows: self._normalise(rows / self.scale)
        # Drawn on the CPU, so that every device gets the same.
        projection = torch.randn(len(self.scale), dimensions).to(self.scale.device) / dimensions**0.5
        if self.options.distance == "cosine":
            return lambda rows: self._normalise(rows / self.scale) @ projection
        return lambda rows: rows @ (projection / self.scale[:, None])

    def _normalise(self, rows: Tensor) -> Tensor:
        """Return rows (P, D) of unit length for the cosine distance, else as they are."""
        return F.normalize(rows, dim=1) if self.options.distance == "cosine" else rows

    def forward(self, images: Tensor) -> Scores:
        embedding = self.embed(images)
        scaled = embedding / self.scale.view(1, -1, 1, 1) if self.options.standardise else embedding
        height, width = embedding.shape[2:]
        rows = self._normalise(scaled.permute(0, 2, 3, 1).flatten(0, 2))
        neighbours = min(self.options.neighbours, len(self.bank))
        nearest, distances = self._nearest(rows, neighbours)
        patch_scores = distances.mean(dim=1).reshape(-1, height * width)
        if self.options.distance == "cosine":
            # Of unit vectors, |a - b|^2 = 2 (1 - a b).
            patch_scores = patch_scores / 2
        if self.foreground is not None:
            patch_scores = patch_scores * self.foreground(embedding).flatten(1)
        image_scores = self._score_images(patch_scores)
        if self.options.reweight:
            image_scores = image_scores * self._weight(rows, nearest, patch_scores)
        located = patch_scores.reshape(-1, 1, height, width)
        maps = upsample_and_blur(located, self.crop, self.options.sigma, self.backbone.covers[0])
        return Scores(image_scores, self._uncrop(maps))

    def _score_images(self, patch_scores: Tensor) -> Tensor:
        """Return the score of each image, (N,), from those of its patches, (N, P)."""
        if self.options.score == "max":
            return patch_scores.amax(dim=1)
        count = max(patch_scores.shape[1] // 100, 1)
        return torch.topk(patch_scores, count, dim=1).values.mean(dim=1)

    def _nearest(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the indices of the nearest bank members, nearest first, and their squared distances, both (P, count).

        They are found by |r - b|^2 - |r|^2 = |b|^2 - 2 r b, one matrix product. This loses the digits of small
        distances between long vectors, so the distances returned come from the differences r - b.
        """
        if not has_matrix_units(rows.device):
            norms = self.bank.square().sum(dim=1)
            return self._search(
                rows, count, BANK_BLOCK, lambda part: torch.addmm(norms[part], rows, self.bank[part].T, alpha=-2)
            )
        origin, members = self._splitter.split(self.bank)
        halves = Halves.of(rows, origin)
        if count == 1:
            _, index = halves.find_nearest(members)
            return index[:, None], squared_distances(rows, self.bank, index)[:, None]
        width = max(memory_share(rows.device, 1 / 40, 0) // (4 * len(rows)), BANK_BLOCK) // 8 * 8
        return self._search(rows, count, width, lambda part: halves.compare(members[part]))

    def _search(
        self, rows: Tensor, count: int, width: int, compare: Callable[[slice], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Find the nearest among a block of the bank at a time; ``compare`` orders the members of one, (P, width).

        Distances are taken while the block is at hand, as an exported graph, in which blocks are constants, would
        otherwise hold the whole bank a second time.
        """
        best, nearest, exact = torch.empty(0), torch.empty(0), torch.empty(0)
        for start in range(0, len(self.bank), width):
            block = self.bank[start : start + width]
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

    def _weight(self, rows: Tensor, nearest: Tensor, patch_scores: Tensor) -> Tensor:
        """Return Eq. 7's factor of the image score, (N,): low if the nearest member's own neighbours are as near."""
        positions = patch_scores.shape[1]
        most = patch_scores.argmax(dim=1) + torch.arange(len(patch_scores), device=rows.device) * positions
        patch, member = rows[most], self.bank[nearest[most, 0]]
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


def _smallest(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the smallest values of each row, the least first, and their columns, both (P, count)."""
    # A minimum takes a fraction of the time of a sorted selection.
    if count == 1:
        return distances.min(dim=1, keepdim=True)
    return torch.topk(distances, count, dim=1, largest=False)
