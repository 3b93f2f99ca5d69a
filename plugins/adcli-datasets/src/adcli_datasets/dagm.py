"""DAGM 2007: ten artificial textures with one kind of defect each.

Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM symposium 2007. ``SPEC.source`` is
the download page, which states the licence, and ``LAYOUT`` is what the archives hold.

A mask is an ellipse around the defect: a weak label, larger than the defect, so pixel metrics mean little. An image
with a mask is defective. The training images with defects, made for supervised learning, are known defects.
``Labels.txt`` may lie next to the masks and has a row for each image: number, 1 for a defect, image, an unused column,
mask. It is used to notice missing masks.
"""

from pathlib import Path

from adcli import DataError, DatasetSpec
from adcli.data import Sample, Splits
from adcli_datasets.layout import (
    RootOptions,
    category_folder,
    divide,
    found_in,
    images_in,
    is_image,
    missing,
    read_splits,
)

ALIASES = ("DAGM2007", "DAGM 2007", "DAGM_KaggleUpload")

LAYOUT = """\
DAGM2007/
  Class1/                    and 9 more
    Train/0001.PNG ...
    Train/Label/Labels.txt
    Train/Label/0576_label.PNG ...              of images with a defect
    Test/0001.PNG ...
    Test/Label/Labels.txt
    Test/Label/0008_label.PNG ...
"""

SPEC = DatasetSpec(
    name="dagm",
    target="adcli_datasets.dagm:load",
    options=RootOptions,
    summary="DAGM 2007: 10 artificial textures, defects marked by ellipses, 16,100 images",
    paper="Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM 2007",
    categories=tuple(f"Class{number}" for number in range(1, 11)),
    licence="stated at its source",
    source="https://zenodo.org/records/8086136",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a texture."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "Train")
    good, defects = divide(_label_images(folder / "Train"))
    return read_splits(folder, f"DAGM 2007, {category}", good, _label_images(folder / "Test"), defects=defects)


def _label_images(folder: Path) -> list[Sample]:
    """Return the images in ``Train`` or ``Test``; an image with a mask in ``Label`` is defective."""
    images, labels = images_in(folder), folder / "Label"
    if not labels.is_dir():
        raise missing(folder, "Label, the folder of masks")
    masks = {path.stem.lower().removesuffix("_label"): path for path in labels.iterdir() if is_image(path)}
    lacking = sorted(_list_defective(labels / "Labels.txt") - masks.keys())
    if lacking:
        which = f"{len(lacking)} masks that Labels.txt implies, for example {lacking[0]}_label.PNG"
        raise DataError(f"{labels}: lacks {which}; {found_in(labels)}. Unpack the archive completely.")
    if not masks:
        raise missing(labels, "masks like 0576_label.PNG")
    labelled = ((image, masks.get(image.stem.lower())) for image in images)
    return [Sample(image, "defect", mask) if mask else Sample(image, "good") for image, mask in labelled]


def _list_defective(table: Path) -> set[str]:
    """Return the stems of the images that ``Labels.txt`` calls defective; nothing if there is no such file."""
    if not table.is_file():
        return set()
    rows = (line.split() for line in table.read_text(encoding="utf-8-sig").splitlines())
    return {Path(row[2]).stem.lower() for row in rows if len(row) >= 3 and row[1] == "1"}
