"""The colours of maps: one scale and one heat layer for every picture."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

PREDICTED: Colour = (255, 255, 255)
"""Of the outlines of what is found."""

TRUE: Colour = (0, 229, 255)
"""Of the outlines of true defects."""

UNSEEN = 0.6
"""How much darker an image is drawn where the model did not look."""

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


def colour_map(anomaly_map: Map, map_range: tuple[float, float]) -> NDArray[np.float64]:
    """Return the heat layer of a map (H, W): red, green, blue (0 to 255) and opacity (0 to 1), shape (H, W, 4).

    The higher the map, the more opaque the layer; where the map is NaN, it is a shade of black.
    """
    low, high = map_range
    level = ((anomaly_map - low) / max(high - low, 1e-12)).clip(0, 1)
    layers = [*(np.interp(level, _COLOURS[:, 0], _COLOURS[:, i]) for i in (1, 2, 3)), 0.25 + 0.5 * level]
    return np.where(np.isnan(level)[:, :, None], (0, 0, 0, UNSEEN), np.stack(layers, axis=2))


def gradient() -> str:
    """Return the colour scale as the stops of a CSS gradient."""
    return ", ".join(f"rgb({red:.0f} {green:.0f} {blue:.0f}) {at:.0%}" for at, red, green, blue in _COLOURS)
