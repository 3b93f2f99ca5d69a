"""Shapes as masks: drawn at the size of the image, pixel by pixel, and what cannot be drawn is named in one line."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adcli.data.decoding import read_mask, read_mask_size
from adcli.data.references import load_data
from adcli.data.shapes import add_polygon, decode_runs
from adcli.errors import DataError

HEIGHT, WIDTH = 20, 30
SQUARE = [[4, 5], [10, 5], [10, 9], [4, 9]]
FLAT = [4, 5, 10, 5, 10, 9, 4, 9]


def shape(points: Any, kind: str | None = "polygon", label: str = "scratch", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def labelme(file: Path, *shapes: Any, height: Any = HEIGHT, width: Any = WIDTH) -> Path:
    content = {"version": "5.4.1", "shapes": shapes, "imageHeight": height, "imageWidth": width, "imageData": "abcd"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def coco(file: Path, names: Sequence[str], segmentations: Sequence[tuple[int, Any]], **about: Any) -> Path:
    images = [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH, **about} for i, name in enumerate(names)]
    annotations = [{"id": 70 + i, "image_id": n, "segmentation": s} for i, (n, s) in enumerate(segmentations)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return file


def box(left: int, top: int, right: int, bottom: int) -> Any:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


def as_text(mask: Any) -> str:
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize(
    ("shapes", "marked"),
    [
        ([shape(SQUARE)], box(4, 5, 10, 9)),
        ([shape(SQUARE[::-1], None)], box(4, 5, 10, 9)),
        ([shape([[4, 5], [10, 9]], "rectangle")], box(4, 5, 10, 9)),
        ([shape([[10, 9], [4, 5]], "rectangle")], box(4, 5, 10, 9)),
        ([shape([[-9, -5], [3, -5], [3, 4], [-9, 4]])], box(0, 0, 3, 4)),
        ([shape([[25, 15], [99, 15], [99, 99], [25, 99]])], box(25, 15, 99, 99)),
        ([shape([[-9, -9], [99, -9], [99, 99], [-9, 99]])], box(0, 0, 99, 99)),
        ([shape([[40, 2], [50, 2], [50, 9]])], box(0, 0, 0, 0)),
        ([shape(SQUARE), shape([[20, 1], [22, 3]], "rectangle")], box(4, 5, 10, 9) | box(20, 1, 22, 3)),
        ([shape([[7, 7]], "point")], box(7, 7, 8, 8)),
        ([shape([[2, 3], [8, 3]], "line")], box(2, 3, 9, 4)),
        ([shape([[2, 3.4], [8, 3.45], [2, 3.45]])], box(2, 3, 9, 4)),
        ([shape(SQUARE, label="_background_"), shape(SQUARE, label="__ignore__")], box(0, 0, 0, 0)),
        ([shape([[3, 4], [5, 6]], "mask", mask=as_text(np.ones((3, 3), bool)))], box(3, 4, 6, 7)),
        ([shape([[-1, -2], [1, 0]], "mask", mask=as_text(np.ones((3, 3), bool)))], box(0, 0, 2, 1)),
        ([shape([[28, 19], [30, 21]], "mask", mask=as_text(np.ones((3, 3), bool)))], box(28, 19, 99, 99)),
        ([], box(0, 0, 0, 0)),
    ],
)
def test_shapes_of_labelme_mark_these_pixels(tmp_path: Path, shapes: list[Any], marked: Any) -> None:
    file = labelme(tmp_path / "a.json", *shapes)
    mask = read_mask(file)
    assert mask.shape == read_mask_size(file) == (HEIGHT, WIDTH)
    assert np.array_equal(mask, marked)


def test_a_ring_that_goes_round_within_leaves_a_hole() -> None:
    ring = [(2, 2), (12, 2), (12, 12), (2, 12), (2, 2), (5, 5), (5, 9), (9, 9), (9, 5), (5, 5)]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    add_polygon(mask, np.array(ring, float))
    assert np.array_equal(mask, box(2, 2, 12, 12) & ~box(5, 5, 9, 9))


@pytest.mark.parametrize("seed", range(30))
def test_a_polygon_marks_the_pixels_whose_centres_it_encloses(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(-15, 45, (int(random.integers(3, 12)), 2))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    add_polygon(mask, points)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = np.zeros_like(mask)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        expected ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    assert not expected.any() or np.array_equal(mask, expected)


def test_a_circle_is_round_and_of_its_size(tmp_path: Path) -> None:
    mask = read_mask(labelme(tmp_path / "a.json", shape([[15, 10], [21, 10]], "circle")))
    assert abs(int(mask.sum()) - np.pi * 36) < 6
    assert np.array_equal(mask, mask[::-1])


def pack(lengths: list[int]) -> str:
    """Return run lengths as COCO's own code packs them."""
    text = ""
    for i, length in enumerate(lengths):
        value = length - (lengths[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(bits + (0x20 if more else 0) + 48)
    return text


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_read_packed_or_not(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((HEIGHT, WIDTH)) < random.choice([0.01, 0.5, 0.99])
    flat = mask.T.ravel()
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]
    lengths = [int(length) for length in np.diff(ends)]
    lengths = [0, *lengths] if flat[0] else lengths
    for counts in (lengths, pack(lengths)):
        assert np.array_equal(decode_runs(counts, (HEIGHT, WIDTH)), mask)


def test_a_packed_text_of_coco_is_what_its_own_code_says() -> None:
    """An example from the tests of pycocotools: a square of 4 in the middle of 8 x 8."""
    mask = decode_runs([18, 4, 4, 4, 4, 4, 4, 4, 18], (8, 8))
    assert np.array_equal(decode_runs(pack([18, 4, 4, 4, 4, 4, 4, 4, 18]), (8, 8)), mask)
    assert mask[2:6, 2:6].all()
    assert mask.sum() == 16


def write_images(root: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), i + 1).save(root / name)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A data set with two kinds of defects, in which names repeat, and without masks."""
    root = tmp_path / "parts"
    write_images(
        root, "train/good/0.png", "test/good/0.png", *(f"test/{k}/{i}.png" for k in ("cut", "dent") for i in "01")
    )
    return root


def masks(root: Path) -> Mapping[str, Path | None]:
    splits = load_data(str(root), {}).splits
    return {sample.image.relative_to(root / "test").as_posix(): sample.mask for sample in splits.test}


@pytest.mark.parametrize("place", ["test/cut", "ground_truth/cut", "test/ground_truth/cut", "masks/cut"])
@pytest.mark.parametrize("ending", ["", "_mask"])
def test_a_file_of_labelme_is_found_where_a_mask_would_be(parts: Path, place: str, ending: str) -> None:
    file = labelme(parts / f"{place}/1{ending}.json", shape(SQUARE))
    assert masks(parts) == {
        "good/0.png": None,
        "cut/0.png": None,
        "cut/1.png": file,
        "dent/0.png": None,
        "dent/1.png": None,
    }


def test_other_json_beside_images_is_no_mask_and_an_image_comes_first(parts: Path) -> None:
    (parts / "test/cut/0.json").write_text('{"exposure": 3}')
    labelme(parts / "test/cut/1.json", shape(SQUARE))
    write_images(parts, "ground_truth/cut/1_mask.png")
    assert masks(parts)["cut/0.png"] is None
    assert masks(parts)["cut/1.png"] == parts / "ground_truth/cut/1_mask.png"


@pytest.mark.parametrize(
    "name", ["annotations.json", "test/_annotations.coco.json", "ground_truth/instances_default.json"]
)
@pytest.mark.parametrize("prefix", ["", "test/", "C:\\parts\\test\\"])
def test_a_file_of_coco_has_masks_of_many_images(parts: Path, name: str, prefix: str) -> None:
    names = [f"{prefix}cut/0.png", f"{prefix}dent/0.png".replace("C:\\parts\\", ""), "test/cut/1.png", "good/0.png"]
    names[0] = names[0].replace("C:\\parts\\", "")
    holed = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    file = coco(parts / name, names, [(0, [FLAT]), (0, [[0, 0, 2, 0, 2, 2, 0, 2]]), (1, holed)])
    found = masks(parts)
    assert found["cut/0.png"] == file / "0"
    assert found["dent/0.png"] == file / "1"
    assert (found["cut/1.png"], found["dent/1.png"]) == (None, None)
    assert np.array_equal(read_mask(file / "0"), box(4, 5, 10, 9) | box(0, 0, 2, 2))
    assert read_mask(file / "1").all()
    assert read_mask_size(file / "1") == (HEIGHT, WIDTH)


def test_an_image_of_coco_that_may_be_two_is_refused(parts: Path) -> None:
    coco(parts / "annotations.json", ["0.png"], [(0, [FLAT])])
    with pytest.raises(DataError, match=r"annotations\.json: '0\.png' may be .*cut/0\.png or .*dent/0\.png"):
        load_data(str(parts), {})


def test_a_table_names_files_of_shapes(parts: Path) -> None:
    own = labelme(parts / "own.json", shape(SQUARE))
    shared = coco(parts / "drawn.json", ["cut/1.png"], [(0, [FLAT])])
    rows = [
        "image,split,mask",
        "train/good/0.png,train,",
        "test/cut/0.png,test,own.json",
        "test/cut/1.png,test,drawn.json",
    ]
    (parts / "t.csv").write_text("\n".join(rows))
    assert [sample.mask for sample in load_data(f"table:{parts / 't.csv'}", {}).splits.test] == [own, shared / "0"]
    (parts / "t.csv").write_text("\n".join([*rows, "test/dent/1.png,test,drawn.json"]))
    with pytest.raises(DataError, match=r"drawn\.json: has no image that is called as .*dent/1\.png"):
        load_data(f"table:{parts / 't.csv'}", {})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (shape([[1, 2], [3, 4]]), "shape 2 ('scratch') cannot be drawn (it has 2 points, and needs 3)"),
        (shape("abc"), "its points are no pairs of numbers"),
        (shape([[1, 2], [3, "x"], [4, 5]]), "its points are no pairs of numbers"),
        (shape([[1, 2, 3], [3, 4, 5], [4, 5, 6]]), "its points are no pairs of numbers"),
        (shape([[1, 2], [3, float("nan")], [4, 5]]), "a point that lies nowhere"),
        (shape([[1, 2], [3, 1e300], [4, 5]]), "a point that lies nowhere"),
        (shape(SQUARE, "spiral"), "'spiral' is no shape that is known"),
        (shape(SQUARE, ["polygon"]), "cannot be drawn"),
        (shape([[1, 2], [3, 4]], "mask", mask="!"), "its mask is no image"),
        (shape([[1, 2], [3, 4]], "mask", mask=base64.b64encode(b"no image").decode()), "its mask is no image"),
        (7, "shape 2 cannot be drawn (it is no object)"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_that_names_file_and_shape(tmp_path: Path, wrong: Any, words: str) -> None:
    file = labelme(tmp_path / "a.json", shape(SQUARE), wrong)
    with pytest.raises(DataError) as refused:
        read_mask(file)
    assert str(refused.value).startswith(f"{file}: shape 2")
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ([[1, 2, 3, 4]], "2 points, and needs 3"),
        ([[1, 2, 3, 4, 5]], "no pairs of numbers"),
        ({"size": [WIDTH, HEIGHT], "counts": [0, 600]}, "its size is not that of the image"),
        ({"size": [HEIGHT, WIDTH], "counts": [0, 599]}, "of 599 pixels, not of 30 x 20"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, 601]}, "no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "\x00"}, "no text of COCO"),
        ({"size": [HEIGHT, WIDTH], "counts": "oo"}, "cut off"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 99}, "no text of COCO"),
        ({"size": [HEIGHT, WIDTH]}, "no whole numbers"),
        ({"size": 3, "counts": [0, 600]}, "cannot be drawn"),
        ("abc", "no segmentation"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_that_names_file_and_annotation(
    tmp_path: Path, segmentation: Any, words: str
) -> None:
    file = coco(tmp_path / "annotations.json", ["a.png"], [(0, [FLAT]), (0, segmentation)])
    with pytest.raises(DataError) as refused:
        read_mask(file / "0")
    assert str(refused.value).startswith(f"{file / '0'}: annotation 71 cannot be drawn (")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "neither of labelme"),
        ('{"shapes": [' + "9" * 5000 + "]}", "not JSON"),
        ('{"shapes": 3}', "neither of labelme"),
        ('{"shapes": [], "imageHeight": null, "imageWidth": 3}', "how high and wide"),
        ('{"shapes": [], "imageHeight": 1000000, "imageWidth": 1000000}', "more pixels than"),
        ('{"images": [{"id": "x"}], "annotations": []}', "image 1 has no 'id'"),
        ('{"images": [], "annotations": [{"image_id": 3}]}', "annotation 1 is of no image"),
        ('{"images": [], "annotations": [{"image_id": []}]}', "annotation 1 is of no image"),
        ('{"images": [], "annotations": []}', "names no image of this file"),
    ],
)
def test_a_file_that_is_none_of_these_is_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.json").write_text(content)
    for read in (read_mask, read_mask_size):
        with pytest.raises(DataError) as refused:
            read(tmp_path / "a.json")
        assert words in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


def test_a_mask_is_drawn_anew_when_its_file_changes(tmp_path: Path) -> None:
    file = labelme(tmp_path / "a.json", shape(SQUARE))
    assert read_mask(file).any()
    labelme(file)
    assert not read_mask(file).any()
