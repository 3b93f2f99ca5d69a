"""Pictures of one prediction: the photograph beside its heat map, with a caption; or one of them alone."""

from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adcli.data.decoding import Pixels
from adcli.data.framing_standalone import scale_flags
from adcli.errors import OptionError
from adcli.metrics.strips import strips
from adcli.pictures.colours import PREDICTED, TRUE, Mask, colour_map
from adcli.pictures.panels import LINE, draw_heat, fit_mask, lay_over, outline_region, resize_photo
from adcli.report.closeups import choose_part
from adcli.scoring.prediction import Prediction

PANEL = 448
"""Longest side of a panel, in pixels."""

CLOSE = 2
"""How many times larger than in the photograph a small region is in a panel of its own."""

Alone = Literal["overlay", "heatmap", "outlines"]
"""What may be drawn alone: the heat map over the photograph, the colours of the map, or the photograph outlined."""

ALONE: tuple[Alone, ...] = get_args(Alone)

_LINES = 500
"""How many lines beside each other are as wide as the longest side of a picture that is drawn alone."""

_SLAB = 512
"""Rows in which regions are outlined at a time."""

_MARGIN, _CAPTION, _TEXT = 12, 52, 16
_PAPER, _INK, _DEFECT, _GOOD = (255, 255, 255), (32, 33, 36), (176, 0, 32), (0, 105, 62)
_VERDICTS = {"defect": ("DEFECT", _DEFECT), "good": ("GOOD", _GOOD), "": ("NO VERDICT", _INK)}


def draw_overlay(prediction: Prediction, mask: Mask | None = None) -> Image.Image:
    """Draw a photograph, its heat map, and a caption that gives score, threshold and verdict.

    The regions of a defect are outlined in white. If the photograph is so large that a region could not be made out,
    that with the highest peak is shown close up, twice as large as it is in the photograph. Colours mean the same in
    every picture of a run.

    Args:
        prediction: one that still has its pixels.
        mask: the true defect, (H, W), outlined in cyan on the photograph, or None.
    """
    pixels, calibration = prediction.photograph.pixels, prediction.calibration
    scale = PANEL / max(prediction.size)
    size = height, width = max(round(prediction.size[0] * scale), 1), max(round(prediction.size[1] * scale), 1)
    image = resize_photo(pixels, size)
    panels = [outline_region(image, None if mask is None else fit_mask(mask, size), TRUE)]
    # What was framed has its place only in the whole photograph.
    anomaly_map = prediction.model_map if prediction.framing.is_plain else prediction.map
    if anomaly_map is not None:
        panels.append(draw_heat(image, anomaly_map, calibration.map_range, prediction.marked))
        part = choose_part(prediction, (height // CLOSE, width // CLOSE))
        if part is not None and prediction.marked is not None:
            close = Image.fromarray(pixels[part]).resize((width, height), Image.Resampling.LANCZOS)
            panels.append(outline_region(np.asarray(close), scale_flags(prediction.marked[part], size), PREDICTED))
    title = "/".join(prediction.path.parts[-2:]) if prediction.path else prediction.name
    return _add_caption(panels, title, prediction)


def draw_alone(prediction: Prediction, kind: Alone) -> Image.Image:
    """Draw one picture at the photograph's own size, without caption and margins.

    Colours and outlines mean the same as in :func:`draw_overlay`. A heat map is black where the model did not look.

    Args:
        prediction: one that still has its pixels; a heat map needs none.
        kind: what to draw; overlays and outlined photographs have the regions of a defect outlined in white.

    Raises:
        OptionError: the prediction has no map.
    """
    rows = prediction.rows_at(prediction.size)
    if rows is None:
        raise OptionError(f"{prediction.name}: has no anomaly map to draw, since its model only classifies.")
    colours = prediction.calibration.map_range
    if kind == "outlines":
        drawn = prediction.photograph.pixels.copy()
    else:
        drawn = np.empty((*prediction.size, 3), np.uint8)
        for part in strips(prediction.size):
            if kind == "overlay":
                drawn[part] = lay_over(prediction.photograph.pixels[part], rows[part], colours)
            else:
                drawn[part] = np.rint(colour_map(rows[part], colours)[:, :, :3])
    if kind != "heatmap" and prediction.marked is not None:
        _outline_slabs(drawn, prediction.marked)
    return Image.fromarray(drawn)


def _outline_slabs(drawn: Pixels, marked: Mask) -> None:
    """Outline what is marked in a picture of any size, some rows at a time; small lines would not be seen in it."""
    width = max(round(max(marked.shape) / _LINES), LINE)
    around = 2 * width
    for top in range(0, len(marked), _SLAB):
        start = max(top - around, 0)
        near = slice(start, top + _SLAB + around)
        if marked[near].any():
            outlined = outline_region(drawn[near], marked[near], PREDICTED, width, inside=False)
            drawn[top : top + _SLAB] = outlined[top - start : top - start + _SLAB]


def _add_caption(panels: list[Pixels], title: str, prediction: Prediction) -> Image.Image:
    height, width = panels[0].shape[:2]
    canvas_width = max(_MARGIN + len(panels) * (width + _MARGIN), 420)
    canvas = Image.new("RGB", (canvas_width, _CAPTION + height + _MARGIN), _PAPER)
    for i, panel in enumerate(panels):
        canvas.paste(Image.fromarray(panel), (_MARGIN + i * (width + _MARGIN), _CAPTION))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    draw.text((_MARGIN, 6), title, fill=_INK, font=font)
    verdict, colour = _VERDICTS[prediction.verdict]
    draw.text((_MARGIN, 28), verdict, fill=colour, font=font)
    where = _MARGIN + draw.textlength(f"{verdict}   ", font=font)
    threshold = prediction.calibration.image_threshold
    limit = "no threshold" if threshold is None else f"threshold {threshold:.4g}"
    draw.text((where, 28), f"score {prediction.score:.4g}, {limit}", fill=_INK, font=font)
    return canvas
