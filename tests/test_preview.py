"""``adcli preview``: what is on the page, and every error in one line, before anything is written."""

import base64
import html
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import Adcli, assert_one_line

from adcli.data.framing import read_ignored
from adcli.data.samples import Sample, Splits, have_same_aspect
from adcli.errors import DataError
from adcli.pipeline._preview import choose_samples
from adcli.report.preview import IGNORED_PIXELS, PHOTO_BYTES, SHOWN_PIXELS, fit_page, shrink

SIZE = (60, 90)


def photograph(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write_photographs(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(photograph(i, size)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight photographs, in the folder where commands start."""
    write_photographs(tmp_path / "photos", 8)
    return Path("photos")


def known_to(page: Path) -> dict[str, Any]:
    """Return what the script of a page knows."""
    found = re.search(r'<script type="application/json" id="known">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    known: dict[str, Any] = json.loads(found[1])
    return known


def pictures_in(page: Path) -> list[np.ndarray]:
    found = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")) for picture in found]


def test_the_page_holds_photographs_as_they_are_evenly_chosen(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    outcome = adcli("preview", photos, "--out", "page.html", "--count", 3)
    assert (outcome.code, outcome.out) == (0, "page.html\n")
    known = known_to(tmp_path / "page.html")
    assert [shot["name"] for shot in known["shots"]] == ["00.png", "04.png", "07.png"]
    assert known["sizes"] == [[*SIZE, 8]]
    for shot, picture in zip(known["shots"], pictures_in(tmp_path / "page.html"), strict=True):
        assert np.array_equal(picture, photograph(int(shot["name"][:2])))
        assert (shot["height"], shot["width"]) == (shot["shown_height"], shot["shown_width"]) == SIZE


def test_the_page_loads_nothing_and_says_no_name_as_html(adcli: Adcli, tmp_path: Path) -> None:
    odd = "<b onclick='x'>&amp;\"</script>".replace("/", "_")
    write_photographs(tmp_path / odd / "good", 3)
    write_photographs(tmp_path / odd / "<i>dent", 2)
    assert adcli("preview", odd, "--out", "page.html").code == 0
    text = (tmp_path / "page.html").read_text()
    assert odd not in text
    assert "<i>dent" not in text
    assert html.escape(f"Before training: {odd}", quote=False) in text.replace("&#39;", "'").replace("&#34;", '"')
    assert shlex.split(known_to(tmp_path / "page.html")["command"]) == ["--data", odd]
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\((?!#)|@import|https?://(?!www\.w3\.org)""", text)


def test_what_was_typed_is_where_the_page_begins(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    ignored = np.zeros((30, 45), bool)
    ignored[:10, 5:20] = True
    Image.fromarray(ignored).save(tmp_path / "clock.png")
    zones = ["--region", "left=0,0,40,60", "--region", "right=50,10,30,40"]
    given = ["--fit", "letterbox", "--tiles", "3x2", "--tile-overlap", "0.3", "--image-size", "48x32"]
    outcome = adcli(
        "preview", photos, *zones, *given, "--ignore", "clock.png", "-m", "padim", "--json", "--out", "a/b.html"
    )
    assert json.loads(outcome.out) == {"data": "photos", "page": "a/b.html"}
    known = known_to(tmp_path / "a/b.html")
    assert known["zones"] == [
        {"name": "left", "x": 0, "y": 0, "width": 40, "height": 60},
        {"name": "right", "x": 50, "y": 10, "width": 30, "height": 40},
    ]
    assert [known[key] for key in ("fit", "tiles", "overlap", "image_size", "ignore", "model")] == [
        "letterbox", "3x2", 0.3, [48, 32], "clock.png", "padim",
    ]  # fmt: skip
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(known["ignored"].partition(",")[2]))))
    assert np.array_equal(drawn, ignored.repeat(2, axis=0).repeat(2, axis=1))


def test_the_command_keeps_what_decides_how_data_are_read(adcli: Adcli, tmp_path: Path) -> None:
    write_photographs(tmp_path / "a b", 4)
    options = ["-d", "test_share=0.3", "--white", "4095", "--skip-unreadable"]
    assert adcli("preview", "a b", *options, "--out", "page.html").code == 0
    assert shlex.split(known_to(tmp_path / "page.html")["command"]) == ["--data", "a b", *options]


