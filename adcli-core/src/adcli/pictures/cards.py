"""The pictures of a page: photographs small enough for hundreds of them, with regions as outlines on top."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adcli._showing import introduce
from adcli.data.decoding import Pixels, read_image
from adcli.pictures.colours import PREDICTED, TRUE, Colour, Map, Mask, colour_map
from adcli.pictures.shrinking import fit_map, show_spots, shrink_mask, spread_peaks

Part = tuple[slice, slice]
"""Rows and columns."""

LONG_SIDE = 360
"""Longest side of a photograph, in pixels."""

DRAWN_SIDE = 240
"""Longest side of a drawing of all parts, in pixels of a screen."""

HEAT_SIDE = 96
"""Longest side of a heat map; browsers interpolate it, as maps are smooth."""

FINE = 4
"""A map is as many times as large as its heat map, or more, if what is in it may be small."""

CLOSE_SIDE = 200
"""Longest side of a close-up, in pixels."""

TRACED_SIDE = 320
"""Longest side of a mask that is traced, in pixels."""

PHOTO_BYTES = 15_000
HEAT_BYTES = 3_000
CLOSE_BYTES = 5_000
EMBEDDED_BYTES = 44_900
"""What an encoded picture takes at most, before a third more as text; a page of 600 images then stays under 15 MB."""

GAP = 3.0
"""How much larger than the picture a photograph is after it was shrunk in the simplest way, by whole pixels."""

QUALITIES = (80, 60, 40, 20)


@dataclass(frozen=True)
class Picture:
    """A photograph, the heat map over it and two outlines, as parts of an SVG drawing.

    Attributes:
        width: of the photograph, in the drawing's units.
        height: likewise.
        photo: the photograph, as a data URI.
        heat: the heat map, partly transparent, as a data URI; None for a model that only classifies.
        predicted: path of the outline of the predicted region; empty where there is none.
        true: path of the outline of the true defect; empty where there is none or it is not known.
        close: a part of the photograph, pixel by pixel, as a data URI; empty where it would show nothing more.
    """

    width: int
    height: int
    photo: str
    heat: str | None
    predicted: str
    true: str
    close: str = ""

    @property
    def is_wide(self) -> bool:
        """Tell whether two of them are better seen one above the other."""
        return self.width > 1.6 * self.height

    def __repr__(self) -> str:
        return introduce(self, f"{self.width}x{self.height}", "without a map" if self.heat is None else "")

    def to_drawing(self) -> str:
        """Return all of it in one drawing, a data URI: predicted regions are outlined in white, true ones in cyan."""
        scale = DRAWN_SIDE / max(self.width, self.height)
        shown = f'width="{self.width * scale:.0f}" height="{self.height * scale:.0f}"'
        size = f'width="{self.width}" height="{self.height}"'
        layers = [f'<image {size} preserveAspectRatio="none" href="{uri}"/>' for uri in (self.photo, self.heat) if uri]
        view = f'viewBox="0 0 {self.width} {self.height}"'
        lines = (self.true, TRUE), (self.predicted, PREDICTED)
        layers += [_draw_line(path, colour) for path, colour in lines if path]
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {shown} {view}>{"".join(layers)}</svg>'
        return f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"


def picture(
    pixels: Pixels,
    anomaly_map: Map | None,
    *,
    marked: Mask | None,
    map_range: tuple[float, float],
    mask: Mask | None = None,
    part: Part | None = None,
) -> Picture:
    """Make the picture of an image.

    Args:
        pixels: the image, (H, W, 3).
        anomaly_map: of any size, NaN where the image was not looked at, or None for a model that only classifies.
        marked: what is said to be defective, of any size, which is outlined; None for a good image.
        map_range: map values at the two ends of the colour scale.
        mask: the true defect, of any size, or None.
        part: rows and columns of the image that are shown close up as well; None for none.
    """
    width, height = fitted((pixels.shape[1], pixels.shape[0]), LONG_SIDE)
    photo = Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING, reducing_gap=GAP)
    box = (width, height)
    predicted, true = "", ""
    if marked is not None and marked.any():
        predicted = _outlined(marked, box)
    if mask is not None and mask.any():
        true = _outlined(mask, box)
    heat = None if anomaly_map is None else _data_uri(_heat(anomaly_map, box, map_range), HEAT_BYTES)
    close = "" if part is None else _data_uri(_close_up(pixels[part]), CLOSE_BYTES)
    limit = PHOTO_BYTES - (CLOSE_BYTES if close else 0)
    return Picture(width, height, _data_uri(photo, limit), heat, predicted, true, close)


def embed(path: Path) -> str:
    """Return an image file as a data URI of at most 60 kB; raises :class:`DataError` if it cannot be read."""
    return _data_uri(Image.fromarray(read_image(path)), EMBEDDED_BYTES)


def encode(image: Image.Image) -> str:
    """Return a picture of a photograph as a data URI of at most 15 kB, before a third more as text."""
    return _data_uri(image, PHOTO_BYTES)


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return two sides, shrunk so that the longer is at most ``side``."""
    scale = min(side / max(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _draw_line(path: str, colour: Colour) -> str:
    """Return an outline, in units of half a pixel, with a dark edge that shows on any ground."""
    edge, line = (
        f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'
        for stroke, width in (("rgb(0 0 0 / 60%)", 6), (f"rgb{colour}", 3))
    )
    return f'<g transform="scale(.5)">{edge}{line}</g>'


def _close_up(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.resize(fitted(image.size, CLOSE_SIDE), Image.Resampling.HAMMING)


def _heat(anomaly_map: Map, box: tuple[int, int], map_range: tuple[float, float]) -> Image.Image:
    width, height = fitted(box, HEAT_SIDE)
    values = fit_map(anomaly_map, (height, width))
    if max(anomaly_map.shape) > FINE * HEAT_SIDE:
        # Lossy compression drops the colour of single pixels.
        values = spread_peaks(values)
    layer = colour_map(values, map_range)
    return Image.fromarray(np.rint(layer * (1, 1, 1, 255)).astype(np.uint8), "RGBA")


def _data_uri(image: Image.Image, limit: int) -> str:
    """Return an image as a data URI of at most ``limit`` encoded bytes: of lower quality, then smaller, if need be."""
    while True:
        for quality in QUALITIES:
            content = io.BytesIO()
            image.save(content, "WEBP", quality=quality, method=2)
            if content.tell() <= limit or max(image.size) <= 16:
                return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
        image = image.resize(fitted(image.size, max(image.size) * 2 // 3), Image.Resampling.LANCZOS)


def _outlined(mask: Mask, box: tuple[int, int]) -> str:
    """Return the outline of a mask, in which no region is lost, however small."""
    width, height = fitted((mask.shape[1], mask.shape[0]), TRACED_SIDE)
    traced = shrink_mask(mask, (height, width))
    return outline((traced if traced.shape == mask.shape else show_spots(traced)).astype(np.float32), 0.5, box)


def outline(values: NDArray[np.float32], level: float, box: tuple[int, int]) -> str:
    """Return the path, in whole units of half a pixel, around the parts of an array (H, W) that exceed a level.

    Args:
        values: values at the centres of pixels; NaN does not exceed anything.
        level: what they have to exceed.
        box: width and height of the drawing that the array fills, in pixels.
    """
    from contourpy import contour_generator

    if not (values > level).any():
        return ""
    height, width = values.shape
    # A border from the level's other side closes lines at the edge, midway between it and the outermost centres.
    outside = min(2 * level - float(np.nanmax(values)), level - 1e-6)
    padded = np.pad(np.where(np.isnan(values), outside, values.astype(np.float64)), 1, constant_values=outside)
    x, y = (np.arange(-1, side + 1) + 0.5 for side in (width, height))
    lines = contour_generator(x * 2 * box[0] / width, y * 2 * box[1] / height, padded).lines(level)
    return "".join(_path(np.asarray(line).clip(0, (2 * box[0], 2 * box[1]))) for line in lines)


def _path(points: NDArray[np.float64]) -> str:
    """Return a closed line (P, 2) as a path of relative moves, without points that change nothing."""
    rounded = np.rint(points).astype(int)
    moves = np.diff(rounded, axis=0)
    moves = moves[moves.any(axis=1)]
    if len(moves) < 2:
        # Smaller than a unit: still shown, as a dot.
        return f"M{rounded[0, 0]} {rounded[0, 1]}h1v1h-1z"
    turns = np.append(True, moves[1:, 0] * moves[:-1, 1] != moves[1:, 1] * moves[:-1, 0])
    turns |= np.append(True, (moves[1:] * moves[:-1]).sum(axis=1) < 0)
    joined = np.add.reduceat(moves, np.flatnonzero(turns))
    steps = "".join(f"l{dx} {dy}" if dy >= 0 else f"l{dx}{dy}" for dx, dy in joined)
    return f"M{rounded[0, 0]} {rounded[0, 1]}{steps}z"
