"""Tables as data sets: columns, spellings and paths, and a line number for everything that is wrong."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from adcli.data.references import load_data
from adcli.data.samples import Splits
from adcli.errors import DataError, OptionError
from adcli.testing import Check, conformance


def draw(root: Path, *names: str) -> None:
    """Write small images, no two alike."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("L", (4, 4), sha256(name.encode()).digest()[:16]).save(root / name)


def read(table: Path, text: str, **options: str) -> Splits:
    table.write_text(text, encoding="utf-8")
    return load_data(f"table:{table}", options).splits


def refusal(table: Path, text: str) -> str:
    with pytest.raises(DataError) as refused:
        read(table, text)
    assert len(refused.value.format_message().splitlines()) == 1
    return refused.value.format_message()


def write_two_of_each(folder: Path) -> Mapping[str, object]:
    draw(folder, *(f"{i}.png" for i in range(6)))
    (folder / "parts.csv").write_text(
        "image,label,split\n0.png,good,train\n1.png,good,train\n2.png,good,test\n3.png,ng,test\n"
    )
    return {"file": folder / "parts.csv"}


@conformance("table", kind="dataset", write_images=write_two_of_each)
def test_a_table_conforms(check: Check) -> None:
    check()


def test_every_column_is_read(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "masks/d.png")
    splits = read(
        tmp_path / "parts.csv",
        "image,label,split,mask,defect,line\n"
        "a.png,good,train,,,3\n"
        "b.png,OK,TRAIN,,none,3\n"
        "c.png,normal,test,,,3\n"
        "d.png,NG,Test,masks/d.png,scratch,3\n"
        "e.png,,test,,,3\n"
        "\n"
        "f.png,1,val,,,3\n",
    )
    assert [sample.image.name for sample in splits.train] == ["a.png", "b.png"]
    assert [(s.image.name, s.label, s.defect, s.mask) for s in splits.test] == [
        ("c.png", "good", None, None),
        ("d.png", "defect", "scratch", tmp_path / "masks/d.png"),
        ("e.png", None, None, None),
    ]
    assert [(s.image.name, s.label) for s in splits.validation] == [("f.png", "defect")]
    assert splits.description == (
        f"{tmp_path / 'parts.csv'}: a table; 2 good images to train on; test: 1 good, 1 defective (scratch 1), "
        "1 unlabelled; validation: 1 defective (defect 1); columns ignored: line"
    )


@pytest.mark.parametrize(
    ("word", "label"),
    [
        *((word, "good") for word in ("good", "OK", "Normal", "0")),
        *((word, "defect") for word in ("defect", "ng", "abnormal", "Anomalous", "anomaly", "bad", "defective", "1")),
    ],
)
def test_labels_have_synonyms(tmp_path: Path, word: str, label: str) -> None:
    draw(tmp_path, "a.png", "b.png")
    splits = read(tmp_path / "t.csv", f"image,label,split\na.png,good,train\nb.png,{word},test\n")
    assert splits.test[0].label == label


