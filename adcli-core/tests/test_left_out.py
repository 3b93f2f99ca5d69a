"""What is passed over is counted, named and said in one line; and nothing is said if nothing was."""

import json
import os
import unicodedata
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli._plugins.builtin import FolderOptions
from adcli.data.decoding import decode, judge_mask, read_mask
from adcli.data.folder import find_images, images_in, load
from adcli.data.formats import IMAGE_SUFFIXES
from adcli.data.framing import Framing
from adcli.data.left_out import (
    CLEAR,
    COLOUR,
    DANGLING,
    EMPTY_MASK,
    FULL_MASK,
    GREY,
    KEPT,
    LOOP,
    MARKED_GOOD,
    NO_IMAGE,
    PAGES,
    SPECIAL,
    SURPLUS_MASK,
    LeftOut,
    Omissions,
    Reason,
    describe,
)
from adcli.data.source import ImageSource
from adcli.pipeline import inspect_data


def draw(root: Path, *names: str) -> None:
    """Write small images, no two alike."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("L", (4, 4), sha256(name.encode()).digest()[:16]).save(root / name, "PNG")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links")


def listed(folder: Path) -> tuple[list[str], dict[str, int]]:
    """Return the images in a folder, and how many of what were left out."""
    left_out = Omissions()
    images = [path.relative_to(folder).as_posix() for path in find_images(folder, left_out)]
    return images, {entry.reason: entry.count for entry in left_out.take()}


def read(root: Path) -> tuple[LeftOut, ...]:
    return tuple(load(FolderOptions(root=root), None).left_out)


LINKS: dict[str, tuple[dict[str, str], list[str], int, int]] = {
    "a folder beside": ({"in/day1": "../store"}, ["a.png", "day1/s.png", "day1/t/u.png"], 0, 0),
    "a chain of links": ({"in/day1": "../other", "other": "store"}, ["a.png", "day1/s.png", "day1/t/u.png"], 0, 0),
    "two links to one folder": (
        {"in/day1": "../store", "in/day2": "../store"},
        ["a.png", "day1/s.png", "day1/t/u.png"],
        0,
        0,
    ),
    "a link to a folder that is there": ({"in/0": "b"}, ["a.png", "b/c.png"], 0, 0),
    "a loop": ({"in/b/back": ".."}, ["a.png"], 1, 0),
    "a link to all": ({"in/up": "../.."}, ["a.png"], 1, 0),
    "a link to itself": ({"in/self": "self"}, ["a.png"], 0, 1),
    "a folder that is gone": ({"in/gone": "../nowhere"}, ["a.png"], 0, 1),
    "a photograph that is gone": ({"in/gone.png": "../nowhere.png"}, ["a.png"], 0, 1),
    "a photograph": ({"in/b.png": "../store/s.png"}, ["a.png", "b.png"], 0, 0),
}


@pytest.mark.parametrize("way", LINKS)
def test_links_are_followed_once_and_what_leads_nowhere_is_counted(way: str, tmp_path: Path) -> None:
    links, expected, loops, dangling = LINKS[way]
    draw(tmp_path, "in/a.png", "store/s.png", "store/t/u.png")
    if "b/c.png" in expected:
        draw(tmp_path, "in/b/c.png")
    for place, target in links.items():
        link(tmp_path / place, target)
    images, left_out = listed(tmp_path / "in")
    assert images == expected
    assert sum(count for words, count in left_out.items() if "holds the folder" in words) == loops
    assert sum(count for words, count in left_out.items() if "nowhere" in words) == dangling
    assert sum(left_out.values()) == loops + dangling


LINKS_IN_LAYOUTS = {
    "back from train/good": ("train/good/loop", "../good", LOOP),
    "back further": ("train/good/deep/loop", "../..", LOOP),
    "back from a kind": ("test/dent/loop", "../dent", LOOP),
    "back to all": ("train/good/loop", "../../..", LOOP),
    "to a device": ("train/good/z.png", os.devnull, SPECIAL),
    "to nothing": ("train/good/z.png", "y.png", DANGLING),
    "to itself": ("train/good/z.png", "z.png", DANGLING),
}


@pytest.mark.parametrize("way", LINKS_IN_LAYOUTS)
def test_links_that_are_passed_over_are_named_for_what_they_are(way: str, tmp_path: Path) -> None:
    draw(tmp_path, "in/train/good/a.png", "in/test/dent/d.png")
    name, target, reason = LINKS_IN_LAYOUTS[way]
    link(tmp_path / "in" / name, target)
    found = read(tmp_path / "in")
    assert found == (LeftOut(reason.one, 1, (str(tmp_path / "in" / name),), True),)
    assert len(inspect_data(str(tmp_path / "in")).findings) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("place", ["train/good/p.png", "test/dent/p", "spare/p.json"])
def test_a_pipe_is_named_and_not_waited_for(place: str, tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/dent/d.png")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / place)
    assert read(tmp_path) == (LeftOut(SPECIAL.one, 1, (str(tmp_path / place),), True),)


def test_files_in_other_formats_are_counted_by_ending_and_what_lies_beside_images_is_not(tmp_path: Path) -> None:
    draw(tmp_path, *(f"x{suffix}" for suffix in IMAGE_SUFFIXES), "Y.JFIF")
    touch(tmp_path, "a.heic", "b.HEIC", "deep/c.heic", "d.dng", "film.mp4", "photos.zip", "0001")
    touch(tmp_path, "notes.txt", "a.json", ".DS_Store", "Thumbs.db", "LICENSE", "predictions.csv")
    images, left_out = listed(tmp_path)
    assert len(images) == len(IMAGE_SUFFIXES) + 1
    assert {words.split()[0]: count for words, count in left_out.items()} == {
        ".heic": 3, ".dng": 1, ".mp4": 1, ".zip": 1, "nameless": 1,
    }  # fmt: skip


def test_predicted_folders_say_it_too(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    touch(tmp_path, "b.heic")
    left_out = Omissions()
    assert list(images_in([tmp_path], left_out)) == [tmp_path / "a.png"]
    assert describe(left_out.take()).startswith("left out: 1 .heic file, which is no format that is read (")


MASKS = ("d.png", "d_mask.png", "d_gt.png", "d_label.png", "d_seg.png", "mask_d.png", "gt_d.png", "d-mask.png")


@pytest.mark.parametrize("base", ["ground_truth/dent", "masks"])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_belongs_to_its_image_whatever_else_is_in_its_name(name: str, base: str, tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", "test/dent/e.png", f"{base}/{name}")
    splits = load(FolderOptions(root=tmp_path), None)
    assert {sample.image.name: sample.mask for sample in splits.test if sample.label == "defect"} == {
        "d.png": tmp_path / base / name,
        "e.png": None,
    }
    assert not splits.left_out


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("place", ["ground_truth/dent", "masks", "test/dent"])
def test_accents_are_the_same_however_a_system_writes_them(forms: tuple[str, str], place: str, tmp_path: Path) -> None:
    image, mask = (
        unicodedata.normalize(form, name) for form, name in zip(forms, ("für.png", "für_mask.png"), strict=True)
    )
    draw(tmp_path, "train/good/a.png", f"test/dent/{image}", f"{place}/{mask}")
    splits = load(FolderOptions(root=tmp_path), None)
    assert [(sample.image.name, sample.mask and sample.mask.name) for sample in splits.test] == [(image, mask)]
    assert not splits.left_out


def test_an_image_that_is_called_like_a_mask_keeps_its_own(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/dent/part.png", "test/dent/part_label.png")
    draw(tmp_path, "ground_truth/dent/part_label.png")
    splits = load(FolderOptions(root=tmp_path), None)
    assert {sample.image.name: sample.mask and sample.mask.name for sample in splits.test} == {
        "part.png": None,
        "part_label.png": "part_label.png",
    }


def test_masks_of_no_image_and_images_in_no_folder_of_the_layout_are_counted(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", "ground_truth/dent/d_mask.png")
    # Many data sets have a black mask for each good image, which need not be named.
    draw(tmp_path, "ground_truth/good/b_mask.png", "masks/a.png")
    for mask in ("ground_truth/good/b_mask.png", "masks/a.png"):
        Image.new("L", (4, 4)).save(tmp_path / mask)
    assert not read(tmp_path)
    draw(tmp_path, "ground_truth/dent/x.png", "ground_truth/gone/y.png", "spare/z.png")
    found = {entry.reason: (entry.count, entry.examples) for entry in read(tmp_path)}
    assert found == {
        NO_IMAGE.many: (2, ("ground_truth/dent/x.png", "ground_truth/gone/y.png")),
        "image outside of the folders that are read": (1, ("spare/z.png",)),
    }


def draw_shapes(path: Path, label: str = "scratch") -> None:
    points = [[0, 0], [4, 0], [4, 2], [0, 2]]
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = [{"label": label, "shape_type": "polygon", "points": points}]
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 4, "imageWidth": 4}))


CONTRADICTIONS = {
    "two masks of an image": ("ground_truth/dent/d_gt.png", SURPLUS_MASK),
    "a mask with and one without an ending": ("ground_truth/dent/d.png", SURPLUS_MASK),
    "two masks of an image in two formats": ("ground_truth/dent/d_mask.bmp", SURPLUS_MASK),
    "a mask beside an image that has one": ("test/dent/e_gt.png", SURPLUS_MASK),
    "a mask in another folder": ("masks/d.png", SURPLUS_MASK),
    "shapes of an image that has a mask": ("test/dent/d.json", SURPLUS_MASK),
    "shapes among masks": ("ground_truth/dent/d.json", SURPLUS_MASK),
    "a mask among those of good images": ("ground_truth/good/b_mask.png", MARKED_GOOD),
    "a mask of a good image": ("masks/b.png", MARKED_GOOD),
    "a mask beside a good image": ("test/good/b_mask.png", MARKED_GOOD),
    "a mask beside an image to train on": ("train/good/a_gt.png", MARKED_GOOD),
    "shapes beside a good image": ("test/good/b.json", MARKED_GOOD),
    "shapes beside an image to train on": ("train/good/a.json", MARKED_GOOD),
    "shapes of no image": ("test/dent/999.json", NO_IMAGE),
    "shapes of no image among masks": ("ground_truth/dent/999.json", NO_IMAGE),
    "a mask of a kind called as a good image is": ("ground_truth/dent/a.png", NO_IMAGE),
}


@pytest.mark.parametrize("way", CONTRADICTIONS)
def test_what_contradicts_labels_or_masks_is_named_and_counts_as_a_problem(way: str, tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", "ground_truth/dent/d_mask.png")
    draw(tmp_path, "test/dent/e.png", "test/dent/e_mask.png")
    before = load(FolderOptions(root=tmp_path), None)
    assert not before.left_out
    name, reason = CONTRADICTIONS[way]
    draw_shapes(tmp_path / name) if name.endswith(".json") else draw(tmp_path, name)
    after = load(FolderOptions(root=tmp_path), None)
    images = [[sample.image for sample in (*splits.train, *splits.test)] for splits in (before, after)]
    assert images[0] == images[1]
    assert after.left_out == (LeftOut(reason.one, 1, (name,), True),)
    found = inspect_data(str(tmp_path)).findings
    assert [finding.path for finding in found if finding.kind == "left out"] == [Path(name)]


@pytest.mark.parametrize("name", [name for name, reason in CONTRADICTIONS.values() if reason is MARKED_GOOD])
def test_masks_of_good_images_that_mark_nothing_are_not_named(name: str, tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", name)
    if name.endswith(".json"):
        draw_shapes(tmp_path / name, "_background_")
    else:
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert not read(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test/good/b.png", MARKED_GOOD),
        ("a.png", MARKED_GOOD),
        ("dent/d.png", SURPLUS_MASK),
        ("dent/gone.png", NO_IMAGE),
        ("dent/e.png", None),
        ("spare/z.png", None),
    ],
)
def test_so_is_what_a_file_of_coco_draws(name: str, reason: Reason | None, tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", "test/dent/e.png", "spare/z.png")
    draw(tmp_path, "ground_truth/dent/d_mask.png")
    images = [{"id": 7, "file_name": name, "height": 4, "width": 4}, {"id": 8, "file_name": "no.png"}]
    drawn = [{"id": 1, "image_id": 7, "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]}]
    before = read(tmp_path)
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": drawn}))
    added = [LeftOut(reason.one, 1, ("annotations.json/7",), True)] if reason is not None else []
    assert [*read(tmp_path)] == [*before, *added]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_masks_of_good_images_in_tables_are_named_if_they_mark_anything(suffix: str, tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png", "marked.png")
    Image.new("L", (4, 4)).save(tmp_path / "black.png")
    rows = [{"image": "a.png", "label": "good", "mask": "marked.png"}]
    rows += [{"image": "b.png", "label": "good", "mask": "black.png"}, {"image": "c.png", "label": "good", "mask": ""}]
    table = tmp_path / f"t.{suffix}"
    lines = [",".join(row.values()) for row in ({key: key for key in rows[0]}, *rows)]
    texts = {"csv": "\n".join(lines), "jsonl": "\n".join(map(json.dumps, rows)), "json": json.dumps(rows)}
    table.write_text(texts[suffix])
    (finding,) = inspect_data(f"table:{table}").findings
    assert finding.path == tmp_path / "marked.png"
    assert "marks something on a good image" in finding.message


def test_folders_that_are_linked_twice_hold_nothing_that_is_left_out(tmp_path: Path) -> None:
    draw(tmp_path, "store/a.png", "store/b.png", "test/good/c.png")
    link(tmp_path / "train/good/day1", "../../store")
    splits = load(FolderOptions(root=tmp_path), None)
    assert len(splits.train) == 2
    assert not splits.left_out


def test_a_line_is_short_and_one_whatever_is_left_out() -> None:
    left_out = Omissions()
    for kind in range(30):
        for number in range(KEPT + 5):
            left_out.add(Reason("thing", f"things of kind {kind}"), f"{'x' * 300}\n\x1b[2J{number}.png")
    taken = left_out.take()
    assert [entry.count for entry in taken] == [KEPT + 5] * 30
    line = describe(taken)
    assert line.isprintable()
    assert len(line) < 2000
    assert line.endswith("and 22 more reasons")
    assert describe(left_out.take()) == describe(()) == ""


def animate(path: Path, form: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 200)]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_pages_after_the_first_are_noted(form: str, tmp_path: Path) -> None:
    animate(tmp_path / "two", form)
    found = decode((tmp_path / "two").read_bytes(), "two")
    assert found.oddities == (PAGES,)
    assert found.pixels.shape == (8, 8, 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "one", form)
    assert decode((tmp_path / "one").read_bytes(), "one").oddities == ()


@pytest.mark.parametrize(
    ("alpha", "is_clear"), [(0, True), (5, True), (40, False), (255, False), ("one pixel", True), ("a tenth", False)]
)
def test_transparent_images_are_noted(alpha: int | str, is_clear: bool, tmp_path: Path) -> None:
    pixels = np.full((20, 20, 4), 255, np.uint8)
    pixels[:, :, 3] = alpha if isinstance(alpha, int) else 0
    if alpha == "one pixel":
        pixels[3, 3, 3] = 255
    elif alpha == "a tenth":
        pixels[:2, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (CLEAR in decode((tmp_path / "a.png").read_bytes(), "a").oddities) == is_clear


def shape() -> np.ndarray:
    marked = np.zeros((20, 20), bool)
    marked[3:9, 4:12] = True
    return marked


def white_where(marked: np.ndarray, ground: int | None = None) -> Image.Image:
    """Draw a shape in white, or as what is opaque of a ground of one shade."""
    grey = Image.fromarray(marked.astype(np.uint8) * 255)
    if ground is None:
        return grey
    drawn = Image.new("RGBA", grey.size, (ground,) * 3)
    drawn.putalpha(grey)
    return drawn


MASKS_READ = {
    "white": (lambda: white_where(shape()), "png", None),
    "white with the shape in alpha": (lambda: white_where(shape(), ground=255), "png", None),
    "grey with the shape in alpha": (lambda: white_where(shape(), ground=255).convert("LA"), "png", None),
    "numbers of kinds": (lambda: Image.fromarray(shape().astype(np.uint8) * 3), "png", None),
    "inverted": (lambda: white_where(~shape()), "png", FULL_MASK),
    "kinds from 1 on": (lambda: Image.fromarray(shape().astype(np.uint8) + 1), "png", FULL_MASK),
    "nothing": (lambda: white_where(shape() & False), "png", EMPTY_MASK),
    "a JPEG that is too dark": (lambda: Image.fromarray(shape().astype(np.uint8) * 100), "jpg", EMPTY_MASK),
    "black with the shape in alpha": (lambda: white_where(shape(), ground=0), "png", EMPTY_MASK),
}


@pytest.mark.parametrize("way", MASKS_READ)
def test_masks_are_read_as_they_are_meant_or_said_not_to_be(way: str, tmp_path: Path) -> None:
    make, suffix, expected = MASKS_READ[way]
    make().save(tmp_path / f"mask.{suffix}")
    mask = read_mask(tmp_path / f"mask.{suffix}")
    assert judge_mask(mask) is expected
    if expected is None:
        np.testing.assert_array_equal(mask, shape())


def noted(learnt_from: str, *images: Image.Image) -> list[Reason]:
    """Return why images are noted by a source for a run that learnt from grey or from colours."""
    source = ImageSource((16, 16), workers=0, learnt_from=learnt_from)
    arrays = [np.asarray(image) for image in images]
    for _ in range(2):
        assert len(list(source.photographs(arrays))) == len(images)
    words = {entry.reason: entry.count for entry in source.left_out.take()}
    return [reason for reason in (GREY, COLOUR) for _ in range(words.get(reason.many, words.get(reason.one, 0)))]


def test_photographs_of_another_kind_than_those_of_the_run_are_noted_once() -> None:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8))
    grey = colours.convert("L")
    assert noted("colours", colours, grey, grey.convert("RGB")) == [GREY, GREY]
    assert noted("grey", colours, grey, grey.convert("RGB")) == [COLOUR]
    assert noted("", colours, grey) == []


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_photograph_of_one_grey_tells_nothing_of_colours(shade: int) -> None:
    plain = Image.new("RGB", (70, 70), (shade,) * 3)
    assert noted("colours", plain, plain.convert("L")) == []
    assert noted("grey", plain, Image.new("RGB", (70, 70), (shade, 1, 1))) == [COLOUR]


def test_a_source_decodes_by_the_white_of_its_framing_and_notes_each_photograph_once(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 2047, np.uint16)).save(tmp_path / "half.png")
    Image.fromarray(np.full((8, 8), 5000, np.uint16)).save(tmp_path / "above.png")
    source = ImageSource((8, 8), workers=2, framing=Framing(white=4095))
    for _ in range(3):
        found = [entry[1].pixels.max() for entry in source.photographs([tmp_path / "half.png", tmp_path / "above.png"])]
        assert found == [127, 255]
    (entry,) = source.left_out.take()
    assert (entry.count, entry.examples) == (1, (str(tmp_path / "above.png"),))


def test_check_lists_each_of_what_is_left_out_and_counts_what_is_wrong(tmp_path: Path) -> None:
    draw(tmp_path, "train/good/a.png", "test/good/b.png", "test/dent/d.png", "ground_truth/dent/other.png")
    touch(tmp_path, "train/good/c.heic", "train/good/d.heic")
    animate(tmp_path / "train/good/two.tif", "TIFF")
    Image.new("RGBA", (4, 4)).save(tmp_path / "train/good/clear.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "ground_truth/dent/d.png")
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "train/good/deep.png")
    found = inspect_data(str(tmp_path))
    assert sorted(finding.kind for finding in found.findings) == ["full mask", "left out", "transparent"]
    lines = list(found.lines())
    assert sum("left out: " in line and "c.heic" in line for line in lines) == 1
    assert sum("left out: " in line and "two.tif" in line for line in lines) == 1
    assert "bits        12 of 16 (1); white is 4095, unless --white says else" in lines
    assert "3 problems" in lines
    assert all(os.linesep not in line for line in lines)
