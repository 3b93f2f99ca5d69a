"""Pictures of what a model says, over the images it says it of."""

import io
from collections.abc import Sequence
from pathlib import Path

from adcli._files import storing, write_atomically
from adcli.data.decoding import read_image, read_mask
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample
from adcli.progress import Progress
from adcli.report import overlay
from adcli.scoring.scorer import ScoredImage, Scorer


def write_overlays(folder: Path, scorer: Scorer, samples: Sequence[Sample], progress: Progress) -> None:
    """Score images again and write a picture of each; again, so that no evaluation has to hold its maps."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [sample.image for sample in samples]
    names = dict(zip(paths, relative_names(paths), strict=True))
    by_path = {sample.image: sample for sample in samples}
    for image in progress.track(scorer.scores(paths), len(paths), "drawing"):
        write_overlay(folder / picture_name(names[image.path]), image, scorer, by_path[image.path])


def picture_name(name: str) -> str:
    """Return a flat file name for the picture of an image in folders."""
    return f"{name.replace('/', '-')}.png"


def write_overlay(path: Path, image: ScoredImage, scorer: Scorer, sample: Sample | None = None) -> None:
    """Draw what the model says of an image over it, and write it as a PNG."""
    pixels = read_image(image.path)
    calibration = scorer.calibration
    mask = read_mask(sample.mask) if sample is not None and sample.mask is not None else None
    picture = overlay(
        pixels,
        image.map_at((pixels.shape[0], pixels.shape[1])),
        image_score=image.score,
        threshold=calibration.image_threshold,
        pixel_threshold=calibration.pixel_threshold,
        map_range=scorer.map_range,
        mask=mask if mask is not None and mask.shape == pixels.shape[:2] else None,
        title="/".join(image.path.parts[-2:]),
    )
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_atomically(path, content.getvalue())
