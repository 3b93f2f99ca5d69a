"""Join pictures of a run's test images into one for a README.

    python benchmarks/picture.py RUN FILE.jpg

Takes the good image with the lowest score and, of the three kinds of defects that are hardest to find, the image with
the highest, from the pictures that the evaluation of the run drew.
"""

import csv
import sys
from pathlib import Path

from PIL import Image

from adcli.report.pictures import picture_name

KINDS = 3
WIDTH = 1116
"""Of the joined picture, in pixels."""


def chosen(run: Path) -> list[Path]:
    """Return the pictures to join."""
    with (run / "scores.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["score"]))
    lowest = next(row for row in rows if row["label"] == "good")
    highest = {row["defect"]: row for row in rows if row["label"] == "defect"}
    defects = sorted(highest.values(), key=lambda row: float(row["score"]))[:KINDS]
    maps = run / "evaluations" / "test" / "maps"
    return [maps / picture_name(row["image"]) for row in [lowest, *defects]]


def main() -> None:
    """Join and save."""
    run, file = Path(sys.argv[1]), Path(sys.argv[2])
    pictures = [Image.open(path).convert("RGB") for path in chosen(run)]
    width, height = pictures[0].size
    # Pictures with a map are twice as wide as high: two in a row.
    columns = 2 if width > height else len(pictures)
    joined = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for i, picture in enumerate(pictures):
        joined.paste(picture, (i % columns * width, i // columns * height))
    joined = joined.resize((WIDTH, round(WIDTH * joined.height / joined.width)), Image.Resampling.LANCZOS)
    joined.save(file, quality=85, optimize=True)


if __name__ == "__main__":
    main()
