"""MVTec AD 2: eight scenes with reflections, transparency and changing light.

Heckler-Kram et al., The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection, 2025, arXiv
2503.21622. CC BY-NC-SA 4.0. ``SPEC.source`` is the download page, and ``LAYOUT`` is what the archive holds.

Only the public test images have labels and masks. The private ones, which only the authors' server can evaluate, are
available as unlabelled test images. All validation images are good: use them with ``--calibration DIR``; they cannot
choose a threshold by F1.
"""

from pathlib import Path
from typing import Literal

from adcli import DatasetSpec, option
from adcli.data import Sample, Splits
from adcli_datasets.layout import RootOptions, category_folder, good, images_in, labelled, read_splits

ALIASES = ("mvtecad2",)

LAYOUT = """\
mvtec_ad_2/
  can/                       and 7 more
    train/good/000_regular.png ...
    validation/good/000_regular.png ...
    test_public/good/000_regular.png ...
    test_public/bad/000_regular.png ...
    test_public/ground_truth/bad/000_regular_mask.png ...
    test_private/000_regular.png ...            unlabelled
    test_private_mixed/000_mixed.png ...        unlabelled, in changing light
"""


class MvtecAd2Options(RootOptions):
    """Options of MVTec AD 2."""

    test: Literal["public", "private", "private_mixed"] = option(
        "public", "Which test images; only the public ones are labelled."
    )


SPEC = DatasetSpec(
    name="mvtec_ad_2",
    target="adcli_datasets.mvtec_ad_2:load",
    options=MvtecAd2Options,
    summary="MVTec AD 2: 8 scenes with reflections, transparency and changing light",
    paper="Heckler-Kram et al., The MVTec AD 2 Dataset, 2025, arXiv 2503.21622",
    categories=("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
    licence="CC BY-NC-SA 4.0",
    source="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
    layout=LAYOUT,
)


def load(options: MvtecAd2Options, category: str | None) -> Splits:
    """Read a category."""
    folder = category_folder(SPEC, ALIASES, options.root, category, "train")
    train = good(images_in(folder / "train/good"))
    validation = good(images_in(folder / "validation/good"))
    places = [folder / "train", folder / "validation", folder / f"test_{options.test}"]
    test = _test(places[-1], options.test == "public")
    title = f"MVTec AD 2, {category}, {options.test} test images"
    return read_splits(folder, title, train, test, validation, places=places)


def _test(folder: Path, public: bool) -> list[Sample]:
    if public:
        return labelled(folder, folder / "ground_truth", named=False)
    return [Sample(image) for image in images_in(folder)]
