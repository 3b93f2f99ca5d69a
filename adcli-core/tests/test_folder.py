"""Folders as data sets: three layouts, recognised and said."""

from pathlib import Path

import pytest
from PIL import Image

from adcli.builtin import FolderOptions
from adcli.data.folder import images_in, load
from adcli.data.samples import Splits
from adcli.errors import AdcliError, DataError


def draw(root: Path, *names: str) -> None:
    """Write small images."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / name)


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


def test_good_and_defect_folders_hold_good_images_out_by_name(tmp_path: Path) -> None:
    draw(tmp_path, *(f"ok/{i}.png" for i in range(60)), "crack/x.png", "masks/crack/x.png")
    splits = read(tmp_path)
    held_out = {s.image.name for s in splits.test if s.label == "good"}
    assert 3 <= len(held_out) <= 24
    assert not held_out & {s.image.name for s in splits.train}
    (defect,) = (s for s in splits.test if s.label == "defect")
    assert defect.mask == tmp_path / "masks/crack/x.png"
    draw(tmp_path, *(f"ok/new{i}.png" for i in range(30)))
    assert held_out <= {s.image.name for s in read(tmp_path).test}


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