def test_only_the_image_is_needed(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png")
    splits = read(tmp_path / "t.csv", "image\na.png\nb.png\n")
    assert [sample.label for sample in splits.train] == ["good", "good"]
    assert not splits.test


def test_without_labels_what_has_a_mask_or_a_kind_is_defective(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "m.png")
    splits = read(tmp_path / "t.csv", "image,split,mask,defect\na.png,train,,\nb.png,test,m.png,\nc.png,test,,dent\n")
    assert [(s.label, s.defect) for s in splits.test] == [("defect", None), ("defect", "dent")]


def test_without_a_split_good_images_are_held_out_by_content_and_the_rest_is_tested(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(60)]
    draw(tmp_path, *names, "dent.png", "unknown.png")
    rows = "image,label\n" + "".join(f"{name},ok\n" for name in names)
    splits = read(tmp_path / "t.csv", f"{rows}dent.png,ng\nunknown.png,\n")
    held_out = {sample.image for sample in splits.test if sample.label == "good"}
    assert 3 <= len(held_out) <= 24
    assert len(splits.train) == 60 - len(held_out)
    assert "20% of good for testing" in splits.description
    draw(tmp_path, "new.png")
    more = read(tmp_path / "t.csv", f"image,label\nnew.png,ok\n{rows.partition(chr(10))[2]}dent.png,ng\nunknown.png,\n")
    assert held_out <= {sample.image for sample in more.test}
    (tmp_path / "as_folders/good").mkdir(parents=True)
    (tmp_path / "as_folders/dent").mkdir()
    for name in names:
        (tmp_path / "as_folders/good" / name).write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "as_folders/dent/dent.png").write_bytes((tmp_path / "dent.png").read_bytes())
    folder = load_data(str(tmp_path / "as_folders"), {}).splits
    assert {s.image.name for s in folder.test if s.label == "good"} == {path.name for path in held_out}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_of_cells_and_folders_and_a_byte_order_mark_are_read(tmp_path: Path, separator: str) -> None:
    draw(tmp_path, "day 1/a.png", "day 1/b.png", "m/b.png")
    lines = (
        [" Image ", "LABEL", "split", "mask"],
        ["day 1\\a.png", " good", "train", ""],
        ["day 1\\b.png", "ng", "test", "m\\b.png"],
    )
    splits = read(tmp_path / "t.csv", "\ufeff" + "\r\n".join(separator.join(cells) for cells in lines))
    assert [sample.image for sample in splits.train] == [tmp_path / "day 1/a.png"]
    assert splits.test[0].mask == tmp_path / "m/b.png"


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_json_lines_are_read(tmp_path: Path, suffix: str) -> None:
    draw(tmp_path, "a.png", "b.png")
    entries = [
        {"image": "a.png", "label": 0, "split": "train"},
        {"image": "b.png", "label": 1, "split": "test", "x": None},
    ]
    splits = read(tmp_path / f"t.{suffix}", "\n".join(map(json.dumps, entries)))
    assert [(len(splits.train), splits.test[0].label)] == [(1, "defect")]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("file\na.png\n", "line 1: no column 'image'; found file"),
        ("", "line 1: no column 'image'; found nothing"),
        ("image,label\na.png,good\nb.png,scratch\n", "line 3: label 'scratch' is not one of good, ok"),
        ("image,split\na.png,train\n\nb.png,tset\n", "line 4: split 'tset' is not one of train, test"),
        ("image,split\na.png,\n", "line 2: split '' is not one of"),
        ("image,label,split\na.png,ng,train\n", "line 2: training images must be good; this one is defect"),
        ("image,label,split\na.png,,train\n", "line 2: training images must be good; this one is not labelled"),
        ("image,label,split\na.png,,val\n", "line 2: a validation image needs a label"),
        ("image\na.png\nc.png\n", "line 3: image {folder}/c.png does not exist"),
        ("image,label,mask\na.png,ng,m.png\n", "line 2: mask {folder}/m.png does not exist"),
        ("image\na.png\na.png\n", "line 3: {folder}/a.png is also in line 2"),
        ("image,label\na.png,good,0\n", "line 2: has 3 cells for 2 columns"),
        ("image,label\n,good\n", "line 2: names no image"),
        ("image,label,defect\na.png,good,dent\n", "line 2: the label is 'good', but the defect is 'dent'"),
        ("image,label\na.png,ng\n", "no good images; test: 1 defective"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, rows: str, words: str) -> None:
    draw(tmp_path, "a.png", "b.png")
    message = refusal(tmp_path / "t.csv", rows)
    assert str(tmp_path / "t.csv") in message
    assert words.format(folder=tmp_path) in message


@pytest.mark.parametrize("text", ['{"image": "a.png"}\n[1]\n', '{"image": "a.png"}\n{"image"\n'])
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    draw(tmp_path, "a.png")
    assert "t.jsonl: line 2: expected one JSON object" in refusal(tmp_path / "t.jsonl", text)


def test_other_encodings_missing_tables_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("image\nmüller.png\n".encode("cp1252"))
    for name, words in (("t.csv", "UTF-8"), ("gone.csv", "no such table"), ("", "is a folder")):
        with pytest.raises(DataError, match=words):
            load_data(f"table:{tmp_path / name}", {})
    with pytest.raises(OptionError, match=r"table:FILE\.csv"):
        load_data("table", {})


def test_a_reference_to_a_table_holds_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path, "a.png")
    (tmp_path / "parts.csv").write_text("image\na.png\n")
    monkeypatch.chdir(tmp_path)
    data = load_data("table:parts.csv", {})
    assert (data.reference, data.name) == (f"table:{tmp_path / 'parts.csv'}", "parts")
    assert data.splits.train[0].image == tmp_path / "a.png"
