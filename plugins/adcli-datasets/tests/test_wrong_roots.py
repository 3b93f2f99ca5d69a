"""What is missing, misplaced or half unpacked is one line that says what was expected, and what is there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_trees import ARCHIVE_NAMES, SPECS, WRITERS, mask, read

from adcli import AdcliError, DataError, MissingCategoryError, OptionError

FIRST = {name: (SPECS[name].categories or (None,))[0] for name in WRITERS}


def reference(name: str) -> str:
    return name if FIRST[name] is None else f"{name}:{FIRST[name]}"


def refusal(name: str, root: Path | None, *, category: str | None = None, **options: object) -> str:
    """Return the one line with which a data set is refused."""
    with pytest.raises(AdcliError) as refused:
        read(f"{name}:{category}" if category else reference(name), root, **options)
    assert isinstance(refused.value, (DataError, OptionError))
    message = refused.value.format_message()
    assert len(message.splitlines()) == 1
    return message


def test_every_data_set_is_described_in_full() -> None:
    for name in WRITERS:
        spec = SPECS[name]
        assert all((spec.summary, spec.paper, spec.licence, spec.source, spec.layout))


@pytest.mark.parametrize("name", [name for name in WRITERS if SPECS[name].categories])
def test_a_category_that_is_not_there_differs_from_one_that_is_damaged(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    folders = [folder for folder in tmp_path.rglob(str(FIRST[name])) if folder.is_dir()]
    assert folders
    for folder in folders:
        shutil.rmtree(folder)
        folder.mkdir()
    with pytest.raises(DataError) as damaged:
        read(reference(name), tmp_path)
    assert not isinstance(damaged.value, MissingCategoryError)
    for folder in folders:
        folder.rmdir()
    with pytest.raises(MissingCategoryError, match=str(FIRST[name])):
        read(reference(name), tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_without_a_folder_it_says_how_to_name_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADCLI_DATA", raising=False)
    message = refusal(name, None)
    assert "-d root=FOLDER" in message
    assert "ADCLI_DATA" in message


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("own", [True, False])
def test_it_is_found_in_the_folder_of_data_sets(
    name: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / (name if own else ARCHIVE_NAMES[name])
    folder.mkdir()
    WRITERS[name](folder)
    monkeypatch.setenv("ADCLI_DATA", str(tmp_path))
    assert read(reference(name), None).train


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_other_data_sets_says_which_names_are_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats").mkdir()
    monkeypatch.setenv("ADCLI_DATA", str(tmp_path))
    message = refusal(name, None)
    assert all(word in message for word in (str(tmp_path), name, "found cats"))
    monkeypatch.setenv("ADCLI_DATA", str(tmp_path / "gone"))
    assert str(tmp_path / "gone") in refusal(name, None)


@pytest.mark.parametrize("name", WRITERS)
def test_it_may_lie_one_folder_deeper(name: str, tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    WRITERS[name](tmp_path / "unpacked")
    assert read(reference(name), tmp_path).train


@pytest.mark.parametrize("name", [name for name, first in FIRST.items() if first and name not in ("visa", "real_iad")])
def test_a_category_may_lie_in_a_folder_of_its_own_name(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner" / str(FIRST[name])).rename(tmp_path / "outer" / str(FIRST[name]))
    (tmp_path / "data").mkdir()
    (tmp_path / "outer").rename(tmp_path / "data" / str(FIRST[name]))
    assert read(reference(name), tmp_path / "data").train


@pytest.mark.parametrize("name", WRITERS)
def test_a_wrong_folder_says_what_was_expected_and_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    message = refusal(name, tmp_path)
    assert message.startswith(f"{tmp_path}: expected ")
    assert "found holiday" in message


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_text("x")
    assert "is a file" in refusal(name, tmp_path / "archive.zip")


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_that_is_not_unpacked_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "data.tar.xz").write_text("x")
    assert "found data.tar.xz, unpack it first" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", [name for name, first in FIRST.items() if first])
def test_a_missing_category_says_which_are_there(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    categories = SPECS[name].categories
    top = tmp_path / "realiad_1024" if name == "real_iad" else tmp_path
    shutil.rmtree(top / categories[1])
    message = refusal(name, tmp_path, category=categories[1])
    assert categories[1] in message
    assert categories[0] in message.partition("found ")[2]


@pytest.mark.parametrize("name", [name for name, first in FIRST.items() if first])
def test_a_category_is_needed_and_those_there_are_listed(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"--data {name}:CATEGORY, with one of {FIRST[name]}, "):
        read(name, tmp_path)


@pytest.mark.parametrize("name", [name for name, first in FIRST.items() if not first])
def test_where_there_are_no_categories_none_is_taken(name: str, tmp_path: Path) -> None:
    assert "no categories, but 'x' was given" in refusal(name, tmp_path, category="x")


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("mvtec_ad", lambda root: emptied(root / "bottle"), ["bottle: expected train", "the folder is empty"]),
        ("mvtec_ad", lambda root: emptied(root / "bottle/train/good"), ["train/good: expected images"]),
        ("mvtec_ad", lambda root: shutil.rmtree(root / "bottle/test"), ["bottle: expected test", "found ground_truth"]),
        ("mvtec_ad", lambda root: shutil.rmtree(root / "bottle/ground_truth"), ["lacks 2 of 2 masks", "broken_large"]),
        (
            "mvtec_ad",
            lambda root: (root / "bottle/ground_truth/combined/001_mask.png").unlink(),
            ["ground_truth/combined: lacks 1 of 2 masks, for example that of combined/001.png", "found 000_mask.png"],
        ),
        (
            "mvtec_ad_2",
            lambda root: shutil.rmtree(root / "can/validation"),
            ["can: expected validation/good", "found test_private"],
        ),
        ("mvtec_ad_2", lambda root: shutil.rmtree(root / "can/test_public/ground_truth"), ["lacks 2 of 2 masks"]),
        (
            "mvtec_loco",
            lambda root: emptied(root / "breakfast_box/ground_truth/logical_anomalies/001"),
            ["logical_anomalies: lacks 1 of 2 masks"],
        ),
        ("visa", lambda root: shutil.rmtree(root / "split_csv"), ["split_csv/1cls.csv: no such file", "one-class"]),
        ("visa", lambda root: (root / "split_csv/1cls.csv").write_text("a,b\n"), ["line 1: expected object,split"]),
        (
            "visa",
            lambda root: (root / "candle/Data/Images/Normal/0001.JPG").unlink(),
            ["1cls.csv: line 3", "Normal/0001.JPG does not exist"],
        ),
        ("visa", lambda root: shutil.rmtree(root / "candle/Data/Masks"), ["line 6", "Masks/Anomaly/000.png"]),
        ("btad", lambda root: shutil.rmtree(root / "01/ground_truth"), ["ground_truth/ko: lacks 2 of 2 masks"]),
        ("mpdd", lambda root: emptied(root / "bracket_black/ground_truth/hole"), ["hole: lacks 2 of 2", "is empty"]),
        ("kolektor_sdd", lambda root: (root / "kos02/Part1_label.bmp").unlink(), ["kos02: lacks 1 of 2 masks"]),
        ("kolektor_sdd", lambda root: [shutil.rmtree(root / f"kos0{i}") for i in (2, 3, 5)], ["kos01 to kos50"]),
        ("kolektor_sdd2", lambda root: shutil.rmtree(root / "test"), ["expected test", "found train"]),
        ("kolektor_sdd2", lambda root: (root / "train/10001_GT.png").unlink(), ["lacks 1 of 4 masks", "10001_GT"]),
        (
            "kolektor_sdd2",
            lambda root: [mask(path) for path in (root / "train").glob("*_GT.png")],
            ["none of the 4 training images is good"],
        ),
        ("dagm", lambda root: shutil.rmtree(root / "Class1/Test/Label"), ["Class1/Test: expected Label"]),
        (
            "dagm",
            lambda root: (root / "Class1/Test/Label/0004_label.PNG").unlink(),
            ["Test/Label: lacks 1 masks that Labels.txt implies, for example 0004_label.PNG"],
        ),
        (
            "dagm",
            lambda root: [path.unlink() for path in (root / "Class1/Train/Label").iterdir()],
            ["Train/Label: expected masks", "is empty"],
        ),
        ("real_iad", lambda root: shutil.rmtree(root / "realiad_jsons"), ["realiad_jsons/audiojack.json"]),
        ("real_iad", lambda root: emptied(root / "realiad_1024/audiojack"), ["lacks 2 of 2 files", "OK/S0001"]),
        (
            "real_iad",
            lambda root: (root / "realiad_jsons/realiad_jsons/audiojack.json").write_text("{"),
            ["audiojack.json: not a table"],
        ),
        (
            "real_iad",
            lambda root: (root / "realiad_jsons/realiad_jsons/audiojack.json").write_text(json.dumps({"train": []})),
            ["lacks 'train' or 'test'"],
        ),
        ("magnetic_tile", lambda root: emptied(root / "MT_Crack"), ["MT_Crack: expected Imgs", "is empty"]),
        ("magnetic_tile", lambda root: (root / "MT_Fray/Imgs/exp2_num_1.png").unlink(), ["lacks 1 of 2 masks"]),
        (
            "magnetic_tile",
            lambda root: [shutil.rmtree(path) for path in root.glob("MT_*") if path.name != "MT_Free"],
            ["expected MT_Blowhole"],
        ),
    ],
)
def test_a_half_unpacked_archive_is_one_line(
    name: str, damage: Callable[[Path], object], words: list[str], tmp_path: Path
) -> None:
    WRITERS[name](tmp_path)
    damage(tmp_path)
    message = refusal(name, tmp_path)
    assert str(tmp_path) in message
    for word in words:
        assert word in message


def test_a_resolution_of_real_iad_that_is_not_there_is_named(tmp_path: Path) -> None:
    WRITERS["real_iad"](tmp_path)
    message = refusal("real_iad", tmp_path, resolution="512")
    assert "expected realiad_512" in message
    assert "found realiad_1024" in message


def test_views_of_real_iad_that_its_table_lacks_are_named(tmp_path: Path) -> None:
    WRITERS["real_iad"](tmp_path)
    assert "of the views C4" in refusal("real_iad", tmp_path, views="C4")
