"""Headers tell before the fit what decoding would tell after it, and nothing is decoded for that."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from adcli.data import Framing, Sample
from adcli.data.decoding import read_header, read_image, read_mask, read_mask_size
from adcli.data.headers import check_headers
from adcli.errors import DataError

WIDE = Image.fromarray(np.arange(24 * 40 * 3, dtype=np.uint8).reshape(24, 40, 3))
GREY16 = Image.fromarray(np.arange(24 * 40, dtype=np.uint16).reshape(24, 40))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _late_exif(path: Path) -> None:
    """Write a PNG whose orientation stands behind its pixels, as its format allows."""
    WIDE.save(path)
    body = b"eXIf" + turned(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    end = content.rindex(b"IEND") - 4
    path.write_bytes(content[:end] + chunk + content[end:])


def _text(path: Path) -> None:
    path.write_text("not an image")


def _huge(path: Path) -> None:
    """Write the header of a PNG with more pixels than are decoded."""
    WIDE.save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


FILES: dict[str, Callable[[Path], None]] = {
    "plain.png": lambda path: WIDE.save(path),
    "plain.jpg": lambda path: WIDE.save(path),
    "plain.bmp": lambda path: WIDE.save(path),
    "plain.tif": lambda path: WIDE.save(path),
    "plain.webp": lambda path: WIDE.save(path),
    "plain.gif": lambda path: WIDE.save(path),
    "plain.ppm": lambda path: WIDE.save(path),
    "palette.png": lambda path: WIDE.convert("P").save(path),
    "deep.png": lambda path: GREY16.save(path),
    "deep.tif": lambda path: GREY16.save(path),
    "float.tif": lambda path: WIDE.convert("F").save(path),
    "long.tif": lambda path: WIDE.convert("I").save(path),
    **{f"turned{i}.jpg": lambda path, i=i: WIDE.save(path, exif=turned(i)) for i in range(1, 9)},  # type: ignore[misc]
    **{f"turned{i}.png": lambda path, i=i: WIDE.save(path, exif=turned(i)) for i in (3, 6)},  # type: ignore[misc]
    "turned6.tif": lambda path: WIDE.save(path, exif=turned(6)),
    "turned6.webp": lambda path: WIDE.save(path, exif=turned(6)),
    "text.png": _text,
    "empty.png": lambda path: path.touch(),
    "missing.png": lambda path: None,
    "folder.png": lambda path: path.mkdir(),
    "huge.png": _huge,
}


@pytest.mark.parametrize("name", FILES)
def test_headers_say_what_decoding_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    try:
        expected: object = read_image(path).shape[:2]
    except DataError as error:
        expected = str(path) in error.format_message()
    try:
        found: object = read_header(path).size
    except DataError as error:
        found = str(path) in error.format_message()
    assert found == expected


def test_an_orientation_behind_the_pixels_is_seen_before_a_file_is_called_wrong(tmp_path: Path) -> None:
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    _late_exif(image)
    Image.new("L", (24, 40), 255).save(mask)
    assert read_image(image).shape[:2] == (40, 24)
    assert list(check_headers([Sample(image, "defect", mask)], Framing())) == [None]


def _folder_of(*sizes: tuple[int, int]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for i, size in enumerate(sizes):
            Image.new("L", size, 255).save(path / f"{i}.png")

    return write


MASKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "as large": (lambda path: Image.new("L", (40, 24)).save(path, "PNG"), ""),
    "half as large": (lambda path: Image.new("L", (20, 12)).save(path, "PNG"), ""),
    "of parts": (_folder_of((40, 24), (40, 24)), ""),
    "of another shape": (lambda path: Image.new("L", (24, 40)).save(path, "PNG"), "a different shape"),
    "no image": (_text, "cannot be read"),
    "missing": (lambda path: None, "cannot be read"),
    "of no parts": (_folder_of(), "there are none"),
    "of unlike parts": (_folder_of((40, 24), (20, 12)), "differ in size"),
    "of parts of another shape": (_folder_of((24, 40)), "a different shape"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_looked_at_as_they_are_read(tmp_path: Path, kind: str) -> None:
    write, words = MASKS[kind]
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    WIDE.save(image)
    write(mask)
    (problem,) = check_headers([Sample(image, "defect", mask)], Framing())
    assert problem is None if not words else problem is not None and words in problem.message
    assert problem is None or str(mask) in problem.message
    if not words:
        assert read_mask_size(mask) == read_mask(mask).shape


FRAMINGS = {
    "region": Framing(region=(10, 0, 32, 20)),
    "crop": Framing(crop=(16, 64)),
    "ignored areas of another shape": Framing(ignored=np.zeros((40, 24), bool)),
    "nothing left": Framing(region=(0, 0, 16, 16), ignored=np.arange(40)[None].repeat(24, 0) < 20),
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_an_image_that_does_not_suit_the_framing_is_named_with_the_words_of_decoding(
    tmp_path: Path, framing: Framing
) -> None:
    image, large = tmp_path / "image.png", tmp_path / "large.png"
    WIDE.save(image)
    WIDE.resize((400, 240)).save(large)
    with pytest.raises(DataError) as raised:
        framing.fitted(read_image(image), (16, 16), image)
    problem, _ = check_headers([Sample(image), Sample(large)], framing)
    assert problem is not None
    assert problem.message == raised.value.format_message()


def test_nothing_is_decoded_and_every_sample_has_its_answer_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = []
    for i in range(200):
        image, mask = tmp_path / f"{i}.jpg", tmp_path / f"{i}.png"
        WIDE.save(image, exif=turned(1))
        Image.new("L", (24, 40) if i % 50 == 7 else (40, 24)).save(mask)
        # What decoding alone shows: half of the file is missing.
        image.write_bytes(image.read_bytes()[:-300])
        samples.append(Sample(image, "defect", mask))
    decoded: list[object] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self) or load(self))
    problems = list(check_headers(samples, Framing()))
    assert [i for i, problem in enumerate(problems) if problem is not None] == [7, 57, 107, 157]
    # Of the masks of another shape alone, to be sure of their orientation.
    assert len(decoded) <= 4
