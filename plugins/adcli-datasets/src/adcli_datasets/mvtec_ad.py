"""MVTec AD: 15 objects and textures.

Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection, CVPR 2019, and IJCV
129, 2021. CC BY-NC-SA 4.0. ``SPEC.source`` is the download page, with one archive, or one for each category; ``LAYOUT``
is what they hold. The split is the official one, and every defective image has a mask.
"""

from adcli import DatasetSpec
from adcli.data import Splits
from adcli_datasets.layout import RootOptions, category_folder, good, images_in, labelled, read_splits

ALIASES = ("mvtec_anomaly_detection", "mvtec", "mvtecad")

LAYOUT = """\
mvtec_anomaly_detection/
  bottle/                    and 14 more
    train/good/000.png ...
    test/good/000.png ...
    test/broken_large/000.png ...               and other kinds of defects
    ground_truth/broken_large/000_mask.png ...
"""

SPEC = DatasetSpec(
    name="mvtec_ad",
    target="adcli_datasets.mvtec_ad:load",
    options=RootOptions,
    summary="MVTec AD: 15 objects and textures with 73 kinds of defects, 5,354 images",
    paper="Bergmann et al., MVTec AD, CVPR 2019; IJCV 129, 2021",
    categories=(
        "bottle",
        "cable",
        "capsule",
        "carpet",
        "grid",
        "hazelnut",
        "leather",
        "metal_nut",
        "pill",
        "screw",
        "tile",
        "toothbrush",
        "transistor",
        "wood",
        "zipper",
    ),
    licence="CC BY-NC-SA 4.0",
    source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a category."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "train")
    train = good(images_in(folder / "train/good"))
    test = labelled(folder / "test", folder / "ground_truth")
    return read_splits(folder, f"MVTec AD, {category}", train, test)
