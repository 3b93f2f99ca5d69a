"""Photographs with the heat of a map over them and outlines around regions, pixel by pixel."""

import numpy as np
from PIL import Image

from adcli.data.decoding import Pixels, Size
from adcli.data.framing_standalone import scale_flags
from adcli.pictures.cards import GAP
from adcli.pictures.colours import PREDICTED, Colour, Map, Mask, colour_map
from adcli.pictures.shrinking import fit_map, show_spots, shrink_mask

LINE = 2
"""Width of an outline, in pixels, at least."""


def resize_photo(pixels: Pixels, size: Size) -> Pixels:
    """Return a photograph (H, W, 3) at the size of a panel."""
    photo = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS, reducing_gap=GAP)
    return np.asarray(photo)


def draw_heat(image: Pixels, anomaly_map: Map, map_range: tuple[float, float], marked: Mask | None) -> Pixels:
    """Draw a map of any size over an image (h, w, 3), and the outlines of what is marked, of any size as well.

    Args:
        image: the photograph at the size of the panel.
        anomaly_map: NaN where the photograph was not looked at.
        map_range: map values at the two ends of the colour scale.
        marked: what is said to be defective; None of a good image.
    """
    size = image.shape[0], image.shape[1]
    heat = lay_over(image, fit_map(anomaly_map, size), map_range)
    return outline_region(heat, None if marked is None else fit_mask(marked, size), PREDICTED)


def fit_mask(mask: Mask, size: Size) -> Mask:
    """Return a mask at the size of a panel; of each region something is left that shows, however small it becomes."""
    shrunk = shrink_mask(mask, size)
    fitted = scale_flags(shrunk, size)
    return fitted if shrunk.shape == mask.shape else show_spots(fitted)


def lay_over(image: Pixels, anomaly_map: Map, map_range: tuple[float, float]) -> Pixels:
    """Lay the heat layer of a map over an image in grey."""
    heat = colour_map(anomaly_map, map_range)
    colours, share = heat[:, :, :3], heat[:, :, 3:]
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    drawn: Pixels = np.rint(grey * (1 - share) + colours * share).astype(np.uint8)
    return drawn


def outline_region(
    image: Pixels, region: Mask | None, colour: Colour, width: int = LINE, *, inside: bool = True
) -> Pixels:
    """Draw a line of some pixels around a region, with a dark edge half as wide that shows on any ground.

    Args:
        image: what is drawn on; it is left as it is.
        region: what to outline, if anything.
        colour: of the line.
        width: of the line, at least 2.
        inside: whether the edge is drawn on the region as well.
    """
    if region is None or not region.any():
        return image
    from scipy.ndimage import binary_dilation

    line = binary_dilation(region, iterations=width) & ~region
    edge = binary_dilation(line, iterations=width // 2) & ~line
    if not inside:
        edge &= ~region
    drawn = image.copy()
    drawn[edge] = drawn[edge] // 3
    drawn[line] = colour
    return drawn
