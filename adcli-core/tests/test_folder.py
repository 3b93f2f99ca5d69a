"""Folders as data sets: three layouts, recognised and said."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from adcli._files import seal
from adcli._plugins.builtin import FolderOptions
from adcli.data.folder import images_in, load
from adcli.data.samples import Splits, find_shared_mask
from adcli.errors import AdcliError, DataError


def draw(root: Path, *names: str) -> None:
    """Write small images, no two alike."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("L", (4, 4), sha256(name.encode()).digest()[:16]).save(root / name)


def read(root: Path) -> Splits:
    return load(FolderOptions(root=root), None)


def test_train_and_test_folders_with_masks(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "train/good/deep/b.png", "test/good/c.png", "test/dent/d.png", "test/dent/e.png")
    draw(tmp_path, "ground_truth/dent/d_mask.png", "validation/good/v.png", "validation/dent/w.png")
    splits = read(tmp_path)
    assert [sample.image.name for sample in splits.train] == ["a.png", "b.png"]
    assert [(s.image.name, s.label, s.defect) for s in splits.test] == [
        ("d.png", "defect", "dent"),
        ("e.png", "defect", "dent"),
        ("c.png", "good", None),
    ]
    assert splits.test[0].mask == tmp_path / "ground_truth/dent/d_mask.png"
    assert splits.test[1].mask is None
    assert [s.label for s in splits.validation] == ["defect", "good"]
    assert "2 good images to train on; test: 1 good, 2 defective (dent 2)" in splits.description


def test_known_defects_lie_beside_the_good_images_to_train_on(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "train/dent/d.png", "train/NG/crack/c.png", "test/good/b.png", "test/dent/e.png")
    draw(tmp_path, "ground_truth/dent/d_mask.png", "ground_truth/dent/e_mask.png")
    splits = read(tmp_path)
    assert [sample.image.name for sample in splits.train] == ["a.png"]
    assert [(s.image.name, s.label, s.defect) for s in splits.defects] == [
        ("c.png", "defect", "crack"),
        ("d.png", "defect", "dent"),
    ]
    assert [sample.mask for sample in splits.defects] == [None, tmp_path / "ground_truth/dent/d_mask.png"]
    assert [sample.image.name for sample in splits.test] == ["e.png", "b.png"]
    assert "; known defects to train on: 2 defective (crack 1, dent 1)" in splits.description
    assert not splits.left_out


def test_a_mask_beside_training_folders_comes_before_one_that_test_images_share(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "train/dent/0.png", "test/dent/0.png", "ground_truth/dent/0_mask.png")
    both = read(tmp_path)
    assert both.defects[0].mask == both.test[0].mask
    assert find_shared_mask(both) == (both.defects[0], both.test[0])
    draw(tmp_path, "train/ground_truth/dent/0_mask.png")
    apart = read(tmp_path)
    assert apart.defects[0].mask == tmp_path / "train/ground_truth/dent/0_mask.png"
    assert apart.test[0].mask == tmp_path / "ground_truth/dent/0_mask.png"
    assert find_shared_mask(apart) is None


def test_good_and_defect_folders_hold_good_images_out_by_content(tmp_path: Path) -> None:
    draw(tmp_path, *(f"ok/{i}.png" for i in range(60)), "crack/x.png", "masks/crack/x.png")
    splits = read(tmp_path)
    held_out = good_in_test(splits)
    assert 3 <= len(held_out) <= 24
    assert not held_out & {s.image.read_bytes() for s in splits.train}
    (defect,) = (s for s in splits.test if s.label == "defect")
    assert defect.mask == tmp_path / "masks/crack/x.png"
    draw(tmp_path, *(f"ok/new{i}.png" for i in range(30)))
    for i in range(60):
        (tmp_path / f"ok/{i}.png").rename(tmp_path / f"ok/renamed{i}.png")
    assert held_out <= good_in_test(read(tmp_path))


def good_in_test(splits: Splits) -> set[bytes]:
    return {sample.image.read_bytes() for sample in splits.test if sample.label == "good"}


