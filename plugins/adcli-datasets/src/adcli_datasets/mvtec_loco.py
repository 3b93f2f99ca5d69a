"""MVTec LOCO AD: five scenes with structural and logical anomalies.

Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization,
IJCV 130, 2022. CC BY-NC-SA 4.0. ``SPEC.source`` is the download page, and ``LAYOUT`` is what the archive holds.

The mask of an image is a folder with an image for each region, for example for each of two parts that changed places;
they are merged. In the paper, a pixel's value says which kind of anomaly it is and how much of the region must be found
for the saturated overlap (sPRO). Here every value but zero means defect, and sPRO is not computed. All validation
images are good: use them with ``--calibration DIR``; they cannot choose a threshold by F1.
"""

from pathlib import Path

from adcli import DatasetSpec
from adcli.data import Splits
from adcli_datasets.layout import (
    RootOptions,
    category_folder,
    good,
    images_in,
    is_image,
    labelled,
    read_splits,
    subfolders,
)

ALIASES = ("mvtec_loco_anomaly_detection", "mvtec_loco_ad")

LAYOUT = """\
mvtec_loco_anomaly_detection/
  breakfast_box/             and 4 more
    train/good/000.png ...
    validation/good/000.png ...
    test/good/000.png ...
    test/logical_anomalies/000.png ...
    test/structural_anomalies/000.png ...
    ground_truth/logical_anomalies/000/000.png ...        an image for each region
    ground_truth/structural_anomalies/000/000.png ...
"""

SPEC = DatasetSpec(
    name="mvtec_loco",
    target="adcli_datasets.mvtec_loco:load",
    options=RootOptions,
    summary="MVTec LOCO AD: 5 scenes with structural and logical anomalies, 3,644 images",
    paper="Bergmann et al., Beyond Dents and Scratches, IJCV 130, 2022",
    categories=("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
    licence="CC BY-NC-SA 4.0",
    source="https://www.mvtec.com/company/research/datasets/mvtec-loco",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a category."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "train")
    train, validation = (good(images_in(folder / part / "good")) for part in ("train", "validation"))
    test = labelled(folder / "test", folder / "ground_truth", find_masks=_mask_folders)
    return read_splits(folder, f"MVTec LOCO AD, {category}", train, test, validation)


def _mask_folders(folder: Path) -> dict[str, Path]:
    """Return the folders that hold an image's regions by the image's stem."""
    if not folder.is_dir():
        return {}
    return {place.name: place for place in subfolders(folder) if any(map(is_image, place.iterdir()))}
