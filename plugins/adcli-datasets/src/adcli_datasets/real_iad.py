"""Real-IAD: 30 objects, each from five views.

Wang et al., Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly Detection, CVPR
2024, arXiv 2403.12580. CC BY-NC-SA 4.0. Ask for it on the page in ``SPEC.source``: there are tables, and an archive for
each object and resolution; ``LAYOUT`` is what they hold. The folders of tables may lie in ``realiad_jsons`` or next to
it.

The tables define the splits: ``all`` views, a single view (``sv``), or fully unsupervised (``fuiad_...``). In the last,
the share of training images that the name states is defective. Training images must be good here, so those are left
out, and the setting differs from the paper's.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from adcli import DataError, DatasetSpec, one_line, option
from adcli.data import Sample, Splits
from adcli_datasets.layout import (
    RootOptions,
    check_category,
    divide,
    find_root,
    found_in,
    missing,
    missing_of_category,
    read_splits,
)

ALIASES = ("Real-IAD", "realiad")
TABLES = "realiad_jsons"
KINDS = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing_parts",
    "YW": "foreign_objects",
    "ZW": "contamination",
}

LAYOUT = """\
Real-IAD/
  realiad_1024/              or realiad_256, realiad_512, realiad_raw
    audiojack/               and 29 more
      OK/S0001/audiojack_0001_OK_C1_20231021160112.jpg ...
      NG/BX/S0001/audiojack_0001_NG_BX_C1_20231023111538.jpg ...
      NG/BX/S0001/audiojack_0001_NG_BX_C1_20231023111538.png ...        masks
  realiad_jsons/
    realiad_jsons/audiojack.json ...            all views
    realiad_jsons_sv/audiojack.json ...         a single view
    realiad_jsons_fuiad_0.0/audiojack.json ...
"""


class RealIadOptions(RootOptions):
    """Options of Real-IAD."""

    resolution: Literal["1024", "512", "256", "raw"] = option("1024", "Which of the realiad_... folders to read.")
    split: Literal["all", "sv", "fuiad_0.0", "fuiad_0.1", "fuiad_0.2", "fuiad_0.4"] = option(
        "all", "Which tables: all views, a single view, or those of the fully unsupervised setting."
    )
    views: tuple[Literal["C1", "C2", "C3", "C4", "C5"], ...] = option(
        (), "Cameras to keep, for example C1,C3; all if not given."
    )


SPEC = DatasetSpec(
    name="real_iad",
    target="adcli_datasets.real_iad:load",
    options=RealIadOptions,
    summary="Real-IAD: 30 objects from 5 views each, 8 kinds of defects, 151,050 images",
    paper="Wang et al., Real-IAD, CVPR 2024, arXiv 2403.12580",
    categories=(
        "audiojack",
        "bottle_cap",
        "button_battery",
        "end_cap",
        "eraser",
        "fire_hood",
        "mint",
        "mounts",
        "pcb",
        "phone_battery",
        "plastic_nut",
        "plastic_plug",
        "porcelain_doll",
        "regulator",
        "rolled_strip_base",
        "sim_card_set",
        "switch",
        "tape",
        "terminalblock",
        "toothbrush",
        "toy",
        "toy_brick",
        "transistor1",
        "u_block",
        "usb",
        "usb_adaptor",
        "vcpill",
        "wooden_beads",
        "woodstick",
        "zipper",
    ),
    licence="CC BY-NC-SA 4.0",
    source="https://realiad4ad.github.io/Real-IAD",
    layout=LAYOUT,
)


def load(options: RealIadOptions, category: str | None) -> Splits:
    """Read an object in the split of a table."""
    category = check_category(SPEC, category)
    name = f"realiad_{options.resolution}"

    def holds(folder: Path) -> bool:
        return any(place.is_dir() and place.name != TABLES for place in folder.glob("realiad_*"))

    root = find_root(SPEC, ALIASES, options.root, holds, f"{name}/{category} and {TABLES}")
    table = _find_table(root, options.split, category)
    records = _read_records(table)
    folder = _find_images(root / name, category)
    train, test = (_make_samples(records, part, folder, table, options) for part in ("train", "test"))
    good, defects = divide(train)
    if not good:
        raise DataError(f"{table}: no good images of the views {', '.join(options.views) or 'C1 to C5'}.")
    views = f", views {','.join(options.views)}" if options.views else ""
    title = f"Real-IAD, {category}, split {options.split}{views}"
    return read_splits(folder, title, good, test, defects=defects, places=())


def _find_table(root: Path, split: str, category: str) -> Path:
    """Return the table of a split, in ``realiad_jsons`` or next to it."""
    folder = TABLES if split == "all" else f"{TABLES}_{split}"
    for place in (root / TABLES / folder, root / folder):
        if (place / f"{category}.json").is_file():
            return place / f"{category}.json"
    raise missing(root / TABLES, f"{folder}/{category}.json")


def _find_images(place: Path, category: str) -> Path:
    """Return the folder of an object's images, which may lie in another folder of that name."""
    folder = place / category
    if not place.is_dir():
        raise missing(place, category)
    if not folder.is_dir():
        raise missing_of_category(folder, "OK and NG")
    return folder / category if (folder / category).is_dir() else folder


def _read_records(table: Path) -> dict[str, Any]:
    try:
        records = json.loads(table.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{table}: not a table of Real-IAD ({one_line(error)}).") from None
    if not isinstance(records, dict) or not {"train", "test"} <= records.keys():
        raise DataError(f"{table}: not a table of Real-IAD; it lacks 'train' or 'test'.")
    return records


def _make_samples(
    records: dict[str, Any], part: str, folder: Path, table: Path, options: RealIadOptions
) -> list[Sample]:
    """Return the samples of one part of a table, from the wanted views."""
    normal = records.get("meta", {}).get("normal_class", "OK")
    rows = [row for row in records[part] if not options.views or _parse_view(row["image_path"]) in options.views]
    paths = [folder / row[key] for row in rows for key in ("image_path", "mask_path") if row.get(key)]
    lost = [path for path in paths if not path.is_file()]
    if lost:
        lacking = f"{len(lost)} of {len(paths)} files that {table} lists, for example {lost[0].relative_to(folder)}"
        raise DataError(f"{folder}: lacks {lacking}; {found_in(folder)}. Unpack the archive completely.")
    return [_make_sample(folder, row, normal) for row in rows]


def _make_sample(folder: Path, row: dict[str, Any], normal: str) -> Sample:
    image, kind = folder / row["image_path"], row["anomaly_class"]
    if kind == normal:
        return Sample(image, "good")
    mask = folder / row["mask_path"] if row.get("mask_path") else None
    return Sample(image, "defect", mask, KINDS.get(kind, kind))


def _parse_view(name: str) -> str | None:
    """Return the camera in an image's name."""
    match = re.search(r"_(C\d)_", name)
    return match[1] if match else None
