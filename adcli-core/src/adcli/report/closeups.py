"""The part of a large photograph that is shown close up, since it could not be made out in the picture of all of it."""

import numpy as np

from adcli.data.decoding import Size
from adcli.metrics.strips import bands
from adcli.pictures.cards import Part
from adcli.pictures.colours import Mask
from adcli.scoring.prediction import Prediction

LARGEST = 4
"""A close-up shows at most one of as many parts of each side of a photograph; all of it shows what is larger."""


def choose_part(prediction: Prediction, shown: Size, mask: Mask | None = None) -> Part | None:
    """Return what to show close up: the region with the highest peak, or if there is none the largest true defect.

    Args:
        prediction: of the photograph.
        shown: height and width of what is shown, in pixels of the photograph, unless the region takes more.
        mask: the true defect, (H, W), if it is known.

    Returns:
        The part, with the region in its middle as far as the photograph reaches. None if there is nothing to show, or
        the part would be so large that the picture of all shows it as well.
    """
    if prediction.regions:
        region = prediction.regions[0]
        box = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    else:
        found = None if mask is None else _find_largest(mask)
        if found is None:
            return None
        box = found
    # As much around the region as its own size, at least.
    share = max(1.0, *(2 * (side.stop - side.start) / least for side, least in zip(box, shown, strict=True)))
    sides = [round(least * share) for least in shown]
    if any(LARGEST * side > total for side, total in zip(sides, prediction.size, strict=True)):
        return None
    starts = [
        min(max((part.start + part.stop - side) // 2, 0), total - side)
        for part, side, total in zip(box, sides, prediction.size, strict=True)
    ]
    return slice(starts[0], starts[0] + sides[0]), slice(starts[1], starts[1] + sides[1])


def _find_largest(mask: Mask) -> Part | None:
    """Return the rows and columns of the largest region of a mask; None if it marks nothing."""
    from scipy.ndimage import find_objects

    best, most = None, 0
    for band in bands(mask):
        areas = np.bincount(band.labels[band.labels > 0])
        if areas.max() > most:
            most = int(areas.max())
            rows, columns = find_objects(band.labels)[int(areas.argmax()) - 1]
            top, left = band.rows.start, band.columns.start
            best = slice(top + rows.start, top + rows.stop), slice(left + columns.start, left + columns.stop)
    return best
