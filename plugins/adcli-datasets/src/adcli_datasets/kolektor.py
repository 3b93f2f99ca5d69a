"""KolektorSDD and KolektorSDD2: surfaces of electrical commutators, and of another product of the same maker.

Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, Journal of Intelligent
Manufacturing 31, 2020; Bozic et al., Mixed supervision for surface-defect detection, Computers in Industry 129, 2021.
Both CC BY-NC-SA 4.0. The specs' ``source`` are the download pages, and the layouts are what the archives hold.

Each image has a mask, and is defective if any pixel of it is not zero, so loading a set reads all its masks. Both were
made for supervised learning; the training images with defects are known defects.

KolektorSDD has no fixed split. The paper uses three folds of items, each item photographed eight times, from a list
that its authors publish as a Python pickle, which is not read here. Instead, item n is tested in fold (n - 1) mod 3 +
1. As in the paper, no item is on both sides and each is tested once, but other items are tested together.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from adcli import DataError, DatasetSpec, option
from adcli.data import Sample, Splits
from adcli_datasets.layout import (
    RootOptions,
    divide,
    find_root,
    images_in,
    missing,
    read_splits,
    refuse_category,
    subfolders,
)

ALIASES = ("KolektorSDD", "KolektorSDD-boxes", "KSDD")
ALIASES2 = ("KolektorSDD2", "KSDD2")
FOLDS = 3

LAYOUT = """\
KolektorSDD/
  kos01/                     and 49 more items
    Part0.jpg ... Part7.jpg
    Part0_label.bmp ... Part7_label.bmp
"""
LAYOUT2 = """\
KolektorSDD2/
  train/10000.png 10000_GT.png ...
  test/20000.png 20000_GT.png ...
"""


class KolektorOptions(RootOptions):
    """Options of KolektorSDD."""

    fold: int = option(1, "Which third of the items is tested: item n is in fold (n - 1) mod 3 + 1.", ge=1, le=FOLDS)


SPEC = DatasetSpec(
    name="kolektor_sdd",
    target="adcli_datasets.kolektor:load",
    options=KolektorOptions,
    summary="KolektorSDD: 50 electrical commutators, 399 images, 52 with cracks",
    paper="Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, JIM 31, 2020",
    licence="CC BY-NC-SA 4.0",
    source="https://www.vicos.si/resources/kolektorsdd/",
    layout=LAYOUT,
)
SPEC2 = DatasetSpec(
    name="kolektor_sdd2",
    target="adcli_datasets.kolektor:load2",
    options=RootOptions,
    summary="KolektorSDD2: a production item's surface, 3,335 images, 356 with defects",
    paper="Bozic et al., Mixed supervision for surface-defect detection, Computers in Industry 129, 2021",
    licence="CC BY-NC-SA 4.0",
    source="https://www.vicos.si/resources/kolektorsdd2/",
    layout=LAYOUT2,
)


def load(options: KolektorOptions, category: str | None) -> Splits:
    """Read KolektorSDD, a third of its items for testing."""
    refuse_category(SPEC, category)
    root = find_root(SPEC, ALIASES, options.root, lambda folder: bool(_items(folder)), "kos01/Part0.jpg")
    train: list[tuple[Path, Path]] = []
    test: list[tuple[Path, Path]] = []
    for number, folder in _items(root).items():
        (test if number % FOLDS == options.fold % FOLDS else train).extend(_pair_masks(folder, "_label"))
    if not train or not test:
        raise missing(root, "folders kos01 to kos50")
    return _read(root, f"KolektorSDD, fold {options.fold} of {FOLDS} for testing", train, test)


def load2(options: RootOptions, category: str | None) -> Splits:
    """Read KolektorSDD2 in its own split."""
    refuse_category(SPEC2, category)

    def holds(folder: Path) -> bool:
        return (folder / "train").is_dir() and any((folder / "train").glob("*_GT.png"))

    root = find_root(SPEC2, ALIASES2, options.root, holds, "train/10000.png with train/10000_GT.png")
    return _read(root, "KolektorSDD2", _pair_masks(root / "train", "_GT"), _pair_masks(root / "test", "_GT"))


def _items(root: Path) -> dict[int, Path]:
    """Return the folders of items by number."""
    matched = ((re.fullmatch(r"kos(\d+)", folder.name), folder) for folder in subfolders(root))
    return {int(match[1]): folder for match, folder in matched if match}


def _pair_masks(folder: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Return the images in a folder with their masks, whose stems end in ``suffix``."""
    found = images_in(folder)
    masks = {path.stem.removesuffix(suffix): path for path in found if path.stem.endswith(suffix)}
    images = [path for path in found if not path.stem.endswith(suffix)]
    bare = [image for image in images if image.stem not in masks]
    if bare:
        which = f"{len(bare)} of {len(images)} masks, for example {bare[0].stem}{suffix}"
        raise DataError(f"{folder}: lacks {which} of {bare[0].name}. Unpack the archive completely.")
    if not images:
        raise missing(folder, f"images next to the masks that end in {suffix}")
    return [(image, masks[image.stem]) for image in images]


def _label_pairs(pairs: Sequence[tuple[Path, Path]]) -> list[Sample]:
    """Return samples of images and masks; those with an empty mask are good."""
    # Imported here: every command that looks up a name imports this module.
    from concurrent.futures import ThreadPoolExecutor

    from adcli.data import read_mask

    with ThreadPoolExecutor(8) as pool:
        marked = list(pool.map(lambda pair: bool(read_mask(pair[1]).any()), pairs))
    labelled = zip(pairs, marked, strict=True)
    return [Sample(image, "defect", mask) if defect else Sample(image, "good") for (image, mask), defect in labelled]


def _read(root: Path, title: str, train: Sequence[tuple[Path, Path]], test: Sequence[tuple[Path, Path]]) -> Splits:
    good, defects = divide(_label_pairs(train))
    if not good:
        raise DataError(f"{root}: none of the {len(train)} training images is good: every mask marks a defect.")
    # Good images have masks, too, which no sample has.
    aside = [mask for _, mask in (*train, *test)]
    return read_splits(root, title, good, _label_pairs(test), defects=defects, aside=aside)
