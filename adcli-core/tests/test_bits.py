"""Images of 16 bits: their values become levels by a declared white, in grey and in colours; nothing is lost unsaid."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.bits import CEILINGS, WHITE
from adcli.data.decoding import decode, read_image
from adcli.data.framing import PLAIN, Framing, parse_white, read_framing
from adcli.data.framing_standalone import prepare
from adcli.data.left_out import CLIPPED, COARSE
from adcli.data.survey import survey
from adcli.errors import DataError, OptionError
from adcli.pipeline import inspect_data

Encode = Callable[[np.ndarray], bytes]


def png(values: np.ndarray) -> bytes:
    """Encode (H, W), or (H, W, 2 to 4), as PNG with 16 bits; Pillow writes no such colours."""
    height, width = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values[0, 0].size]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, order: str = "<", compressed: bool = False) -> bytes:
    """Encode (H, W, 3) as TIFF with 16 bits."""
    height, width, bands = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    start = 8 + 2 * bands
    entries = [(256, 3, width), (257, 3, height), (258, 0, 8), (259, 3, 8 if compressed else 1), (262, 3, 2)]
    entries += [(273, 4, start), (277, 3, bands), (278, 3, height), (279, 4, len(data)), (284, 3, 1)]
    ifd = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        count, kind, form = (bands, 3, "I") if kind == 0 else (1, kind, "I" if kind == 4 else "HH")
        fields = (value,) if form == "I" else (value, 0)
        ifd += struct.pack(f"{order}HHI{form}", tag, kind, count, *fields)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start + len(data))
    return head + struct.pack(f"{order}{bands}H", *[16] * bands) + data + ifd + bytes(4)


def saved(values: np.ndarray, form: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, form)
    return content.getvalue()


def pnm(values: np.ndarray, largest: int, plain: bool = False) -> bytes:
    """Encode (H, W) or (H, W, 3) as PNM that declares a largest value."""
    height, width = values.shape[:2]
    kind = {2: 2, 3: 3}[values.ndim] + (0 if plain else 3)
    head = f"P{kind}\n# by a camera\n{width} {height}\n{largest}\n".encode()
    if plain:
        return head + b"# values\n" + b" \n".join(str(value).encode() for value in values.ravel())
    return head + values.astype(">u2").tobytes()


def jpeg_2000(values: np.ndarray) -> bytes:
    """Encode (H, W) of 12 bits as JPEG 2000 of 12 bits, which Pillow does not write; it has 0 in the middle."""
    content = bytearray(saved(values + np.uint16((1 << 15) - (1 << 11)), "JPEG2000"))
    content[content.find(b"\xff\x4f\xff\x51") + 42] = 11
    content[content.find(b"ihdr") + 14] = 11
    return bytes(content)


WAYS: dict[str, tuple[int, Encode]] = {
    "grey PNG": (1, png),
    "grey TIFF": (1, lambda values: saved(values, "TIFF")),
    "grey JPEG 2000": (1, lambda values: saved(values, "JPEG2000")),
    "grey PNM": (1, lambda values: pnm(values, WHITE)),
    "grey PNM in text": (1, lambda values: pnm(values, WHITE, plain=True)),
    "grey PNM that declares its largest value": (1, lambda values: pnm(values, max(int(values.max()), 256))),
    "colour PNM": (3, lambda values: pnm(values, WHITE)),
    "colour PNM in text": (3, lambda values: pnm(values, WHITE, plain=True)),
    "colour PNM that declares its largest value": (3, lambda values: pnm(values, max(int(values.max()), 256))),
    "colour PNG": (3, png),
    "colour PNG with alpha": (4, png),
    "colour TIFF": (3, tiff),
    "colour TIFF, big end first": (3, lambda values: tiff(values, ">")),
    "compressed colour TIFF": (3, lambda values: tiff(values, "><"[sys.byteorder == "little"], compressed=True)),
    "compressed colour TIFF of the other order": (
        3,
        lambda values: tiff(values, "<>"[sys.byteorder == "little"], True),
    ),
}


@pytest.mark.parametrize("white", CEILINGS)
@pytest.mark.parametrize("way", WAYS)
def test_values_become_levels_by_white_whatever_file_they_are_in(way: str, white: int) -> None:
    bands, encode = WAYS[way]
    values = np.random.default_rng(0).integers(0, white + 1, (12, 17, bands)).astype(np.uint16).squeeze()
    if bands == 4:
        values[:, :, 3] = WHITE
    colours = values if bands == 1 else values[:, :, :3]
    found = decode(encode(values), "x", white)
    exact = colours * (255 / white)
    # Of colours, Pillow alone cuts the lower bits off where they do not matter.
    tolerance = 1 if bands > 1 and white == WHITE else 0.5001
    expected = np.repeat(exact[:, :, None], 3, axis=2) if bands == 1 else exact
    np.testing.assert_allclose(found.pixels, expected, atol=tolerance)
    assert CLIPPED not in found.oddities
    assert found.highest is not None
    assert found.highest >= int(colours.max())


@pytest.mark.parametrize("bands", [1, 3])
def test_no_format_scales_the_values_of_a_camera(bands: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (12, 17, bands)).astype(np.uint16).squeeze()
    values[0, 0] = 4095
    files = {"a.png": png(values), "b.pnm": pnm(values, 4095), "c.ppm": pnm(values, 4095, plain=True)}
    if bands == 1:
        files |= {"d.jp2": jpeg_2000(values), "e.tif": saved(values, "TIFF")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = decode(content, name, 4095)
        np.testing.assert_array_equal(found.pixels, decode(files["a.png"], "x", 4095).pixels, err_msg=name)
        assert found.highest == 4095, name
        told = survey([tmp_path / name])
        assert (told.deep, told.white) == (1, 4095), name
    assert inspect_data(str(tmp_path)).bits == {12: len(files)}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_pnm_that_lacks_values_is_refused(bands: int, plain: bool) -> None:
    content = pnm(np.full((9, 7, bands), 1234, np.uint16).squeeze(), 4095, plain)
    for length in range(len(content) - 40, len(content) - 4):
        with pytest.raises(DataError, match="damaged"):
            decode(content[:length], "x")


@pytest.mark.parametrize("way", WAYS)
def test_values_above_white_are_clipped_and_noted(way: str) -> None:
    bands, encode = WAYS[way]
    values = np.full((8, 8, bands), 2000, np.uint16).squeeze()
    found = decode(encode(values), "x", 1023)
    assert CLIPPED in found.oddities
    if bands != 4:
        assert (found.pixels == 255).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("largest", [255, 4095, 4096, WHITE])
def test_sixteen_levels_of_what_was_more_are_never_silent(way: str, largest: int) -> None:
    bands, encode = WAYS[way]
    values = np.full((8, 8, bands), largest, np.uint16).squeeze()
    assert (COARSE in decode(encode(values), "x").oddities) == (largest <= 4095)


def test_grey_with_transparency_whose_lower_bits_cannot_be_read_is_refused() -> None:
    values = np.full((4, 4, 2), 3000, np.uint16)
    assert (decode(png(values), "x").pixels[0, 0] == np.array([0, 0, 0])).all()
    with pytest.raises(DataError, match="x: of its 16 bits only the upper 8"):
        decode(png(values), "x", 4095)


def test_white_means_nothing_to_images_of_8_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 255), pixels)


@pytest.mark.parametrize("largest", [*CEILINGS, 1, 256, 1000, 1024, 3000, 9000, 16384, 65000])
@pytest.mark.parametrize("bands", [1, 3])
def test_white_is_the_range_of_the_camera_that_the_largest_value_needs(
    largest: int, bands: int, tmp_path: Path
) -> None:
    for number in range(4):
        values = np.zeros((8, 8, bands), np.uint16)
        values[2, 3] = largest if number == 2 else 1
        (tmp_path / f"{number}.png").write_bytes(png(values.squeeze()))
    (tmp_path / "broken.png").write_bytes(b"")
    found = survey(sorted(tmp_path.iterdir()))
    assert found.deep == 4
    assert found.white == min(ceiling for ceiling in CEILINGS if ceiling >= largest)
    assert f"--white {found.white}," in found.explain()
    assert "\n" not in found.explain()


def test_nothing_is_said_of_white_without_16_bits(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    found = survey([tmp_path / "a.png"])
    assert (found.white, found.explain(), found.learnt_from) == (WHITE, "", "grey")


@pytest.mark.parametrize(("modes", "learnt_from"), [("LLL", "grey"), ("CCC", "colours"), ("GGG", "grey"), ("LCC", "")])
def test_what_a_run_learns_from_is_told_by_pixels(modes: str, learnt_from: str, tmp_path: Path) -> None:
    """C is in colour, and G a grey photograph that is saved in colours."""
    random = np.random.default_rng(0)
    for number, mode in enumerate(modes):
        pixels = random.integers(0, 256, (70, 70, 3), dtype=np.uint8)
        # The first line, at which one looks first, is white in all of them.
        pixels[0] = 255
        image = Image.fromarray(pixels) if mode == "C" else Image.fromarray(pixels[:, :, 0].copy())
        image.convert("L" if mode == "L" else "RGB").save(tmp_path / f"{number}.png")
    assert survey(sorted(tmp_path.iterdir())).learnt_from == learnt_from


@pytest.mark.parametrize("framing", [PLAIN, Framing(white=4095), Framing((1, 2, 20, 18), white=1023)])
def test_what_lies_beside_an_export_says_white_and_follows_it(framing: Framing, tmp_path: Path) -> None:
    files = framing.files((16, 16))
    assert bool(files) == (framing is not PLAIN)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    if files:
        assert read_framing(tmp_path, (16, 16), "the manifest").white == framing.white
        values = np.random.default_rng(0).integers(0, framing.white + 1, (24, 30), dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(png(values))
        pixels = read_image(tmp_path / "a.png", framing.white)
        expected = framing.cut(pixels, (16, 16), "a")
        np.testing.assert_array_equal(prepare(values[:, :, None].repeat(3, 2), tmp_path), expected)


@pytest.mark.parametrize("text", ["", "0", "254", "65536", "-1", "1e3", "white", "٤٠٩٥", "9" * 5000, "4095.0"])
def test_white_is_a_value_or_auto(text: str) -> None:
    with pytest.raises(OptionError, match="must be auto, or a value from 255 to 65535") as refused:
        parse_white(text)
    assert refused.value.option == "white"
    assert parse_white("auto") is None
    assert parse_white(4095) == 4095
