"""A part of a TIFF, decoded without the rest, has the pixels that decoding all of it and cutting gives."""

import contextlib
import hashlib
import io
import itertools
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adcli.data import decoding, tiff
from adcli.data.bits import WHITE
from adcli.data.decoding import decode, decode_file
from adcli.data.framing import Framing
from adcli.data.photograph import open_photograph
from adcli.data.source import ImageSource, Item
from adcli.data.survey import survey
from adcli.data.view import Box, Size, View
from adcli.errors import DataError

WIDTH, HEIGHT = 83, 70


def draw(channels: int, kind: type = np.uint8, seed: int = 0) -> NDArray[np.generic]:
    """Return an image (H, W, C) that compresses, and in which no two lines or columns are alike."""
    rows, columns, channel = np.mgrid[:HEIGHT, :WIDTH, :channels]
    smooth = 3 * rows + 2 * columns + 40 * channel
    noise = np.random.default_rng(seed).integers(0, 9, smooth.shape)
    top = np.iinfo(kind).max
    return ((smooth + noise) * (top / 700)).clip(0, top).astype(kind)


def write(
    pixels: NDArray[np.generic],
    *,
    side: tuple[int, int] | None = None,
    rows: int = 7,
    planar: bool = False,
    order: str = "<",
    big: bool = False,
    packed: bool = False,
    orientation: int = 1,
) -> bytes:
    """Return a TIFF of an image (H, W, C), in strips of some rows, or in tiles (height, width)."""
    height, width, channels = pixels.shape
    values = pixels.astype(pixels.dtype.newbyteorder(order))
    planes = [values[:, :, i : i + 1] for i in range(channels)] if planar else [values]
    high, wide = side or (rows, width)
    pieces = []
    for plane, top, left in itertools.product(planes, range(0, height, high), range(0, width, wide)):
        piece = plane[top : top + high, left : left + wide]
        if side:
            piece = np.pad(piece, ((0, high - piece.shape[0]), (0, wide - piece.shape[1]), (0, 0)))
        pieces.append(zlib.compress(piece.tobytes()) if packed else piece.tobytes())
    bits = 8 * pixels.dtype.itemsize
    tags: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (bits,) * channels, 259: (8 if packed else 1,),
        262: (2 if channels >= 3 else 1,), 274: (orientation,), 277: (channels,), 284: (2 if planar else 1,),
        **({338: (2,)} if channels == 4 else {}),
    }  # fmt: skip
    tags |= {322: (wide,), 323: (high,)} if side else {278: (rows,)}
    places, lengths = (324, 325) if side else (273, 279)
    start = 16 if big else 8
    tags[lengths] = tuple(map(len, pieces))
    tags[places] = tuple(start + sum(tags[lengths][:i]) for i in range(len(pieces)))
    return _assemble(tags, b"".join(pieces), order, big=big)


def _assemble(
    tags: dict[int, tuple[int, ...]], content: bytes, order: str, *, big: bool, start: int | None = None
) -> bytes:
    """Return a file of a content, behind which, or at a position, its directory begins."""
    word, letter, count = (8, "Q", "Q") if big else (4, "I", "H")
    start = (16 if big else 8) + len(content) if start is None else start
    table, further = b"", b""
    end = start + struct.calcsize(f"<{count}") + len(tags) * (20 if big else 12) + word
    for number, values in sorted(tags.items()):
        written = struct.pack(f"{order}{len(values)}I", *values)
        if len(written) > word:
            place = end + len(further)
            further, written = further + written, struct.pack(order + letter, place)
        table += struct.pack(f"{order}HH{letter}", number, 4, len(values)) + written.ljust(word, b"\0")
    mark = {"<": b"II", ">": b"MM"}[order]
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start)
    return mark + head + content + struct.pack(order + count, len(tags)) + table + bytes(word) + further


def list_parts(size: Size, seed: int = 0) -> list[Box]:
    """Return parts of an image: single pixels at its corners, its sides, all but one pixel, and some in between."""
    height, width = size
    parts = [(0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width - 1, 0, 1, height), (0, height - 1, width, 1)]
    parts += [(1, 0, width - 1, height), (0, 0, width, height - 1), (0, 0, width, height)]
    random = np.random.default_rng(seed)
    for _ in range(8):
        x, y = int(random.integers(width)), int(random.integers(height))
        parts.append((x, y, int(random.integers(1, width - x + 1)), int(random.integers(1, height - y + 1))))
    return parts


def assert_parts_are_those_of_the_whole(content: bytes, white: int = WHITE) -> None:
    whole = decode(content, "x", white)
    size = whole.pixels.shape[:2]
    assert np.ptp(whole.pixels) > 50
    for part in list_parts(size):
        x, y, width, height = part
        found = decode(content, "x", white, lambda size, part=part: View(size, part))
        assert found.view == View(size, part)
        assert found.mode == whole.mode
        np.testing.assert_array_equal(found.pixels, whole.pixels[y : y + height, x : x + width], err_msg=str(part))


