"""A prediction as a notebook shows it: small pictures, and what was said."""

import numpy as np
from PIL import Image

from adcli._showing import Markup, count, join_blocks, say_number, say_threshold, show_image
from adcli.data.decoding import Pixels, Size
from adcli.errors import AdcliError
from adcli.pictures.cards import encode
from adcli.pictures.panels import draw_heat, resize_photo
from adcli.scoring.prediction import Prediction

SIDE = 256
"""Longest side of a picture, in pixels."""

GREY = 128
"""What a map lies over if the photograph is gone."""


def show_prediction(prediction: Prediction) -> Markup:
    """Return a photograph, its heat map with outlines, and what was said of it.

    Without its pixels, the map is shown alone, and why.
    """
    if prediction.problem:
        return join_blocks(prediction.name, f"unreadable: {prediction.problem}")
    photo, lack = _take_photo(prediction)
    pictures = [] if photo is None else [photo]
    heat = _draw_map(prediction, photo)
    pictures += [] if heat is None else [heat]
    shown = "".join(show_image(encode(Image.fromarray(picture)), prediction.name) for picture in pictures)
    return join_blocks(Markup(shown), _say_verdict(prediction), prediction.name, lack)


def _take_photo(prediction: Prediction) -> tuple[Pixels | None, str]:
    """Return the photograph at the size of a picture, or none and why it is not there."""
    try:
        return resize_photo(prediction.photograph.pixels, _fit(prediction.size)), ""
    except AdcliError as error:
        return None, error.format_message()
    except ValueError:
        words = "its pixels were let go when the next prediction was asked for"
        return None, words if prediction.model_map is None else f"{words}; this is its map alone"


def _fit(size: Size) -> Size:
    scale = SIDE / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _draw_map(prediction: Prediction, photo: Pixels | None) -> Pixels | None:
    """Return the heat map over a photograph, or over grey if there is none; nothing without a map."""
    # What was framed has its place only in the whole photograph.
    anomaly_map = prediction.model_map if prediction.framing.is_plain else prediction.map
    if anomaly_map is None:
        return None
    ground = np.full((*_fit(prediction.size), 3), GREY, np.uint8) if photo is None else photo
    return draw_heat(ground, anomaly_map, prediction.calibration.map_range, prediction.marked)


def _say_verdict(prediction: Prediction) -> str:
    facts = (
        prediction.verdict or "no verdict",
        say_number("score", prediction.score),
        say_threshold(prediction.calibration.image_threshold),
        say_number("p-value", prediction.p_value, ".3g"),
        count(len(prediction.regions), "region") if prediction.is_defect and prediction.model_map is not None else "",
        f"in {', '.join(prediction.zones)}" if prediction.zones else "",
    )
    return ", ".join(filter(None, facts))