def test_a_third_of_the_photographs_show_defects_if_there_are_any(adcli: Adcli, tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos/train/good", 5)
    write_photographs(tmp_path / "photos/test/good", 2)
    write_photographs(tmp_path / "photos/test/dent", 3)
    assert adcli("preview", "photos", "--out", "page.html").code == 0
    kinds = [shot["kind"] for shot in known_to(tmp_path / "page.html")["shots"]]
    assert kinds == ["good"] * 4 + ["dent"] * 2


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("defects", [0, 1, 40])
def test_samples_are_chosen_once_each(count: int, defects: int) -> None:
    train = [Sample(Path(f"{i}.png"), "good") for i in range(9)]
    test = [Sample(Path(f"d{i}.png"), "defect", defect="dent") for i in range(defects)]
    chosen = choose_samples(Splits(train, [*train[:2], *test]), count)
    assert len(chosen) == len({sample.image for sample in chosen}) == min(count, 9 + min(defects, count // 3))
    assert sum(sample.label == "defect" for sample in chosen) == min(defects, count // 3)


def test_a_page_is_written_over_and_nothing_else_is(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    for count in (2, 3):
        assert adcli("preview", photos, "--out", "page.html", "--count", count).code == 0
        assert len(known_to(tmp_path / "page.html")["shots"]) == count
    (tmp_path / "mine.html").write_text("<p>mine")
    assert_one_line(adcli("preview", photos, "--out", "mine.html"), 9, "mine.html", "no page of adcli preview")
    assert (tmp_path / "mine.html").read_text() == "<p>mine"


ERRORS: list[tuple[str, int, list[str]]] = [
    ("preview gone --out p.html", 4, ["gone"]),
    ("preview empty --out p.html", 4, ["empty", "no good images"]),
    ("preview photos --out p.png", 2, ["--out", ".html"]),
    ("preview photos --out photos/00.png", 2, ["--out", ".html"]),
    ("preview photos --out folder.html", 9, ["folder.html", "is a folder"]),
    ("preview photos --out photos/00.png/p.html", 9, ["00.png"]),
    ("preview photos --out p.html --count 0", 2, ["--count", "1 to 24"]),
    ("preview photos --out p.html --count 25", 2, ["--count", "1 to 24"]),
    ("preview photos --out p.html --region 0,0,8,60", 2, ["--region", "at least 16"]),
    ("preview photos --out p.html --region ''", 2, ["--region", "X,Y,WIDTH,HEIGHT"]),
    ("preview photos --out p.html --region a/b=0,0,20,20", 2, ["--region", "letters", "a/b"]),
    ("preview photos --out p.html --region 0,0,20,20 --region b=0,0,20,20", 2, ["--region", "must have a name"]),
    ("preview photos --out p.html --region b=0,0,20,20 --region b=9,0,20,20", 2, ["--region", "'b'"]),
    ("preview photos --out p.html --region 0,0,91,60", 4, ["00.png", "--region 0,0,91,60 reaches to 91"]),
    ("preview photos --out p.html --ignore gone.png", 4, ["--ignore", "gone.png"]),
    ("preview photos --out p.html --ignore square.png", 4, ["00.png", "another shape", "--ignore"]),
    ("preview photos --out p.html --tiles 0x3", 2, ["--tiles"]),
    ("preview photos --out p.html --image-size 9", 2, ["--image-size"]),
    ("preview photos --out p.html -m none", 2, ["none"]),
    ("preview broken --out p.html", 4, ["broken/00.png", "not an image"]),
    ("preview broken --out p.html --skip-unreadable", 4, ["broken", "none of the chosen"]),
]


def test_where_nothing_can_be_written_nothing_is_read(
    adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert_one_line(adcli("preview", "gone", "--out", "new/page.html"), 9, "new/page.html", str(tmp_path))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("line", "code", "words"), ERRORS, ids=[line for line, *_ in ERRORS])
def test_an_error_is_one_line_and_writes_nothing(
    adcli: Adcli, photos: Path, tmp_path: Path, line: str, code: int, words: list[str]
) -> None:
    for name in ("empty", "folder.html", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken/00.png").write_bytes(b"no image")
    Image.fromarray(np.eye(32, dtype=bool)).save(tmp_path / "square.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_one_line(adcli(*shlex.split(line)), code, *words)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_cannot_be_read_is_left_out_if_that_is_asked_for(adcli: Adcli, photos: Path, tmp_path: Path) -> None:
    (tmp_path / photos / "00.png").write_bytes(b"no image")
    outcome = adcli("preview", photos, "--skip-unreadable", "--out", "page.html", "--count", 2)
    assert outcome.code == 0
    assert "skipped: photos/00.png" in outcome.err
    assert [shot["name"] for shot in known_to(tmp_path / "page.html")["shots"]] == ["07.png"]


def test_photographs_of_12_bits_are_as_bright_as_in_a_training(adcli: Adcli, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    values = np.linspace(0, 4095, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE)
    Image.fromarray(values).save(tmp_path / "deep/0.png")
    assert adcli("preview", "deep", "--out", "page.html").code == 0
    (picture,) = pictures_in(tmp_path / "page.html")
    assert np.array_equal(picture[:, :, 0], np.rint(values.astype(np.float32) * (255 / 4095)))


@pytest.mark.parametrize(
    "size", [(3000, 4000), (2999, 4001), (60, 90), (40, 9000), (20_000, 2048), (1, 5000), (1200, 1600), (16, 100_000)]
)
def test_a_large_photograph_is_shrunk_to_its_own_shape(size: tuple[int, int]) -> None:
    for pixels in (SHOWN_PIXELS, IGNORED_PIXELS):
        shown = fit_page(size, pixels)
        assert all(small <= large for small, large in zip(shown, size, strict=True))
        # What browsers cannot draw is not there, whatever its shape.
        assert have_same_aspect(shown, size) or max(shown) == 8192
        if size[0] * size[1] <= pixels and max(size) <= 8192:
            assert shown == size


@pytest.mark.thorough
def test_a_large_photograph_takes_a_bounded_number_of_bytes() -> None:
    # Noise is what compresses worst.
    shot = shrink(photograph(0, (3000, 4000)), "noise", "")
    assert len(shot.picture) < 1.4 * PHOTO_BYTES
    assert (shot.width, shot.height) == (4000, 3000)
    assert have_same_aspect((shot.shown_height, shot.shown_width), (3000, 4000))
    flat = shrink(np.full((3000, 4000, 3), 90, np.uint8), "flat", "")
    assert (flat.shown_height, flat.shown_width) == (1800, 2400)


def test_a_line_is_shown_too() -> None:
    shot = shrink(photograph(0, (16, 18_000)), "line", "")
    assert (shot.width, shot.shown_width) == (18_000, 8192)


def test_a_picture_that_marks_all_is_refused(tmp_path: Path, photos: Path, adcli: Adcli) -> None:
    Image.fromarray(np.ones(SIZE, bool)).save(tmp_path / "all.png")
    with pytest.raises(DataError):
        read_ignored(tmp_path / "all.png")
    assert_one_line(adcli("preview", photos, "--ignore", "all.png", "--out", "p.html"), 4, "all.png", "everything")
