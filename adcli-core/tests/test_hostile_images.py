"""Whatever a file does to Pillow is that file's fault, said in one line, and soon."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from adcli.data import room
from adcli.data.decoding import decode, read_header, read_image, read_mask, read_mask_size
from adcli.data.formats import IMAGE_SUFFIXES, LIMIT_VARIABLE
from adcli.data.photograph import open_photograph
from adcli.data.references import load_data
from adcli.errors import DataError, LackOfMemoryError, OptionError
from adcli.pipeline import inspect_data

RAISED = [
    RuntimeError("Failed to decode image: Truncated data"),
    NotImplementedError("Unimplemented pixel format"),
    AttributeError("'Image' object has no attribute 'x'"),
    AssertionError(),
    TypeError("unhashable"),
    struct.error("unpack requires a buffer of 2 bytes"),
    MemoryError(),
    RecursionError("maximum recursion depth exceeded"),
    ZeroDivisionError("division by zero"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid\nstart byte"),
    OSError("broken\n\x1b[2Jdata"),
]


def encode(image: Image.Image, form: str, **how: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **how)
    return content.getvalue()


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["load", "getexif"])
def test_whatever_pillow_raises_is_one_line_that_names_the_file(
    error: Exception, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile if step == "load" else Image.Image, step, fail)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.png: ") as refused:
            read(tmp_path / "a.png")
        assert refused.value.format_message().isprintable()


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_headers_too(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    for read in (read_header, read_mask_size):
        with pytest.raises(DataError, match=r"a\.png: "):
            read(tmp_path / "a.png")


def answer(content: bytes) -> str:
    """Return what is said of a file that cannot be decoded."""
    try:
        found = decode(content, "x")
    except DataError as error:
        return error.format_message()
    return "pixels" if found.pixels.shape[2] == 3 else f"an array of {found.pixels.shape}"


MUTATED = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")


@pytest.mark.parametrize("form", MUTATED)
def test_mutated_files_are_read_or_refused(form: str) -> None:
    random = np.random.default_rng(len(form))
    pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    try:
        whole = encode(Image.fromarray(pixels), form)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {form}")
    for _ in range(150):
        content = bytearray(whole)
        for place in random.integers(0, min(len(content), 400), random.integers(1, 5)):
            content[place] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        said = answer(bytes(content[: random.integers(1, len(content) + 1)]))
        assert said == "pixels" or (said.startswith("x: ") and said.isprintable())


@pytest.mark.parametrize("form", ["ICO", "PCX", "SGI", "DDS", "ICNS", "IM", "EPS", "PDF", "SPIDER", "MSP"])
def test_formats_that_no_camera_writes_are_not_opened(form: str) -> None:
    mode = {"SPIDER": "F", "MSP": "1"}.get(form, "RGB")
    content = encode(Image.new(mode, (32, 32)), form)
    with pytest.raises(DataError):
        decode(content, "x")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_is_that_of_a_format_that_is_opened(suffix: str, tmp_path: Path) -> None:
    Image.init()
    form = Image.EXTENSION[suffix]
    try:
        Image.new("RGB" if suffix != ".pbm" else "1", (9, 8)).save(tmp_path / f"a{suffix}", form)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {form}")
    assert read_image(tmp_path / f"a{suffix}").shape == (8, 9, 3)


@pytest.mark.parametrize("form", ["TIFF", "PNG"])
def test_a_few_bytes_are_no_photograph_of_many_megapixels(form: str) -> None:
    how = {"compression": "group4"} if form == "TIFF" else {}
    content = encode(Image.new("1", (6000, 5000)), form, **how)
    assert len(content) < 6000
    with pytest.raises(DataError, match=r"x: declares 30 megapixels, but has [\d,]+ bytes"):
        decode(content, "x")


def test_a_black_photograph_and_a_black_mask_of_many_megapixels_are_read(tmp_path: Path) -> None:
    Image.new("L", (5000, 4000)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").any()
    Image.new("1", (6000, 5000)).save(tmp_path / "mask.tif", compression="group4")
    assert not read_mask(tmp_path / "mask.tif").any()


def test_a_progressive_jpeg_of_many_scans_is_refused() -> None:
    content = encode(Image.new("L", (64, 64), 90), "JPEG", progressive=True)
    scan = content.index(b"\xff\xda")
    assert decode(content, "x").pixels.shape == (64, 64, 3)
    end = content.index(b"\xff", scan + 2)
    with pytest.raises(DataError, match="x: has more than 100 scans"):
        decode(content[:scan] + content[scan:end] * 200 + content[scan:], "x")


@pytest.mark.parametrize("read", ["image", "mask"])
def test_strips_that_do_not_cover_an_image_do_not_leave_it_black(read: str, tmp_path: Path) -> None:
    content = encode(Image.new("L", (64, 64), 200), "TIFF")
    # The height is the value of tag 257, behind its number, type and count.
    place = content.index(struct.pack("<HHI", 257, 4, 1)) + 8
    (tmp_path / "x.tif").write_bytes(content[:place] + struct.pack("<I", 640) + content[place + 4 :])
    with pytest.raises(DataError, match=r"x\.tif: .*its parts do not cover it"):
        (read_image if read == "image" else read_mask)(tmp_path / "x.tif")


@pytest.fixture
def own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of a fiftieth of a megapixel, so that a test need not draw many."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)


@pytest.mark.usefixtures("own_limit")
def test_the_variable_allows_larger_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (1000, 900)).save(tmp_path / "large.png")
    for read in (read_image, read_header, read_mask, read_mask_size):
        with pytest.raises(DataError, match=f"more pixels than are decoded.*{LIMIT_VARIABLE}"):
            read(tmp_path / "large.png")
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    assert read_image(tmp_path / "large.png").shape == (900, 1000, 3)
    assert read_mask(tmp_path / "large.png").shape == (900, 1000)
    Image.new("L", (1001, 1000)).save(tmp_path / "larger.png")
    with pytest.raises(DataError, match="more pixels than are decoded, 1 megapixels"):
        read_image(tmp_path / "larger.png")


@pytest.mark.usefixtures("own_limit")
@pytest.mark.parametrize("text", ["0", "-1", "many", "2001", "1.5", "9" * 5000, "\u0663"])
def test_a_variable_that_is_no_number_of_megapixels_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(OptionError, match=f"{LIMIT_VARIABLE} must be a number of megapixels from 1 to 2000"):
        read_image(tmp_path / "a.png")


def no_files(folder: Path) -> list[Path]:
    """Return names of what is no file."""
    (folder / "folder.png").mkdir()
    names = [folder / "folder.png", Path(os.devnull)]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
        names.append(folder / "pipe.png")
    return names


def forged(width: int, height: int) -> bytes:
    """Return the head of a BMP of many pixels, and none of them."""
    content = bytearray(encode(Image.new("L", (8, 8)), "BMP"))
    content[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(content)


def test_as_many_megapixels_are_allowed_as_documented(tmp_path: Path) -> None:
    for megapixels in (600, 601):
        (tmp_path / f"{megapixels}.bmp").write_bytes(forged(megapixels * 100, 10_000))
    assert read_header(tmp_path / "600.bmp").size == (10_000, 60_000)
    with pytest.raises(DataError, match="allow it with --max-megapixels 601 "):
        read_header(tmp_path / "601.bmp")


def test_a_limit_of_a_program_stays_until_somebody_allows_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bmp").write_bytes(forged(3000, 1000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(DataError, match="decoded, 2 megapixels"):
        read_header(tmp_path / "a.bmp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_header(tmp_path / "a.bmp").size == (1000, 3000)
    monkeypatch.setenv(LIMIT_VARIABLE, "2")
    with pytest.raises(DataError, match="decoded, 2 megapixels"):
        read_header(tmp_path / "a.bmp")


FREE = 400_000_000


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: FREE)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("form", "remedy"), [("JPEG", "--reading scaled"), ("TIFF", "--region"), ("PNG", "shrink it")])
def test_what_does_not_fit_into_memory_is_said_before_it_is_decoded(form: str, remedy: str, tmp_path: Path) -> None:
    content = encode(Image.new("RGB", (12_000, 9_000)), form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    (tmp_path / "a").write_bytes(content)
    for read in (read_image, read_mask):
        with pytest.raises(LackOfMemoryError, match=r"a: 12000 x 9000 pixels: decoding it takes 0\.8 GB") as refused:
            read(tmp_path / "a")
        assert remedy in refused.value.format_message()


@pytest.mark.usefixtures("little_memory")
def test_what_fits_alone_waits_for_what_is_being_decoded(tmp_path: Path) -> None:
    Image.new("L", (12_000, 12_000)).save(tmp_path / "a.png")
    at_once = most = 0
    counting = threading.Lock()

    def decode_slowly(_: int) -> None:
        nonlocal at_once, most
        with room.room_for(300_000_000, "a", "wait"):
            with counting:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.01)
            with counting:
                at_once -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_slowly, range(12)))
    assert most == 1
    assert read_image(tmp_path / "a.png").shape == (12_000, 12_000, 3)


FILES = {
    "a.jpg": {"quality": 80},
    "b.jpg": {"progressive": True},
    "c.png": {"compress_level": 1},
    "d.webp": {"method": 0},
    "e.tif": {"compression": "tiff_lzw"},
    "f.jp2": {},
    "g.gif": {},
}


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is known there")
@pytest.mark.parametrize("name", FILES)
def test_a_photograph_takes_no_more_memory_than_is_asked_for(name: str, tmp_path: Path) -> None:
    noise = Image.effect_noise((1000, 1000), 20).resize((4000, 2000)).convert("RGB")
    noise.save(tmp_path / name, **FILES[name])
    # In a process of its own, whose peak the system knows.
    command = [sys.executable, "-c", PEAK, str(tmp_path / name)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, asked = map(int, outcome.stdout.split())
    assert 0.5 * asked < taken < asked + (12 << 20)


PEAK = """
import sys
from pathlib import Path
from adcli.data import decoding, strips
# As of larger ones.
strips.ONE_PIECE = strips.PIXELS
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
content = Path(sys.argv[1]).read_bytes()
asked = []
count = decoding.count_bytes
decoding.count_bytes = lambda *given: asked.append(count(*given)) or asked[-1]
before = peak()
decoding.decode(content, "x")
print(peak() - before, asked[0])
"""


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes have no names elsewhere")
def test_what_is_no_file_is_not_said_to_be_damaged_and_not_waited_for(tmp_path: Path) -> None:
    for name in no_files(tmp_path):
        readers = [read_image, read_header, open_photograph]
        readers += [] if name.is_dir() else [read_mask, read_mask_size]
        for read in readers:
            with pytest.raises(DataError, match="is no file, but a folder, a pipe or a device") as refused:
                read(name)
            assert "damaged" not in refused.value.format_message()
            assert str(name) in refused.value.format_message()


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes have no names elsewhere")
def test_nor_is_a_table_or_a_row_of_one(tmp_path: Path) -> None:
    for name in no_files(tmp_path):
        words = "is a folder, not a table" if name.is_dir() else "is no file, but a folder, a pipe or a device"
        with pytest.raises(DataError, match=words):
            load_data(f"table:{name}", {})
        (tmp_path / "t.csv").write_text(f"image\n{name}\n")
        (finding,) = inspect_data(f"table:{tmp_path / 't.csv'}").findings
        assert "is no file, but a folder, a pipe or a device" in finding.message
        assert "damaged" not in finding.message


@pytest.mark.parametrize("side", [25_000, 44_000, 45_000, 60_000])
def test_the_variable_is_advised_if_it_can_be_set_so_high(side: int, tmp_path: Path) -> None:
    content = bytearray(encode(Image.new("L", (8, 8)), "BMP"))
    content[18:26] = side.to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(content)
    shapes = {"shapes": [], "imageHeight": side, "imageWidth": side}
    (tmp_path / "a.json").write_text(json.dumps(shapes))
    for name, read in (("a.bmp", read_image), ("a.bmp", read_header), ("a.bmp", read_mask), ("a.json", read_mask)):
        with pytest.raises(DataError, match="more pixels than are decoded") as refused:
            read(tmp_path / name)
        assert ("ADCLI_MAX_MEGAPIXELS" in refused.value.format_message()) == (side**2 <= 2000e6)
