"""Tables as data sets: columns, spellings and paths, and a line number for everything that is wrong."""

import json
from collections.abc import Callable, Mapping
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
        *((word, "good") for word in ("good", "OK", "Normal", "0", "0.0", "pass", "Passed", "False", "i. O.", "o k")),
        *((word, "defect") for word in ("defect", "ng", "abnormal", "Anomalous", "anomaly", "bad", "defective", "1")),
        *((word, "defect") for word in ("NOK", "Not OK", "KO", "FAIL", "failed", "True", "1.0", "n.i.O.", "Rejected")),
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


ANOMALIB = (
    ",path,split,label,image_path,mask_path,label_index\n"
    "0,x,train,good,a.png,,0\n"
    "1,x,test,broken large,b.png,m.png,1\n"
    "2,x,test,abnormal,c.png,,1\n"
    "3,x,val,good,d.png,,0\n"
    "4,x,Split.TEST,crack,e.png,,LabelName.ABNORMAL\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_of_anomalib_is_read_in_every_encoding_and_with_every_line_end(
    tmp_path: Path, encoding: str, end: str
) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png", "m.png")
    (tmp_path / "t.csv").write_bytes(ANOMALIB.replace("\n", end).encode(encoding))
    splits = load_data(f"table:{tmp_path / 't.csv'}", {}).splits
    assert [sample.image.name for sample in splits.train] == ["a.png"]
    assert [(s.image.name, s.label, s.defect, s.mask) for s in splits.test] == [
        ("b.png", "defect", "broken large", tmp_path / "m.png"),
        ("c.png", "defect", None, None),
        ("e.png", "defect", "crack", None),
    ]
    assert [sample.label for sample in splits.validation] == ["good"]
    assert splits.description.endswith("columns ignored: path")


def test_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    message = refusal(tmp_path / "t.csv", "image_path,label,label_index\na.png,good,1\n")
    assert "line 2: label is 'good', but label_index is '1'" in message


def test_an_array_of_json_is_read_and_its_entries_are_named(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png")
    entries = [{"image": "a.png", "label": False}, {"image_path": "b.png", "label_index": 1.0, "x": {"y": [1]}}]
    entries[1] |= {"image": "b.png", "label": True, "mask_path": float("nan")}
    for text in (json.dumps(entries), json.dumps(entries, indent=2), "\n " + json.dumps(entries)):
        splits = read(tmp_path / "t.json", text, test_share="1e-12")
        assert [sample.label for sample in (*splits.train, *splits.test)] == ["good", "defect"]
    assert "t.json: entry 2: expected one JSON object" in refusal(tmp_path / "t.json", '[{"image": "a.png"}, 3]')
    assert "t.json: not JSON (" in refusal(tmp_path / "t.json", '[{"image": "a.png"}')
    assert "nested too deeply" in refusal(tmp_path / "t.json", "[" * 100_000)


@pytest.mark.parametrize(
    ("name", "content"),
    [("parts.xlsx", b"PK\x03\x04"), ("parts.csv", b"PK\x03\x04\x14"), ("p.xls", b"\xd0\xcf\x11\xe0"), ("p.ods", b"x")],
)
def test_a_spreadsheet_is_named_with_what_to_do(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: is a spreadsheet, not text; save it as CSV"):
        load_data(f"table:{tmp_path / name}", {})


def test_names_with_spaces_backslashes_and_spelt_bytes_are_found(tmp_path: Path) -> None:
    names = [" a .png", "b\\c.png", "caf\udce9.png", "\\udce9.png", "day/d.png"]
    draw(tmp_path, "x.png")
    content = (tmp_path / "x.png").read_bytes()
    (tmp_path / "day").mkdir()
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(content + bytes([i]))
    spelt = [" a .png", "b\\c.png", "caf\\udce9.png", "\\u005cudce9.png", "day\\d.png"]
    splits = read(tmp_path / "t.csv", "image\n" + "\n".join(spelt))
    assert [str(sample.image.relative_to(tmp_path)) for sample in splits.train] == names


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("file\na.png\n", "line 1: no column 'image'; found file"),
        ("", "line 1: no column 'image'; found nothing"),
        ("image,label\na.png,good\nb.png,scratch\n", "line 3: label 'scratch' is not one of good, ok"),
        ("image,split\na.png,train\n\nb.png,tset\n", "line 4: split 'tset' is not one of train, test"),
        ("image,split\na.png,\n", "line 2: split '' is not one of"),
        ("image,label,split\na.png,ng,train\n", "no good images; test: none"),
        ("image,label,split\na.png,,train\n", "line 2: a training image needs a label"),
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


@pytest.mark.parametrize(
    "column", ["image", "label", "split", "mask", "defect", "image_path", "label_index", "mask_path"]
)
@pytest.mark.parametrize("second", [str, str.title, " {} ".format])
def test_a_column_that_is_there_twice_is_refused_by_name(
    tmp_path: Path, column: str, second: Callable[[str], str]
) -> None:
    draw(tmp_path, "a.png")
    words = f"has 2 columns '{column}'"
    first = "" if column == "image" else "image,"
    assert f"line 1: {words}" in refusal(tmp_path / "t.csv", f"{first}{column},{second(column)}\na.png\n")
    if second(column) != column:
        entry = json.dumps({"image": "a.png", column: "a.png", second(column): "a.png"})
        assert f"line 1: {words}" in refusal(tmp_path / "t.jsonl", entry)
        assert f"entry 1: {words}" in refusal(tmp_path / "t.json", f"[{entry}]")


def test_columns_without_meaning_may_be_there_twice(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    splits = read(tmp_path / "t.csv", "image,note,Note,,\na.png,x,y,,\n")
    assert splits.description.endswith("columns ignored: note, note")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("t.json", '[{"file": "a.png"}]', "file"),
        ("t.json", '{"data": [{"image": "a.png"}]}', "data"),
        ("t.jsonl", '{"file": "a.png"}\n{"label": 1}', "file, label"),
        ("t.ndjson", "", "nothing"),
    ],
)
def test_json_has_entries_and_no_columns(tmp_path: Path, name: str, text: str, found: str) -> None:
    assert refusal(tmp_path / name, text) == f"{tmp_path / name}: no entry has an 'image'; found {found}."


def test_a_reference_to_a_table_holds_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path, "a.png")
    (tmp_path / "parts.csv").write_text("image\na.png\n")
    monkeypatch.chdir(tmp_path)
    data = load_data("table:parts.csv", {})
    assert (data.reference, data.name) == (f"table:{tmp_path / 'parts.csv'}", "parts")
    assert data.splits.train[0].image == tmp_path / "a.png"