LAYOUTS = {
    "strips": {}, "one strip": {"rows": HEIGHT}, "a strip a row": {"rows": 1}, "packed strips": {"packed": True},
    "tiles": {"side": (16, 32)}, "packed tiles": {"side": (16, 32), "packed": True}, "large tiles": {"side": (128, 96)},
}  # fmt: skip


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each cut that was made."""
    made: list[int] = []

    def gather(file: IO[bytes], cut: tiff.Cut) -> tuple[io.BytesIO, str]:
        made.append(sum(cut.lengths))
        return tiff.gather(file, cut)

    monkeypatch.setattr(decoding, "gather", gather)
    return made


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_any_layout(layout: str, channels: int, kind: type, cuts: list[int]) -> None:
    for order, big, planar in itertools.product("<>", (False, True), (False, True)):
        content = write(draw(channels, kind), order=order, big=big, planar=planar, **LAYOUTS[layout])
        try:
            decode(content, "x")
        except DataError:
            continue  # Not every combination is one that Pillow decodes, part or whole.
        del cuts[:]
        for white in (WHITE, 4095) if kind == np.uint16 else (WHITE,):
            assert_parts_are_those_of_the_whole(content, white)
        assert cuts


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "I;16", "YCbCr", "LA"])
def test_any_compression_and_mode(compression: str | None, mode: str, cuts: list[int]) -> None:
    image = Image.fromarray(draw(1, np.uint16)[:, :, 0]) if mode == "I;16" else Image.fromarray(draw(3)).convert(mode)
    content = io.BytesIO()
    try:
        image.save(content, "TIFF", compression=compression, tiffinfo={278: 16})
    except OSError:
        pytest.skip("this Pillow writes no such file")
    assert_parts_are_those_of_the_whole(content.getvalue())
    assert cuts
    if compression != "jpeg":
        assert min(cuts) < max(cuts)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", None, "packbits"])
def test_one_bit(compression: str | None, cuts: list[int]) -> None:
    content = io.BytesIO()
    try:
        Image.fromarray(draw(1)[:, :, 0] > 128).save(content, "TIFF", compression=compression, tiffinfo={278: 16})
    except OSError:
        pytest.skip("this Pillow writes no such file")
    assert_parts_are_those_of_the_whole(content.getvalue())
    assert cuts


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("layout", ["strips", "packed tiles"])
def test_any_orientation(orientation: int, layout: str, cuts: list[int]) -> None:
    assert_parts_are_those_of_the_whole(write(draw(3), orientation=orientation, **LAYOUTS[layout]))
    assert cuts


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_formats_are_decoded_whole_and_cut(form: str, orientation: int) -> None:
    if orientation > 1 and form not in ("PNG", "JPEG", "WEBP"):
        pytest.skip("has no orientation")
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.fromarray(draw(3)).save(content, form, **({"exif": exif} if orientation > 1 else {}))
    assert_parts_are_those_of_the_whole(content.getvalue())


@pytest.mark.parametrize("kind", ["I;16", "RGB;16"])
def test_pnm_of_16_bits_too(kind: str) -> None:
    values = draw(1 if kind == "I;16" else 3, np.uint16)
    head = f"P{5 if kind == 'I;16' else 6} {WIDTH} {HEIGHT} 65535\n".encode()
    assert_parts_are_those_of_the_whole(head + values.astype(">u2").tobytes(), 30000)


def test_files_too_with_the_digest_of_all_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "BLOCK", 1000)
    for layout, how in LAYOUTS.items():
        content = write(draw(3), **how)
        (tmp_path / "a.tif").write_bytes(content)
        whole = decode(content, "x").pixels
        for x, y, width, height in list_parts((HEIGHT, WIDTH), 1):
            found = decode_file(tmp_path / "a.tif", WHITE, lambda size, p=(x, y, width, height): View(size, p))
            assert found.digest == hashlib.sha256(content).hexdigest()
            np.testing.assert_array_equal(found.decoding.pixels, whole[y : y + height, x : x + width], err_msg=layout)


def test_mutated_files_are_decoded_as_if_whole_or_refused() -> None:
    """Whatever is wrong with a file, no part of it shows what is not there."""
    random = np.random.default_rng(3)
    files = [write(draw(3), **how) for how in LAYOUTS.values()]
    for i in range(1500):
        content = bytearray(files[i % len(files)])
        table = len(content) - 400
        for place in random.integers(max(table, 0), len(content), random.integers(1, 4)):
            content[place] = random.choice([0, 1, 2, 127, 255, random.integers(256)])
        content = content[: len(content) - int(random.integers(3)) * 5]
        with contextlib.suppress(DataError):
            found = decode(bytes(content), "x", WHITE, look_at_half)
            assert found.pixels.shape == (found.view.part[3], found.view.part[2], 3)


def look_at_half(size: Size) -> View:
    return View(size, (0, 0, size[1], max(size[0] // 2, 1)))


@pytest.mark.parametrize("channels", [3, 4])
def test_planes_of_16_bits_that_pillow_mixes_up_are_refused(channels: int) -> None:
    pixels = draw(channels, np.uint16)
    with pytest.raises(DataError, match="16 bits in separate planes"):
        decode(write(pixels, planar=True), "x")
    side_by_side = decode(write(pixels), "x").pixels
    np.testing.assert_array_equal(decode(write(pixels, planar=True, packed=True), "x").pixels, side_by_side)


def test_a_forged_file_whose_tiles_are_all_the_same_takes_no_more_than_it_holds() -> None:
    content = bytearray(write(draw(3), side=(16, 16)))
    count = math.ceil(WIDTH / 16) * math.ceil(HEIGHT / 16)
    place = content.rindex(struct.pack("<I", 8 + 768))
    content[place - 4 : place - 4 + 4 * count] = struct.pack("<I", 8) * count
    cut = tiff.plan_cut(io.BytesIO(content), (0, 0, WIDTH, HEIGHT))
    assert cut is None or sum(length for _, length in cut.ranges) <= len(content)


def test_only_the_part_is_opened_and_the_rest_comes_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(write(draw(3), packed=True))
    framing = Framing(region=(20, 30, 24, 16))
    photograph = open_photograph(
        tmp_path / "a.tif", look=lambda size: framing.view(size, (16, 16), "a"), keep_rest=True
    )
    assert photograph.pixels.shape == (16, 24, 3)
    assert photograph.size == (HEIGHT, WIDTH)
    whole = open_photograph(tmp_path / "a.tif")
    np.testing.assert_array_equal(photograph.whole().pixels, whole.pixels)
    np.testing.assert_array_equal(
        framing.fitted(photograph.pixels, (16, 16), "a", photograph.view), framing.fitted(whole.pixels, (16, 16), "a")
    )
    (tmp_path / "a.tif").write_bytes(write(draw(3, seed=1)))
    with pytest.raises(DataError, match=r"a\.tif: was changed after it was read"):
        photograph.whole()


MEGAPIXELS = """
import sys, time
from pathlib import Path
from adcli.data.framing import Framing
from adcli.data.source import ImageSource, Item
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
source = ImageSource((256, 256), framing=Framing(region=(20000, 21000, 2000, 2000)))
before = peak()
found = source.read(Item(Path(sys.argv[1])))
assert found.original_size == (25000, 24000)
print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is known there")
@pytest.mark.parametrize("layout", ["strips", "one strip", "packed tiles"])
def test_a_region_of_600_megapixels_takes_little_memory(layout: str, tmp_path: Path) -> None:
    """Files with holes, or of tiles that are all alike, so that a test need not draw so many."""
    file = tmp_path / "a.tif"
    write_large(file, tiles=layout == "packed tiles", rows=25_000 if layout == "one strip" else 10)
    command = [sys.executable, "-c", MEGAPIXELS, str(file)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(outcome.stdout) < 200


def write_large(file: Path, *, tiles: bool, rows: int) -> None:
    width, height, side = 24_000, 25_000, 500
    tags: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (8, 8, 8), 259: (8 if tiles else 1,), 262: (2,), 277: (3,), 284: (1,)
    }  # fmt: skip
    piece = zlib.compress(np.random.default_rng(0).bytes(side * side * 3), 0) if tiles else b""
    count = width * height // side**2 if tiles else height // rows
    length = len(piece) if tiles else rows * width * 3
    starts, lengths = tuple(8 + i * length for i in range(count)), (length,) * count
    tags |= (
        {322: (side,), 323: (side,), 324: starts, 325: lengths} if tiles else {278: (rows,), 273: starts, 279: lengths}
    )
    end = 8 + count * length
    with file.open("wb") as out:
        for _ in range(count if tiles else 0):
            out.seek(8 if out.tell() == 0 else 0, io.SEEK_CUR)
            out.write(piece)
        out.seek(end)
        out.write(_assemble(tags, b"", "<", big=False, start=end)[8:])
        out.seek(0)
        out.write(struct.pack("<2sHI", b"II", 42, end))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_what_is_outside_of_a_region_says_nothing_of_colours(form: str, tmp_path: Path) -> None:
    pixels = np.repeat(draw(1), 3, axis=2)
    pixels[:8, :, 0] = 9
    Image.fromarray(pixels).save(tmp_path / "a", form)
    framing = Framing(region=(10, 20, 40, 30))
    assert survey([tmp_path / "a"]).learnt_from == "colours"
    learnt = survey([tmp_path / "a"], lambda size: framing.view(size, (16, 16), "")).learnt_from
    assert learnt == "grey"
    source = ImageSource((16, 16), framing=framing, learnt_from=learnt)
    list(source.photographs([tmp_path / "a"]))
    source.read(Item(tmp_path / "a"))
    assert source.left_out.take() == ()
    source = ImageSource((16, 16), framing=framing, learnt_from="colours")
    list(source.photographs([tmp_path / "a"]))
    assert [entry.count for entry in source.left_out.take()] == [1]