def test_copies_of_an_image_are_never_on_both_sides(tmp_path: Path) -> None:
    draw(tmp_path, *(f"ok/{i}.png" for i in range(60)), "crack/x.png")
    for i in range(60):
        shutil.copy(tmp_path / f"ok/{i}.png", tmp_path / f"ok/copy{i}.png")
    splits = read(tmp_path)
    assert len(good_in_test(splits)) >= 3
    assert not good_in_test(splits) & {sample.image.read_bytes() for sample in splits.train}


def test_share_and_seed_of_the_held_out_images_can_be_chosen(tmp_path: Path) -> None:
    draw(tmp_path, *(f"ok/{i}.png" for i in range(60)), "crack/x.png")
    default, half, other = (
        good_in_test(load(FolderOptions.parse({"root": tmp_path, **options}), None))
        for options in ({}, {"test_share": "0.5"}, {"seed": "1"})
    )
    assert default < half
    assert len(half) >= 15
    assert other not in (default, half)


def test_names_are_compared_without_case_and_training_validation_and_masks_have_other_names(tmp_path: Path) -> None:
    draw(tmp_path, "Train/OK/a.png", "Testing/Normal/c.png", "Testing/Dent/d.png", "GT/dent/d_Mask.PNG", "Val/Ok/v.png")
    splits = read(tmp_path)
    assert [sample.image.name for sample in splits.train] == ["a.png"]
    assert [(s.label, s.defect) for s in splits.test] == [("defect", "Dent"), ("good", None)]
    assert splits.test[0].mask == tmp_path / "GT/dent/d_Mask.PNG"
    assert len(splits.validation) == 1


def test_kinds_of_defects_may_lie_in_a_folder_of_defects(tmp_path: Path) -> None:
    draw(tmp_path, *(f"OK/{i}.png" for i in range(30)), "NG/scratch/1.png", "NG/dent/2.png", "masks/scratch/1.png")
    splits = read(tmp_path)
    defects = [sample for sample in splits.test if sample.label == "defect"]
    assert [(s.defect, s.mask and s.mask.parent.name) for s in defects] == [("dent", None), ("scratch", "scratch")]
    assert "defective (dent 1, scratch 1); 1 of 2 defects have no mask" in splits.description


def test_a_layout_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    draw(tmp_path, "bottle/train/good/a.png", "bottle/test/dent/d.png")
    assert [sample.image.name for sample in read(tmp_path).train] == ["a.png"]
    assert str(tmp_path / "bottle") in read(tmp_path).description


