"""VisA: 12 objects, four of them printed circuit boards.

Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly Detection and Segmentation, ECCV 2022, arXiv
2207.14315. CC BY 4.0. ``SPEC.source`` is the download page, and ``LAYOUT`` is what the archive holds.

The official one-class split is the table ``split_csv/1cls.csv`` with the columns ``object,split,label,image,mask``; it
is required. A mask's pixels number the kinds of defects; every value but zero means defect.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from adcli import DataError, DatasetSpec
from adcli.data import Sample, Splits
from adcli_datasets.layout import RootOptions, check_category, find_root, found_in, missing_of_category, read_splits

ALIASES = ("VisA_20220922",)
TABLE = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")

LAYOUT = """\
VisA/
  split_csv/1cls.csv         object,split,label,image,mask
  candle/                    and 11 more
    Data/Images/Normal/0000.JPG ...
    Data/Images/Anomaly/000.JPG ...
    Data/Masks/Anomaly/000.png ...
"""

SPEC = DatasetSpec(
    name="visa",
    target="adcli_datasets.visa:load",
    options=RootOptions,
    summary="VisA: 12 objects, one or several in an image, 10,821 images",
    paper="Zou et al., SPot-the-Difference, ECCV 2022, arXiv 2207.14315",
    categories=(
        "candle",
        "capsules",
        "cashew",
        "chewinggum",
        "fryum",
        "macaroni1",
        "macaroni2",
        "pcb1",
        "pcb2",
        "pcb3",
        "pcb4",
        "pipe_fryum",
    ),
    licence="CC BY 4.0",
    source="https://github.com/amazon-science/spot-diff",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a category in its one-class split."""
    category = check_category(SPEC, category)

    def holds(folder: Path) -> bool:
        return any((folder / name / "Data").is_dir() for name in SPEC.categories)

    root = find_root(SPEC, ALIASES, options.root, holds, f"{category}/Data/Images and {TABLE}")
    if not (root / category / "Data/Images").is_dir():
        raise missing_of_category(root / category, "Data/Images")
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    for split, sample in _read_rows(root, category):
        splits[split].append(sample)
    if not splits["train"]:
        raise DataError(f"{root / TABLE}: has no training rows for '{category}'; is it the file from the archive?")
    return read_splits(root / category, f"VisA, {category}", splits["train"], splits["test"], places=())


def _read_rows(root: Path, category: str) -> Iterator[tuple[str, Sample]]:
    """Yield split and sample of each row of a category."""
    table = root / TABLE
    if not table.is_file():
        raise DataError(
            f"{table}: no such file; it defines the one-class split, and is in the archive and in the repository at "
            f"{SPEC.source}."
        )
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise DataError(f"{table}: line 1: expected {','.join(COLUMNS)}, found {','.join(rows.fieldnames or ())}.")
        for row in rows:
            if row["object"] == category:
                yield _make_sample(root, row, f"{table}: line {rows.line_num}")


def _make_sample(root: Path, row: dict[str, str], where: str) -> tuple[str, Sample]:
    if row["split"] not in ("train", "test") or row["label"] not in ("normal", "anomaly"):
        raise DataError(
            f"{where}: split '{row['split']}' and label '{row['label']}' do not belong to the one-class setting."
        )
    image = _require_file(root / row["image"], where)
    if row["label"] == "normal":
        return row["split"], Sample(image, "good")
    if row["split"] == "train":
        raise DataError(f"{where}: training images must be good, but this one is an anomaly.")
    return "test", Sample(image, "defect", _require_file(root / row["mask"], where))


def _require_file(path: Path, where: str) -> Path:
    if not path.is_file():
        raise DataError(f"{where}: {path} does not exist; {found_in(path.parent)}. Unpack the archive completely.")
    return path
