"""Pictures and regions: what a map says, for people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adcli.data.decoding import Pixels, resize_map

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

PANEL = 448
"""Longest side of a panel, in pixels."""

UNSEEN = 0.6
"""How much darker an image is drawn where it was not looked at."""

_MARGIN, _CAPTION, _TEXT = 12, 52, 16
_PAPER, _INK, _DEFECT, _GOOD = (255, 255, 255), (32, 33, 36), (176, 0, 32), (0, 105, 62)
_PREDICTED, _TRUE = (255, 255, 255), (0, 229, 255)

# From dark blue by green and yellow to dark red, its lightness highest in the middle, where the threshold lies.
_COLOURS = np.array(
    [
        (0.00, 48, 18, 59),
        (0.15, 65, 90, 205),
        (0.30, 40, 165, 235),
        (0.42, 60, 215, 165),
        (0.50, 165, 235, 75),
        (0.62, 245, 195, 50),
        (0.78, 240, 110, 30),
        (0.90, 200, 40, 10),
        (1.00, 122, 4, 3),
    ]
)


@dataclass(frozen=True)
class Region:
    """A connected part of a map above the pixel threshold; x, y, width and height in pixels of the image."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


def regions(anomaly_map: Map, pixel_threshold: float) -> list[Region]:
    """Return the 8-connected regions of a map (H, W) that lie above a threshold, the highest peak first."""
    from scipy.ndimage import find_objects, label

    labels, _ = label(anomaly_map > pixel_threshold, structure=np.ones((3, 3), int))
    found = []
    for index, (rows, columns) in enumerate(find_objects(labels), start=1):
        inside = labels[rows, columns] == index
        peak = float(anomaly_map[rows, columns][inside].max())
        width, height = columns.stop - columns.start, rows.stop - rows.start
        found.append(Region(columns.start, rows.start, width, height, int(inside.sum()), peak))
    return sorted(found, key=lambda region: region.peak, reverse=True)


def overlay(
    pixels: Pixels,
    anomaly_map: Map | None,
    *,
    image_score: float,
    threshold: float | None,
    pixel_threshold: float | None,
    map_range: tuple[float, float],
    mask: Mask | None = None,
    title: str = "",
) -> Image.Image:
    """Draw an image, the heat map over it, and a caption that gives score, threshold and verdict.

    Args:
        pixels: the image, (H, W, 3).
        anomaly_map: (H, W), NaN where the image was not looked at, or None for a model that only classifies.
        image_score: the image score.
        threshold: an image score above it is a defect; None where there is no verdict.
        pixel_threshold: the region above it is outlined in white; None for no outline.
        map_range: map values at the ends of the colour scale, the same for every picture of a run, so that colours
            mean the same in each.
        mask: the true defect, outlined in cyan on the image, or None.
        title: the first line of the caption.
    """
    size = _panel_size(pixels)
    image = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
    shown = resize_map(anomaly_map, size) if anomaly_map is not None else None
    truth = _resize_mask(mask, size) if mask is not None and mask.any() else None
    panels = [_outlined(image, truth, _TRUE)]
    if shown is not None:
        predicted = shown > pixel_threshold if pixel_threshold is not None else None
        panels.append(_outlined(_heated(image, shown, map_range), predicted, _PREDICTED))
    return _captioned(panels, title, image_score, threshold)


def _panel_size(pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = PANEL / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    return resize_map(mask.astype(np.float32), size) > 0.5


def _heated(image: Pixels, anomaly_map: Map, map_range: tuple[float, float]) -> Pixels:
    """Lay the colours of a map over an image in grey, stronger where the map is higher; darken what was not seen."""
    low, high = map_range
    level = ((anomaly_map - low) / max(high - low, 1e-12)).clip(0, 1)
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    share = strength(level)[:, :, None]
    heated = np.where(np.isnan(share), grey * (1 - UNSEEN), grey * (1 - share) + coloured(level) * share)
    drawn: Pixels = np.rint(heated).astype(np.uint8)
    return drawn


def coloured(level: Map) -> NDArray[np.float64]:
    """Return the colours (H, W, 3), 0 to 255, of levels (H, W) between the two ends of the scale, 0 and 1."""
    return np.stack([np.interp(level, _COLOURS[:, 0], _COLOURS[:, i]) for i in (1, 2, 3)], axis=2)


def gradient() -> str:
    """Return the colour scale as the stops of a CSS gradient."""
    return ", ".join(f"rgb({red:.0f} {green:.0f} {blue:.0f}) {at:.0%}" for at, red, green, blue in _COLOURS)


def strength(level: Map) -> Map:
    """Return the share that a heat map's colours have in what lies below them, more where the level is higher."""
    return 0.25 + 0.5 * level


def _outlined(image: Pixels, region: Mask | None, colour: Colour) -> Pixels:
    """Draw a line of two pixels around a region, with a dark edge that shows on any ground."""
    if region is None or not region.any():
        return image
    from scipy.ndimage import binary_dilation

    line = binary_dilation(region, iterations=2) & ~region
    edge = binary_dilation(line, iterations=1) & ~line
    drawn = image.copy()
    drawn[edge] = drawn[edge] // 3
    drawn[line] = colour
    return drawn


def _captioned(panels: list[Pixels], title: str, score: float, threshold: float | None) -> Image.Image:
    height, width = panels[0].shape[:2]
    canvas_width = max(_MARGIN + len(panels) * (width + _MARGIN), 420)
    canvas = Image.new("RGB", (canvas_width, _CAPTION + height + _MARGIN), _PAPER)
    for i, panel in enumerate(panels):
        canvas.paste(Image.fromarray(panel), (_MARGIN + i * (width + _MARGIN), _CAPTION))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    draw.text((_MARGIN, 6), title, fill=_INK, font=font)
    verdict, colour = _verdict(score, threshold)
    draw.text((_MARGIN, 28), verdict, fill=colour, font=font)
    where = _MARGIN + draw.textlength(f"{verdict}   ", font=font)
    limit = "no threshold" if threshold is None else f"threshold {threshold:.4g}"
    draw.text((where, 28), f"score {score:.4g}, {limit}", fill=_INK, font=font)
    return canvas


def _verdict(score: float, threshold: float | None) -> tuple[str, Colour]:
    if threshold is None:
        return "NO VERDICT", _INK
    return ("DEFECT", _DEFECT) if score > threshold else ("GOOD", _GOOD)
