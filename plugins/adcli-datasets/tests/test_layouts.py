"""Each data set is read from its own layout: counts, labels, kinds, masks and what is said, one category of each."""

from pathlib import Path

import numpy as np
import pytest
from dataset_trees import ARCHIVE_NAMES, SPECS, WRITERS, image, mask, read

from adcli import DataError
from adcli.data import Sample, read_mask
from adcli.testing import Checked


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every data set as its archive unpacks; read only."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, write in WRITERS.items():
        (folder / ARCHIVE_NAMES[name]).mkdir()
        write(folder / ARCHIVE_NAMES[name])
    return folder


def facts(samples: object, root: Path) -> list[tuple[str, str | None, str | None, str | None]]:
    """Return image, label, kind and mask of each sample, paths below the root."""
    return [
        (
            sample.image.relative_to(root).as_posix(),
            sample.label,
            sample.defect,
            sample.mask.relative_to(root).as_posix() if sample.mask else None,
        )
        for sample in samples
    ]


def reference(name: str) -> str:
    """Return a data set with its first category, if it has any."""
    return ":".join([name, *SPECS[name].categories[:1]])


def names(samples: object) -> list[str]:
    return [sample.image.name for sample in samples]


def test_mvtec_ad(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["mvtec_ad"]
    splits = read("mvtec_ad:cable", root)
    assert names(splits.train) == ["000.png", "001.png", "002.png", "003.png"]
    assert facts(splits.test, root / "cable") == [
        ("test/broken_large/000.png", "defect", "broken_large", "ground_truth/broken_large/000_mask.png"),
        ("test/broken_large/001.png", "defect", "broken_large", "ground_truth/broken_large/001_mask.png"),
        ("test/combined/000.png", "defect", "combined", "ground_truth/combined/000_mask.png"),
        ("test/combined/001.png", "defect", "combined", "ground_truth/combined/001_mask.png"),
        ("test/good/000.png", "good", None, None),
        ("test/good/001.png", "good", None, None),
    ]
    assert not splits.validation
    said = "MVTec AD, cable; 4 good images to train on; test: 2 good, 4 defective (broken_large 2, combined 2)"
    assert splits.description == f"{root / 'cable'}: {said}"


def test_mvtec_ad_2_has_good_validation_images_and_labelled_public_test_images(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["mvtec_ad_2"]
    splits = read("mvtec_ad_2:vial", root)
    assert len(splits.train) == 3
    assert facts(splits.validation, root / "vial") == [
        ("validation/good/000_regular.png", "good", None, None),
        ("validation/good/001_regular.png", "good", None, None),
    ]
    assert facts(splits.test, root / "vial") == [
        ("test_public/bad/000_regular.png", "defect", None, "test_public/ground_truth/bad/000_regular_mask.png"),
        ("test_public/bad/001_regular.png", "defect", None, "test_public/ground_truth/bad/001_regular_mask.png"),
        ("test_public/good/000_overexposed.png", "good", None, None),
        ("test_public/good/001_overexposed.png", "good", None, None),
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_of_a_whole_archive_nothing_is_passed_over(shelf: Path, name: str) -> None:
    assert read(reference(name), shelf / ARCHIVE_NAMES[name]).left_out == []


LISTED = {
    "mvtec_ad": ("bottle/train/good", "bottle/ground_truth/combined/other_mask.png"),
    "mvtec_ad_2": ("can/validation/good", "can/test_public/ground_truth/bad/other_mask.png"),
    "mvtec_loco": ("breakfast_box/train/good", "breakfast_box/ground_truth/logical_anomalies/other/009.png"),
    "btad": ("01/train/ok", "01/ground_truth/ko/other.png"),
    "mpdd": ("bracket_black/train/good", "bracket_black/ground_truth/hole/other_mask.png"),
    "kolektor_sdd": ("kos01", None),
    "kolektor_sdd2": ("train", None),
    "dagm": ("Class1/Train", None),
    "magnetic_tile": ("MT_Free/Imgs", None),
}
"""A folder of images of those that are listed, and the name of a mask that belongs to none."""


@pytest.mark.parametrize("name", LISTED)
def test_what_is_passed_over_is_said(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    folder, orphan = LISTED[name]
    (tmp_path / folder / "raw.heic").write_bytes(b"x")
    (tmp_path / folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    if orphan:
        mask(tmp_path / orphan)
    said = {entry.reason: entry.count for entry in read(reference(name), tmp_path).left_out}
    expected = {".heic file, which is no format that is read": 1, "link that leads nowhere": 1}
    assert said == {**expected, **({"mask that belongs to no image": 1} if orphan else {})}


@pytest.mark.parametrize(("test", "first"), [("private", "000_regular.png"), ("private_mixed", "000_mixed.png")])
def test_the_private_test_images_of_mvtec_ad_2_are_unlabelled(shelf: Path, test: str, first: str) -> None:
    splits = read("mvtec_ad_2:can", shelf / ARCHIVE_NAMES["mvtec_ad_2"], test=test)
    assert names(splits.test)[0] == first
    assert {(sample.label, sample.mask) for sample in splits.test} == {(None, None)}
    assert "3 unlabelled" in splits.description


def test_the_regions_of_a_mask_of_mvtec_loco_are_merged(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["mvtec_loco"]
    splits = read("mvtec_loco:pushpins", root)
    assert facts(splits.test, root / "pushpins") == [
        ("test/good/000.png", "good", None, None),
        ("test/good/001.png", "good", None, None),
        ("test/logical_anomalies/000.png", "defect", "logical_anomalies", "ground_truth/logical_anomalies/000"),
        ("test/logical_anomalies/001.png", "defect", "logical_anomalies", "ground_truth/logical_anomalies/001"),
        (
            "test/structural_anomalies/000.png",
            "defect",
            "structural_anomalies",
            "ground_truth/structural_anomalies/000",
        ),
        (
            "test/structural_anomalies/001.png",
            "defect",
            "structural_anomalies",
            "ground_truth/structural_anomalies/001",
        ),
    ]
    expected = np.zeros((32, 32), bool)
    expected[4:10, 4:12] = True
    np.testing.assert_array_equal(read_mask(mask_of(splits.test[2])), expected)
    expected[20:28, 20:30] = True
    np.testing.assert_array_equal(read_mask(mask_of(splits.test[3])), expected)
    assert names(splits.train) == names(splits.validation) == ["000.png", "001.png"]


def mask_of(sample: Sample) -> Path:
    assert sample.mask is not None
    return sample.mask


def test_visa_is_split_as_its_table_says(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["visa"]
    splits = read("visa:pcb1", root)
    assert names(splits.train) == ["0000.JPG", "0001.JPG", "0002.JPG"]
    assert facts(splits.test, root / "pcb1/Data") == [
        ("Images/Normal/0003.JPG", "good", None, None),
        ("Images/Anomaly/000.JPG", "defect", None, "Masks/Anomaly/000.png"),
        ("Images/Anomaly/001.JPG", "defect", None, "Masks/Anomaly/001.png"),
    ]
    # Each kind of defect has a number of its own in the mask.
    assert read_mask(mask_of(splits.test[1])).sum() == read_mask(mask_of(splits.test[2])).sum() == 48


@pytest.mark.parametrize(
    ("product", "picture", "masked"), [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")]
)
def test_btad_has_images_and_masks_of_two_formats(shelf: Path, product: str, picture: str, masked: str) -> None:
    root = shelf / ARCHIVE_NAMES["btad"]
    splits = read(f"btad:{product}", root)
    assert len(splits.train) == 3
    assert facts(splits.test, root / product) == [
        (f"test/ko/0000.{picture}", "defect", None, f"ground_truth/ko/0000.{masked}"),
        (f"test/ko/0001.{picture}", "defect", None, f"ground_truth/ko/0001.{masked}"),
        (f"test/ok/0000.{picture}", "good", None, None),
        (f"test/ok/0001.{picture}", "good", None, None),
    ]


def test_mpdd(shelf: Path) -> None:
    splits = read("mpdd:tubes", shelf / ARCHIVE_NAMES["mpdd"])
    assert len(splits.train) == 4
    assert [(s.defect, s.mask and s.mask.name) for s in splits.test] == [
        (None, None),
        (None, None),
        ("hole", "000_mask.png"),
        ("hole", "001_mask.png"),
        ("scratches", "000_mask.png"),
        ("scratches", "001_mask.png"),
    ]


def test_a_single_missing_mask_of_mpdd_is_said_and_no_error(tmp_path: Path) -> None:
    WRITERS["mpdd"](tmp_path)
    (tmp_path / "tubes/ground_truth/hole/001_mask.png").unlink()
    splits = read("mpdd:tubes", tmp_path)
    assert sum(sample.mask is not None for sample in splits.test) == 3
    assert splits.description.endswith("1 defects without a mask")


@pytest.mark.parametrize(
    ("fold", "tested", "trained", "left"),
    [(1, ["kos01", "kos04"], 5, 1), (2, ["kos02", "kos05"], 4, 2), (3, ["kos03"], 5, 3)],
)
def test_no_item_of_kolektor_sdd_is_on_both_sides(
    shelf: Path, fold: int, tested: list[str], trained: int, left: int
) -> None:
    root = shelf / ARCHIVE_NAMES["kolektor_sdd"]
    splits = read("kolektor_sdd", root, fold=fold)
    assert sorted({sample.image.parent.name for sample in splits.test}) == tested
    assert not {sample.image.parent for sample in splits.test} & {sample.image.parent for sample in splits.train}
    assert len(splits.train) == trained
    assert len(splits.defects) == left
    assert f"known defects to train on: {left} defective" in splits.description


def test_images_of_kolektor_sdd_are_defective_where_their_mask_marks_something(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["kolektor_sdd"]
    assert facts(read("kolektor_sdd", root, fold=2).test, root) == [
        ("kos02/Part0.jpg", "defect", None, "kos02/Part0_label.bmp"),
        ("kos02/Part1.jpg", "good", None, None),
        ("kos05/Part0.jpg", "good", None, None),
        ("kos05/Part1.jpg", "good", None, None),
    ]


def test_training_images_of_kolektor_sdd2_with_defects_are_known_defects(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["kolektor_sdd2"]
    splits = read("kolektor_sdd2", root)
    assert names(splits.train) == ["10000.png", "10001.png", "10002.png"]
    assert facts(splits.test, root)[2:] == [
        ("test/20002.png", "good", None, None),
        ("test/20003.png", "defect", None, "test/20003_GT.png"),
    ]
    assert facts(splits.defects, root) == [("train/10003.png", "defect", None, "train/10003_GT.png")]
    assert splits.left_out == []


def test_training_images_of_dagm_with_defects_are_known_defects(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["dagm"]
    splits = read("dagm:Class10", root)
    assert names(splits.train) == ["0001.PNG", "0002.PNG", "0003.PNG"]
    assert facts(splits.test, root / "Class10")[2:] == [
        ("Test/0003.PNG", "good", None, None),
        ("Test/0004.PNG", "defect", None, "Test/Label/0004_label.PNG"),
    ]
    assert facts(splits.defects, root / "Class10") == [("Train/0004.PNG", "defect", None, "Train/Label/0004_label.PNG")]


def test_real_iad_is_split_as_its_table_says(shelf: Path) -> None:
    root = shelf / ARCHIVE_NAMES["real_iad"]
    splits = read("real_iad:usb", root)
    assert len(splits.train) == 2
    worn = "NG/HS/S0003/usb_0003_NG_HS_C1_20231023111538"
    assert facts(splits.test, root / "realiad_1024/usb") == [
        ("OK/S0002/usb_0002_OK_C1_20231021160112.jpg", "good", None, None),
        ("OK/S0002/usb_0002_OK_C2_20231021160112.jpg", "good", None, None),
        (f"{worn}.jpg", "defect", "scratch", f"{worn}.png"),
        (f"{worn.replace('C1', 'C2')}.jpg", "defect", "scratch", f"{worn.replace('C1', 'C2')}.png"),
    ]


@pytest.mark.parametrize(
    ("options", "trained", "tested"), [({"split": "sv"}, 1, 2), ({"views": "C2"}, 1, 2), ({"views": "C1,C2"}, 2, 4)]
)
def test_views_of_real_iad_can_be_chosen(shelf: Path, options: dict[str, str], trained: int, tested: int) -> None:
    splits = read("real_iad:toy", shelf / ARCHIVE_NAMES["real_iad"], **options)
    assert (len(splits.train), len(splits.test)) == (trained, tested)


def test_defective_training_images_of_real_iad_are_known_defects(shelf: Path) -> None:
    splits = read("real_iad:toy", shelf / ARCHIVE_NAMES["real_iad"], split="fuiad_0.4")
    assert [sample.label for sample in splits.train] == ["good", "good"]
    assert [(sample.label, sample.mask is not None) for sample in splits.defects] == [("defect", True)]
    assert "known defects to train on: 1 defective" in splits.description


def test_the_tables_of_real_iad_may_lie_beside_the_images(tmp_path: Path) -> None:
    WRITERS["real_iad"](tmp_path / "here")
    for place in sorted((tmp_path / "here/realiad_jsons").iterdir()):
        place.rename(tmp_path / "here" / f"moved_{place.name}")
    (tmp_path / "here/realiad_jsons").rmdir()
    for place in sorted((tmp_path / "here").glob("moved_*")):
        place.rename(place.with_name(place.name.removeprefix("moved_")))
    assert len(read("real_iad:toy", tmp_path, split="sv").test) == 2


def test_good_magnetic_tiles_are_held_out_by_their_content(shelf: Path, tmp_path: Path) -> None:
    splits = read("magnetic_tile", shelf / ARCHIVE_NAMES["magnetic_tile"])
    held_out = {sample.image.read_bytes() for sample in splits.test if sample.label == "good"}
    assert 2 <= len(held_out) <= 16
    assert len(splits.train) == 40 - len(held_out)
    kinds = {sample.defect for sample in splits.test if sample.label == "defect"}
    assert kinds == {"blowhole", "break", "crack", "fray", "uneven"}
    assert all(mask_of(s).name == f"{s.image.stem}.png" for s in splits.test if s.label == "defect")
    other = read("magnetic_tile", shelf / ARCHIVE_NAMES["magnetic_tile"], seed=1)
    assert {sample.image.read_bytes() for sample in other.test if sample.label == "good"} != held_out
    more = tmp_path / "more"
    for folder in (shelf / ARCHIVE_NAMES["magnetic_tile"]).iterdir():
        for path in (folder / "Imgs").iterdir():
            (more / folder.name / "Imgs").mkdir(parents=True, exist_ok=True)
            (more / folder.name / "Imgs" / f"renamed_{path.name}").write_bytes(path.read_bytes())
    image(more / "MT_Free/Imgs/new.jpg")
    mask(more / "MT_Free/Imgs/new.png", box=None)
    renamed = read("magnetic_tile", more)
    assert held_out <= {sample.image.read_bytes() for sample in renamed.test if sample.label == "good"}


SHARED = Path(__file__).parents[4] / "shared"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs inspection images in ../shared")
def test_a_real_category_reads_as_the_folder_reader_reads_it(tmp_path: Path) -> None:
    bottle = tmp_path / "mvtec_anomaly_detection/bottle"
    bottle.mkdir(parents=True)
    for part in ("train", "test", "ground_truth"):
        (bottle / part).symlink_to(SHARED / "data/bottle" / part)
    own = read("mvtec_ad:bottle", tmp_path)
    folder = Checked("folder", kind="dataset", options={"root": bottle}).subject().splits
    assert list(own.train) == list(folder.train)
    assert list(own.test) == list(folder.test)
    assert (len(own.train), len(own.test)) == (209, 83)
    assert sum(sample.mask is not None for sample in own.test) == 63


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs inspection images in ../shared")
def test_a_missing_real_mask_is_noticed(tmp_path: Path) -> None:
    bottle = tmp_path / "bottle"
    (bottle / "ground_truth").mkdir(parents=True)
    for part in ("train", "test", "ground_truth/contamination", "ground_truth/broken_small"):
        (bottle / part).symlink_to(SHARED / "data/bottle" / part)
    with pytest.raises(DataError, match=r"broken_large: lacks 20 of 20 masks"):
        read("mvtec_ad:bottle", tmp_path)
