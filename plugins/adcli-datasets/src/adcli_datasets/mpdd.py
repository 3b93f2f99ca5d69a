"""MPDD: six painted metal parts, in varying places and poses.

Jezek et al., Deep learning-based defect detection of metal parts: evaluating current methods in complex conditions,
ICUMT 2021. Its page states no licence: ask the authors. ``SPEC.source`` is the download page, and ``LAYOUT`` is what
the archive holds. It is laid out like MVTec AD; the paper calls the test images validation.
"""

from adcli import DatasetSpec
from adcli.data import Splits
from adcli_datasets.layout import RootOptions, category_folder, good, images_in, labelled, read_splits

ALIASES = ("anomaly_dataset",)

LAYOUT = """\
MPDD/
  bracket_black/             and 5 more
    train/good/000.png ...
    test/good/000.png ...
    test/hole/000.png ...                       and other kinds of defects
    ground_truth/hole/000_mask.png ...
"""

SPEC = DatasetSpec(
    name="mpdd",
    target="adcli_datasets.mpdd:load",
    options=RootOptions,
    summary="MPDD: 6 painted metal parts in varying places and poses, 1,346 images",
    paper="Jezek et al., Deep learning-based defect detection of metal parts, ICUMT 2021",
    categories=("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),
    licence="none stated; ask the authors",
    source="https://github.com/stepanje/MPDD",
    layout=LAYOUT,
)


def load(options: RootOptions, category: str | None) -> Splits:
    """Read a category."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "train")
    train = good(images_in(folder / "train/good"))
    test = labelled(folder / "test", folder / "ground_truth", complete=False)
    return read_splits(folder, f"MPDD, {category}", train, test)
