"""Magnetic tile defects: tiles of electric motors with five kinds of defects.

Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 36, 2020. Its page states no licence; it
welcomes use with a citation. ``SPEC.source`` is the repository, and ``LAYOUT`` is what it holds.

There is no official split. As in the papers that report on it, all defects and about a fifth of the good images are for
testing. Which good images depends only on the seed and on each image's content, so figures differ by chance between
seeds and from those in papers.
"""

from adcli import DataError, DatasetSpec, option
from adcli.data import Splits
from adcli_datasets.layout import (
    RootOptions,
    defective,
    find_root,
    good,
    images_in,
    missing,
    read_splits,
    refuse_category,
    subfolders,
)

ALIASES = ("Magnetic-tile-defect-datasets.", "Magnetic-tile-defect-datasets.-master", "Magnetic-Tile-Defect")
PREFIX, GOOD = "MT_", "MT_Free"

LAYOUT = """\
Magnetic-tile-defect-datasets.-master/
  MT_Free/Imgs/exp1_num_1.jpg ...               good; their masks are black
  MT_Blowhole/Imgs/exp1_num_4727.jpg ...
  MT_Blowhole/Imgs/exp1_num_4727.png ...        masks
  MT_Break/ MT_Crack/ MT_Fray/ MT_Uneven/       likewise
"""


class MagneticTileOptions(RootOptions):
    """Options of the magnetic tiles."""

    test_share: float = option(0.2, "Share of the good images held out for testing.", gt=0, lt=1)
    seed: int = option(0, "Which of them; another seed draws others.")


SPEC = DatasetSpec(
    name="magnetic_tile",
    target="adcli_datasets.magnetic_tile:load",
    options=MagneticTileOptions,
    summary="Magnetic tile defects: grey images of many sizes, 5 kinds of defects, 1,344 images",
    paper="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 36, 2020",
    licence="none stated; free to use with a citation",
    source="https://github.com/abin24/Magnetic-tile-defect-datasets.",
    layout=LAYOUT,
)


def load(options: MagneticTileOptions, category: str | None) -> Splits:
    """Read the tiles, and hold some of the good ones out."""
    # Imported here: every command that looks up a name imports this module.
    from adcli.data import held_out

    refuse_category(SPEC, category)
    root = find_root(SPEC, ALIASES, options.root, lambda folder: (folder / GOOD).is_dir(), f"{GOOD}/Imgs")
    listed = images_in(root / GOOD / "Imgs")
    fine = [path for path in listed if path.suffix.lower() != ".png"]
    tested = held_out(fine, options.test_share, options.seed)
    train = good(path for path in fine if path not in tested)
    if not train:
        raise DataError(f"{root / GOOD}: all {len(fine)} good images are held out for testing; lower -d test_share=.")
    test = [*good(path for path in fine if path in tested)]
    for folder in subfolders(root):
        if folder.name.startswith(PREFIX) and folder.name != GOOD:
            imgs = images_in(folder / "Imgs")
            masks = {path.stem: path for path in imgs if path.suffix.lower() == ".png"}
            photographs = [path for path in imgs if path.suffix.lower() != ".png"]
            test += defective(photographs, masks, folder / "Imgs", folder.name.removeprefix(PREFIX).lower())
    if all(sample.label == "good" for sample in test):
        raise missing(root, "MT_Blowhole, MT_Break, MT_Crack, MT_Fray and MT_Uneven")
    title = f"magnetic tiles, {options.test_share:.0%} of the good ones for testing, seed {options.seed}"
    places = [folder for folder in subfolders(root) if folder.name.startswith(PREFIX)]
    return read_splits(root, title, train, test, places=places, aside=listed)
