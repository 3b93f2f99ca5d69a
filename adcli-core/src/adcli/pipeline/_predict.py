"""Predicting with a run or an export."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from adcli._files import storing, write_atomically
from adcli.data.folder import images_in
from adcli.data.photograph import ImageLike, Photograph
from adcli.errors import DataError
from adcli.pipeline._open import open_scorer
from adcli.progress import Progress, Silent
from adcli.report.overlays import draw_overlay
from adcli.scoring.opened import Opened
from adcli.scoring.prediction import Prediction
from adcli.scoring.scorer import Scorer


def predict(
    run: Opened | Scorer, images: ImageLike | Iterable[ImageLike], *, progress: Progress | None = None
) -> Iterator[Prediction]:
    """Yield what a run or an export says of photographs, as they are scored.

    The pixels of a prediction's photograph are let go when the next prediction is asked for.

    Args:
        run: a finished run or an export, or its scorer to choose device, batch size or threads.
        images: image files, folders and patterns; the bytes of image files; arrays (H, W, 3) or (H, W), uint8;
            photographs; or one of them. Of an iterator, each is taken when it is needed.
        progress: receives progress.

    Raises:
        DataError: an image cannot be read, or a folder or a pattern has none.
    """
    scorer = run if isinstance(run, Scorer) else open_scorer(run)
    several = _list_sources(images)
    sources: Iterable[ImageLike] = _expand(several)
    if isinstance(several, Sequence):
        sources = list(sources)
    count = len(sources) if isinstance(sources, list) else 0
    return (progress or Silent()).track(scorer(sources), count, "predicting")


def _list_sources(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """Return several images as they are, and one as a list of one."""
    if isinstance(images, (Photograph, str, Path, bytes)):
        return [images]
    return [images] if isinstance(images, np.ndarray) and images.ndim < 4 else images


def _expand(images: Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Yield the images of every folder and pattern, and pass everything else on."""
    for image in images:
        if isinstance(image, str) and not image:
            raise DataError("the name of an image is empty.")
        if isinstance(image, (str, Path)):
            yield from images_in([Path(image)])
        else:
            yield image


def draw(predictions: Iterable[Prediction], folder: Path) -> Iterator[Prediction]:
    """Write a picture of each prediction into a folder and pass the prediction on.

    Pictures are named after their images; if images in different folders have one name, later ones get a number.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    taken: dict[str, int] = {}
    for prediction in predictions:
        name = Path(prediction.name).name
        taken[name] = taken.get(name, 0) + 1
        suffix = "" if taken[name] == 1 else f"-{taken[name]}"
        content = io.BytesIO()
        draw_overlay(prediction).save(content, "PNG")
        write_atomically(folder / f"{name}{suffix}.png", content.getvalue())
        yield prediction
