"""A page of made-up images, for the tests of pages."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from adcli.metrics import summarise
from adcli.metrics.pixels import PixelMetrics
from adcli.pictures.cards import Picture, picture
from adcli.report.page import Card, Page
from adcli.scoring.calibration import Calibration

PHOTO = (40, 90, 160)
"""The colour of the photographs."""

SIDE = 240
DEFECT = (slice(60, 150), slice(30, 120))
"""Where the true defect lies; the map is highest there, and nowhere else."""

THRESHOLD = 0.9
"""What lies above it is a defect."""


def part(*, damaged: bool = True, noise: float = 0.0, seed: int = 0) -> Picture:
    """Return the picture of a part, with a defect that the map finds, or without."""
    random = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE, 3), PHOTO, float) + noise * random.normal(0, 60, (SIDE, SIDE, 3))
    mask, anomaly_map = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.float32)
    if damaged:
        mask[DEFECT] = True
        anomaly_map[DEFECT] = 1.0
    image = pixels.clip(0, 255).astype(np.uint8)
    marked = None if anomaly_map is None else anomaly_map > 0.5
    return picture(image, anomaly_map, marked=marked, map_range=(0.0, 1.0), mask=mask)


def cards() -> list[Card]:
    """Return one card of every kind there is."""
    return [
        Card("scratch/found.png", "defect", "scratch", 3.0, 0.01, True, part()),
        Card("scratch/missed.png", "defect", "scratch", 0.5, 0.6, False, part()),
        Card("dent/missed more.png", "defect", "dent", 0.2, 0.9, False, part()),
        Card("good/alarm.png", "good", None, 1.2, 0.05, True, part(damaged=False)),
        Card("good/passed.png", "good", None, 0.3, 0.8, False, part(damaged=False)),
    ]


def page(shown: list[Card] | None = None, **changes: object) -> Page:
    """Return a page with these cards, or one of every kind."""
    listed = cards() if shown is None else shown
    labelled = [card for card in listed if card.label]
    scores = np.array([card.score for card in labelled])
    is_defect = np.array([card.label == "defect" for card in labelled], bool)
    kinds = [card.kind for card in labelled]
    held_out = np.linspace(0, THRESHOLD, 20)
    made = Page(
        title="patchcore on bottle",
        run="20261123-141502-patchcore-bottle",
        command="adcli calibrate 20261123-141502-patchcore-bottle",
        subtitle="run 20261123-141502-patchcore-bottle, evaluated on bottle",
        facts={"model": "patchcore (adcli-patchcore 0.1.0)", "data": "bottle"},
        calibration=Calibration.conformal(held_out, held_out / 2, 0.05, "held-out"),
        metrics=summarise(scores, is_defect, kinds, THRESHOLD, PixelMetrics()),
        scores=scores,
        is_defect=is_defect,
        cards=listed,
        tested=len(listed),
        details={"model": "patchcore", "options.coreset": "0.1", "weights": "9524f9f7"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def photograph(uri: str) -> Image.Image:
    """Return the image in a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
