"""Scaled reading: at which scale a JPEG is decoded, which pixels that gives, and where they lie."""

import io
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.decoding import decode, resize
from adcli.data.framing import Fit, Framing, Reading, Zone
from adcli.data.framing_standalone import find_borders
from adcli.data.source import ImageSource, Item
from adcli.data.tiling import WHOLE, Tiling
from adcli.data.view import Size


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(16, 16), (48, 32), (64, 64)])
def test_a_scale_leaves_twice_the_pixels_of_the_model_and_no_coarser_one_does(fit: Fit, size: Size) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        original = int(random.integers(16, 1500)), int(random.integers(16, 1500))
        framing = Framing(crop=(original[0] - 3, original[1] - 5), fit=fit, reading="scaled")
        view = framing.view(original, size, "x")
        (above, below), (before, behind) = (
            find_borders((view.part[3], view.part[2]), size) if fit == "letterbox" else ((0, 0), (0, 0))
        )
        sides = view.part[3] + above + below, view.part[2] + before + behind
        enough = [
            all(side >= 2 * scale * least for side, least in zip(sides, size, strict=True)) for scale in (2, 4, 8)
        ]
        assert view.scale == 2 ** sum(enough)
        x, y, width, height = view.decoded
        assert x + width <= -(-original[1] // view.scale)
        assert y + height <= -(-original[0] // view.scale)
        # What is decoded is where it is, to half of a decoded pixel, but for what a border's block has beyond it.
        assert abs(x * view.scale - view.part[0]) <= view.scale / 2
        assert abs((x + width) * view.scale - view.part[0] - view.part[2]) < view.scale


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_scaled_reading_shows_nearly_what_full_reading_does(
    orientation: int, mode: str, progressive: bool, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[:301, :403]
    pixels = np.stack([rows * 0.5 + 40, columns * 0.4 + 30, (rows + columns) * 0.3], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "JPEG", quality=95, exif=exif, progressive=progressive)
    original = decode(content.getvalue(), "x").pixels.shape[:2]
    for region in (None, (33, 21, 210, 199)):
        framing = Framing(region=region, reading="scaled")
        for name, file in framing.files((32, 32)).items():
            (tmp_path / name).write_bytes(file)
        (tmp_path / "a.jpg").write_bytes(content.getvalue())
        found = decode(content.getvalue(), "x", look=lambda size, f=framing: f.view(size, (32, 32), "x"))
        assert found.view == framing.view(original, (32, 32), "x")
        assert found.view.scale == (2 if region else 4)
        scaled = framing.fitted(found.pixels, (32, 32), "x", found.view)
        full = framing.fitted(decode(content.getvalue(), "x").pixels, (32, 32), "x")
        assert np.abs(scaled.astype(int) - full).max() <= 4
        cut = framing.cut(found.pixels, (32, 32), "x", found.view)
        np.testing.assert_array_equal(
            runpy.run_path(str(tmp_path / "prepare.py"))["read"](tmp_path / "a.jpg")[""][0], cut
        )


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_read_in_full(form: str) -> None:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(content, form)
    framing = Framing(reading="scaled")
    found = decode(content.getvalue(), "x", look=lambda size: framing.view(size, (16, 16), "x"))
    assert found.view.is_whole
    np.testing.assert_array_equal(found.pixels, decode(content.getvalue(), "x").pixels)


ZONES = (Zone("left", (12, 10, 210, 280)), Zone("right", (230, 33, 140, 160)))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
@pytest.mark.parametrize("reading", ["full", "scaled"])
@pytest.mark.parametrize("tiling", [WHOLE, Tiling(2, 2)])
def test_zones_and_tiles_are_the_same_decoded_together_and_each_by_itself(
    tiling: Tiling, reading: Reading, form: str, tmp_path: Path
) -> None:
    """Prediction looks at all zones of a photograph, calibration at one after the other, exports need no adcli."""
    pixels = np.random.default_rng(0).integers(0, 256, (31, 41, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((403, 301), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a", form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    size = (16, 24)
    framing = Framing(zones=ZONES, tiling=tiling, fit="letterbox", reading=reading)
    sheet = ImageSource(size, framing=framing).read(Item(tmp_path / "a")).pixels
    alone = [ImageSource(size, framing=one).read(Item(tmp_path / "a")).pixels for one in framing.of_zones]
    np.testing.assert_array_equal(sheet, np.concatenate(alone))
    ((photograph, predicted),) = ImageSource(size, framing=framing).photographs([tmp_path / "a"])
    np.testing.assert_array_equal(predicted.pixels, sheet)
    assert photograph.whole().pixels.shape == (301, 403, 3)
    assert photograph.size == (301, 403)
    if reading == "scaled":
        # The smaller zone decides, with its borders, and with tiles their canvas.
        expected = 1 if form == "TIFF" else 4 if tiling is WHOLE else 2
        assert (photograph.view.scale if photograph.view else 1) == expected
    for name, file in framing.files(size).items():
        (tmp_path / name).write_bytes(file)
    parts = runpy.run_path(str(tmp_path / "prepare.py"))["read"](tmp_path / "a")
    inputs = [part if len(tiling) > 1 else resize(part, size) for zone in parts.values() for part in zone]
    for number, part in enumerate(inputs):
        # Pillow resizes in float32 otherwise than adcli does.
        assert np.abs(part.astype(int) - framing.cut_part(sheet, size, number)).max() <= 1
