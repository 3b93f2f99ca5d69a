"""BTAD: three industrial products with surface defects.

Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization, ISIE 2021. CC BY-SA
according to its readme. ``SPEC.source`` is the download page, and ``LAYOUT`` is what the archive holds. Images and
masks are .bmp or .png files; a mask has the name of its image, but may have the other suffix.
"""

from adcli import DatasetSpec
from adcli.data import Splits
from adcli_datasets.layout import RootOptions, category_folder, good, images_in, labelled, read_splits

ALIASES = ("BTech_Dataset_transformed", "BTech")

LAYOUT = """\
BTech_Dataset_transformed/
  01/                        and 02, 03
    train/ok/0000.bmp ...
    test/ok/0000.bmp ...
    test/ko/0000.bmp ...
    ground_truth/ko/0000.png ...
"""

SPEC = DatasetSpec(
    name="btad",
    target="adcli_datasets.btad:load",
    options=RootOptions,
    summary="BTAD: 3 industrial products with defects of body and surface, 2,540 images",
    paper="Mishra et al., VT-ADL, ISIE 2021",
    categories=("01", "02", "03"),
    licence="CC BY-SA, says its readme",
    source="https://avires.dimi.uniud.it/papers/btad/btad.zip",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a product."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "train")
    train = good(images_in(folder / "train/ok"))
    test = labelled(folder / "test", folder / "ground_truth", normal="ok", named=False, complete=False)
    return read_splits(folder, f"BTAD, product {category}", train, test)
