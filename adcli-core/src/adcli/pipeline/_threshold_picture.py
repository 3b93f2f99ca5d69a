"""The pictures of images that calibrate: of the one that sets the threshold, and of those least like the others."""

import io

from adcli.data.source import ImageSource
from adcli.errors import DataError, LackOfMemoryError
from adcli.report.overlays import draw_overlay
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.runtime import Runtime
from adcli.scoring.thresholds import CalibrationPlan

LONGEST = 720
"""Longer side of the picture in pixels, at most."""


def draw_threshold_image(
    calibration: Calibration, plan: CalibrationPlan, runtime: Runtime, source: ImageSource
) -> bytes | None:
    """Return a JPEG of the image that sets the threshold, with its heat map; None if no image of the plan does.

    Its score is that of the calibration; in folds, the map is nevertheless that of the final model.
    """
    name = calibration.threshold_image
    return None if name is None else _draw(name, calibration, plan, runtime, source)


def draw_unlike_images(
    calibration: Calibration, plan: CalibrationPlan, runtime: Runtime, source: ImageSource
) -> list[bytes | None]:
    """Return JPEGs of the fitted images that look least like the others, as :func:`draw_threshold_image` does."""
    return [_draw(name, calibration, plan, runtime, source) for name, _ in calibration.unlike]


def _draw(
    name: str, calibration: Calibration, plan: CalibrationPlan, runtime: Runtime, source: ImageSource
) -> bytes | None:
    item = next((item for item, called in plan.names().items() if called == name), None)
    if item is None:
        return None
    try:
        photograph = source.open(item)
        image = source.fit(photograph)
    except DataError:
        # It was scored a moment ago; that it has gone since does not matter to the thresholds.
        return None
    _, maps = runtime(image.pixels[None])
    score = calibration.image_scores[calibration.images.index(name)]
    prediction = Prediction(photograph, score, None if maps is None else maps[0], calibration, source.framing)
    try:
        picture = draw_overlay(prediction)
    except (DataError, LackOfMemoryError):
        # Of what is looked at in part, all is decoded for the picture alone.
        return None
    picture.thumbnail((LONGEST, LONGEST))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return content.getvalue()
