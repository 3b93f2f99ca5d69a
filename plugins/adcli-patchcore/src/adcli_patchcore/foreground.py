"""Which patches are of the object: where the first principal component of patch features is on the object's side.

After AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529, section 3.3). There, each image has a component of its own,
and a threshold that suits one network. Here component and threshold are learnt once from good images, so that they mean
the same in every image, and a defect cannot move them; the threshold is Otsu's (IEEE Transactions on Systems, Man, and
Cybernetics 1979). As there, the object is on the side that the centre of the images is on, and its mask is dilated, and
closed, over 3 x 3 positions.

All patches are looked at instead, and a note says so, if the two sides are not told apart clearly, as in textures; if
the object reaches as far into the border as into the centre; or if it takes up half of the images or more, as there is
then little background to be disturbed by, and much to lose.
"""

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adcli import Progress
from adcli.nn import principal_directions

MEASURED = 16
"""Batches of good images that are looked at, at most."""

SEPARATION = 0.75
"""Least share of the component's variance that lies between the two sides; of a Gaussian in two halves, it is 0.64."""

CENTRE = 0.2
"""Where the centre of the images begins, as a share of their sides (official code)."""

LARGEST = 0.5
"""Share of the images that the object must stay below."""

BORDER = 0.5
"""Largest share of the object in the outermost positions, relative to that in the centre."""


class Foreground(nn.Module):
    """Tells patches of the object from those of the background.

    Buffers:
        direction: unit vector along which patches are compared, (D,); zeros if all are looked at.
        threshold: what is above it lies on the object's side, ().
    """

    direction: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("direction", torch.empty(0))
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, embedding: Tensor) -> Tensor:
        """Return 1 where patches (N, D, h, w) are of the object, else 0, (N, 1, h, w)."""
        return close(dilate((self._project(embedding) > self.threshold).to(embedding.dtype)))

    def learn(self, passes: Callable[[], Iterable[Tensor]], progress: Progress) -> None:
        """Find the two sides in embeddings (N, D, h, w) of good images.

        Args:
            passes: gives them again each time.
            progress: is told if all patches are to be looked at, and why.
        """
        rows = (part.permute(0, 2, 3, 1).flatten(0, 2) for part in islice(passes(), MEASURED))
        self.direction = principal_directions(rows, 1)[:, 0]
        projected = torch.cat([self._project(part) for part in islice(passes(), MEASURED)])
        threshold, separation = find_threshold(projected.flatten())
        self.threshold = threshold
        if _centre_share(projected > threshold) < _border_share(projected > threshold):
            self.direction, self.threshold, projected = -self.direction, -threshold, -projected
        objects = close(dilate((projected > self.threshold).float()))
        share, centre, border = float(objects.mean()), _centre_share(objects), _border_share(objects)
        problem = ""
        if separation < SEPARATION:
            problem = "nothing tells an object from a background"
        elif share >= LARGEST:
            problem = f"the object takes up {share:.0%} of the images"
        elif border > BORDER * centre:
            problem = "what stands out lies at the border as well as in the centre"
        if problem:
            progress.note(f"-o foreground=true: all patches are looked at, since {problem}.")
            self.direction, self.threshold = torch.zeros_like(self.direction), torch.full_like(threshold, -1.0)

    def _project(self, embedding: Tensor) -> Tensor:
        return F.conv2d(embedding, self.direction[None, :, None, None])


def find_threshold(values: Tensor) -> tuple[Tensor, float]:
    """Return the value that divides values (P,) into two classes with the largest variance between them (Otsu).

    Also the share of all variance that is between them.
    """
    ordered = values.double().cpu().sort().values
    count = len(ordered)
    below = torch.arange(1, count, dtype=torch.float64)
    sums = ordered.cumsum(0)
    difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) * difference.square() / count**2
    best = int(between.argmax())
    total = float(ordered.var(correction=0))
    middle = (ordered[best] + ordered[best + 1]) / 2
    return middle.to(values.device, values.dtype), float(between[best]) / total if total else 0.0


def dilate(mask: Tensor) -> Tensor:
    """Grow a mask (N, 1, h, w) of ones by a position in all directions."""
    return F.max_pool2d(mask, 3, stride=1, padding=1)


def close(mask: Tensor) -> Tensor:
    """Fill gaps of up to two positions in a mask (N, 1, h, w) of ones: grow it, then shrink it."""
    return 1 - dilate(1 - dilate(mask))


def _centre_share(mask: Tensor) -> float:
    """Return the share of the mask in the centre."""
    height, width = mask.shape[2:]
    rows = slice(int(CENTRE * height), max(int((1 - CENTRE) * height), 1))
    columns = slice(int(CENTRE * width), max(int((1 - CENTRE) * width), 1))
    return float(mask[:, :, rows, columns].float().mean())


def _border_share(mask: Tensor) -> float:
    """Return the share of the mask in the outermost positions."""
    mask = mask.float()
    edges = [mask[:, :, 0], mask[:, :, -1], mask[:, :, :, 0], mask[:, :, :, -1]]
    return float(torch.cat([edge.flatten() for edge in edges]).mean())
