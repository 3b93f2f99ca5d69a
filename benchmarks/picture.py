"""Draw predictions of a run's test images side by side, for a page.

    python benchmarks/picture.py RUN FILE.jpg [KIND/NAME ...]

Without names, takes the good image with the lowest score and, of the three kinds of defects that are hardest to find,
the image with the highest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from adcli import pipeline
from adcli.data import Sample, read_mask
from adcli.data.references import load_data
from adcli.report import overlays

KINDS = 3
PANEL = 224
"""Side of a photograph, in pixels: small beside the captions, which stay legible at the width of a page."""


def choose(samples: Sequence[Sample], scores: Sequence[float]) -> list[Sample]:
    """Return the samples to draw."""
    ranked = [sample for _, sample in sorted(zip(scores, samples, strict=True), key=lambda pair: pair[0])]
    lowest = next(sample for sample in ranked if sample.label == "good")
    highest = {sample.defect: sample for sample in ranked if sample.label == "defect"}
    return [lowest, *sorted(highest.values(), key=ranked.index)[:KINDS]]


def main() -> None:
    """Score, choose, draw, join and save."""
    run, file, names = pipeline.load(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    samples = load_data(run.settings["data"], run.settings["data_options"]).splits.test
    by_name = {"/".join(sample.image.parts[-2:]): sample for sample in samples}
    if names:
        chosen = [by_name[name] for name in names]
    else:
        paths = [sample.image for sample in samples]
        chosen = choose(samples, [prediction.score for prediction in pipeline.predict(run, paths)])
    overlays.PANEL = PANEL
    predictions = pipeline.predict(run, [sample.image for sample in chosen])
    pictures = [
        overlays.draw_overlay(prediction, None if sample.mask is None else read_mask(sample.mask))
        for prediction, sample in zip(predictions, chosen, strict=True)
    ]
    width, height = pictures[0].size
    joined = Image.new("RGB", (2 * width, -(-len(pictures) // 2) * height), "white")
    for i, picture in enumerate(pictures):
        joined.paste(picture, (i % 2 * width, i // 2 * height))
    joined.save(file, quality=88, optimize=True)


if __name__ == "__main__":
    main()