def test_masks_lie_beside_their_image_or_in_one_folder_for_all_kinds(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/dent/1.jpg", "test/dent/1_mask.png", "test/dent/2_mask.png")
    draw(tmp_path, "test/crack/3.png", "test/crack/4.png", "ground_truth/3.png", "ground_truth/other/4.png")
    found = {s.image.name: s.mask and s.mask.relative_to(tmp_path).as_posix() for s in read(tmp_path).test}
    assert found == {
        "1.jpg": "test/dent/1_mask.png",
        # Without an image that it could be the mask of, it is an image.
        "2_mask.png": None,
        "3.png": "ground_truth/3.png",
        "4.png": None,
    }


def test_masks_of_nested_images_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/dent/one/1.png", "test/dent/two/1.png", "test/dent/two/2.png")
    draw(tmp_path, "ground_truth/dent/one/1.png", "ground_truth/dent/two/1_mask.png", "ground_truth/dent/2.png")
    masks = [s.mask and s.mask.relative_to(tmp_path / "ground_truth/dent").as_posix() for s in read(tmp_path).test]
    assert masks == ["one/1.png", "two/1_mask.png", "2.png"]


def test_a_table_given_as_a_folder_is_told_how_to_name_it(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text("image\n")
    with pytest.raises(DataError, match=r"use --data table:.*parts\.csv"):
        read(tmp_path / "parts.csv")


def test_a_folder_of_images_is_all_good(tmp_path: Path) -> None:
    draw(tmp_path, "b.jpg", "a.PNG", "more/c.png", ".hidden.png", ".thumbs/d.png")
    (tmp_path / "notes.txt").write_text("x")
    splits = read(tmp_path)
    assert [sample.image.name for sample in splits.train] == ["a.PNG", "b.jpg", "c.png"]
    assert not splits.test
    assert "all taken as good" in splits.description


def test_missing_masks_are_said(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/dent/d.png")
    assert "no masks found" in read(tmp_path).description


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no good images"),
        (["train/good/.keep.png"], "no good images"),
        (["train/dent/a.png"], "no 'good' one"),
        (["dent/a.png", "crack/b.png"], "has folders (crack, dent)"),
    ],
)
def test_a_folder_without_good_images_says_what_was_found(tmp_path: Path, names: list[str], words: str) -> None:
    draw(tmp_path, *names)
    with pytest.raises(DataError) as refused:
        read(tmp_path)
    assert words in refused.value.format_message()
    assert str(tmp_path) in refused.value.format_message()


def test_a_file_a_missing_folder_and_a_category_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    with pytest.raises(DataError, match="is a file"):
        read(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "gone")
    with pytest.raises(DataError, match="is no folder, but a pipe or a device"):
        read(Path(os.devnull))
    with pytest.raises(AdcliError, match="no categories"):
        load(FolderOptions(root=tmp_path), "bottle")


def test_paths_to_predict_are_files_and_folders(tmp_path: Path) -> None:
    draw(tmp_path, "one.png", "some/two.png", "some/three.png")
    found = images_in([tmp_path / "some", tmp_path / "one.png"])
    assert [path.name for path in found] == ["three.png", "two.png", "one.png"]
    (tmp_path / "empty").mkdir()
    for missing in ("gone.png", "empty"):
        with pytest.raises(DataError, match=missing):
            list(images_in([tmp_path / missing]))


def predicted(root: Path, out: str, *pictures: str) -> None:
    """Write what ``adcli predict --out --overlays`` leaves in a folder."""
    (root / out).mkdir(parents=True, exist_ok=True)
    (root / out / "predictions.csv").touch()
    draw(root, *(f"{out}/maps/{picture}" for picture in pictures))


@pytest.mark.parametrize("out", [".", "checked", "good", "good/checked", "dent", "dent/deep/checked", "good/deep"])
def test_pictures_of_predict_are_no_photographs_wherever_they_lie(tmp_path: Path, out: str) -> None:
    draw(tmp_path, *(f"good/{i}.png" for i in range(20)), "good/deep/a.png", "dent/x.png")
    before = read(tmp_path)
    predicted(tmp_path, out, "0.png.png", "deep/a.png.png")
    after = read(tmp_path)
    assert (after.train, after.test) == (before.train, before.test)
    assert after.description == f"{before.description}; left out 2 pictures made by adcli"


@pytest.mark.parametrize("out", [".", "checked", "train", "train/checked", "test/checked", "test/dent", "test"])
def test_nor_are_they_in_train_and_test_folders(tmp_path: Path, out: str) -> None:
    draw(tmp_path, "train/a.png", "train/b.png", "test/good/c.png", "test/dent/d.png", "ground_truth/dent/d_mask.png")
    before = read(tmp_path)
    predicted(tmp_path, out, "a.png.png")
    after = read(tmp_path)
    assert (after.train, after.test) == (before.train, before.test)
    assert after.description.endswith("; left out 1 picture made by adcli")


def wrote(root: Path, place: str, file: str) -> None:
    """Write what a run or an export leaves in a folder, as far as it matters here."""
    draw(root, f"{place}/calibrations/0001.png", f"{place}/evaluations/own/maps/a.png.png")
    (root / place / file).write_text(seal({"format": 1}))
    (root / place / "calibration.json").touch()
    (root / place / "evaluations/own/predictions.csv").touch()


@pytest.mark.parametrize("file", ["run.yaml", "manifest.yaml"])
@pytest.mark.parametrize(
    ("layout", "places"),
    [
        (["a.png", "deep/b.png"], ["runs/pc", "deep/run", "pc"]),
        (["good/a.png", "dent/b.png"], ["runs/pc", "pc", "good/run", "dent/runs/day/run", "runs/good"]),
        (
            ["train/a.png", "test/good/c.png", "test/dent/d.png"],
            ["runs/pc", "train/run", "train/runs/pc", "test/runs/pc"],
        ),
        (["parts/train/a.png", "parts/test/dent/b.png"], ["runs/pc", "pc", "parts/runs/pc"]),
    ],
)
def test_pictures_of_runs_and_exports_are_no_photographs(
    tmp_path: Path, layout: list[str], places: list[str], file: str
) -> None:
    for number, place in enumerate(places):
        root = tmp_path / str(number)
        draw(root, *layout)
        before = read(root)
        wrote(root, place, file)
        after = read(root)
        assert (after.train, after.test, after.left_out) == (before.train, before.test, before.left_out), place
        if layout[0] != "parts/train/a.png" or place.startswith("parts"):
            assert after.description == f"{before.description}; left out 2 pictures made by adcli"


def test_a_run_is_no_data(tmp_path: Path) -> None:
    wrote(tmp_path, "runs/pc", "run.yaml")
    for place in ("runs/pc", "runs/pc/calibrations", "runs/pc/evaluations/own/maps"):
        with pytest.raises(DataError, match="a run or an export of adcli"):
            read(tmp_path / place)
    with pytest.raises(DataError, match="is a run or an export of adcli"):
        list(images_in([tmp_path / "runs/pc"]))
    with pytest.raises(DataError, match="no images"):
        list(images_in([tmp_path / "runs"]))


def test_a_file_of_that_name_by_others_hides_no_photographs(tmp_path: Path) -> None:
    draw(tmp_path, "good/a.png", "dent/b.png")
    for place in ("", "good", "dent"):
        (tmp_path / place / "manifest.yaml").write_text("format: 1\nowner: me\n")
        (tmp_path / place / "run.yaml").touch()
    assert len(read(tmp_path).train) == 1
    assert [sample.image.name for sample in read(tmp_path).test] == ["b.png"]


def test_the_settings_of_a_run_may_lie_beside_photographs(tmp_path: Path) -> None:
    """``train --config run.yaml`` repeats a run, from wherever the file was copied to."""
    draw(tmp_path, *(f"photos/good/{i}.png" for i in range(20)), "photos/dent/b.png")
    for place in (".", "photos", "photos/good"):
        (tmp_path / place / "run.yaml").write_text(seal({"format": 1}))
    splits = read(tmp_path / "photos")
    assert len(splits.train) + len(splits.test) == 21
    assert "left out" not in splits.description


def test_a_folder_of_good_images_alone_is_not_said_to_be_divided(tmp_path: Path) -> None:
    draw(tmp_path, *(f"good/{i}.png" for i in range(20)))
    assert read(tmp_path).description == (
        f"{tmp_path}: a folder of good images, and none of defects; 20 good images to train on; test: none"
    )
    draw(tmp_path, "dent/x.png")
    assert "good and defect folders, 20% of good for testing" in read(tmp_path).description


def test_a_second_prediction_of_a_folder_takes_its_photographs_alone(tmp_path: Path) -> None:
    draw(tmp_path, "pin/1.png", "pin/2.png", "pin/maps/3.png")
    assert len(list(images_in([tmp_path / "pin"]))) == 3  # a folder of that name is nothing by itself
    predicted(tmp_path, "pin/checked", "1.png.png", "2.png.png")
    assert [path.name for path in images_in([tmp_path / "pin"])] == ["1.png", "2.png", "3.png"]


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    for path in ("x" * 5000, "a\0b", str(tmp_path / ("y" * 300))):
        with pytest.raises(DataError) as refused:
            list(images_in([path]))
        assert "\n" not in refused.value.format_message()
    with pytest.raises(DataError, match="empty"):
        list(images_in([""]))
