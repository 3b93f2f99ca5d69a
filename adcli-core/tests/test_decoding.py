"""Decoding: whatever mode a file is stored in, the same part gives the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from inputs import decode
from PIL import Image
from torch.nn import functional as F

from adcli.data.decoding import Borders, Size, read_image, read_mask, resize, resize_map
from adcli.errors import DataError


@pytest.fixture
def part() -> np.ndarray:
    """Random grey pixels, (20, 30)."""
    return np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def test_every_mode_that_keeps_the_pixels_reads_the_same(part: np.ndarray, tmp_path: Path) -> None:
    grey = Image.fromarray(part)
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "rgb.png")
    grey.convert("P").save(tmp_path / "palette.gif")
    grey.convert("RGBA").save(tmp_path / "alpha.png")
    grey.convert("LA").save(tmp_path / "grey_alpha.png")
    Image.fromarray(part.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(part.astype(np.uint16) * 257).save(tmp_path / "sixteen.tif")
    grey.save(tmp_path / "plain.bmp")
    expected = np.repeat(part[:, :, None], 3, axis=2)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_image(path), expected, err_msg=path.name)


@pytest.mark.parametrize("borders", [((0, 0), (0, 0)), ((3, 2), (0, 0))])
def test_a_grey_image_is_resized_as_each_channel_of_a_colour_image(part: np.ndarray, borders: Borders) -> None:
    grey, dark = np.repeat(part[:, :, None], 3, axis=2), np.zeros_like(part)
    expected = resize(np.stack([part, dark, dark], axis=2), (17, 11), borders)[:, :, 0]
    found = resize(grey, (17, 11), borders)
    for channel in range(3):
        np.testing.assert_array_equal(found[:, :, channel], expected)


def test_one_pixel_that_is_not_grey_makes_a_colour_image(part: np.ndarray) -> None:
    pixels = np.repeat(part[:, :, None], 3, axis=2)
    pixels[13, 7] = (255, 0, 0)
    resized = resize(pixels, (10, 15))
    red, green, blue = resized[6, 3]
    assert red > green == blue


@pytest.mark.parametrize("size", [(20, 30), (10, 10)], ids=["its own size", "another"])
def test_decoded_grey_images_have_memory_for_each_channel(part: np.ndarray, tmp_path: Path, size: Size) -> None:
    Image.fromarray(part).save(tmp_path / "grey.png")
    for pixels in (read_image(tmp_path / "grey.png"), decode(tmp_path / "grey.png", size).pixels):
        assert pixels.flags.c_contiguous


def test_sixteen_bits_are_scaled_by_their_range_and_not_by_the_image(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "dark.png")
    assert (read_image(tmp_path / "dark.png") == round(1000 * 255 / 65535)).all()


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).convert("1").save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_image(tmp_path / "one.png")[:, :, 0], np.eye(4) * 255)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 30, 90)).convert("CMYK").save(tmp_path / "print.tif")
    np.testing.assert_allclose(read_image(tmp_path / "print.tif")[0, 0], (200, 30, 90), atol=1)


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert not read_image(tmp_path / "clear.png").any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(part: np.ndarray, tmp_path: Path, orientation: int) -> None:
    undo = {1: [], 2: ["h"], 3: ["r2"], 4: ["v"], 5: ["t"], 6: ["r1"], 7: ["t", "r2"], 8: ["r3"]}[orientation]
    stored = part
    for step in reversed(undo):
        # What the camera stored, so that its own remedy gives the upright part again.
        stored = {"h": np.fliplr, "v": np.flipud, "t": np.transpose}.get(step, np.rot90)(stored)
        if step.startswith("r"):
            stored = np.rot90(stored, int(step[1]) - 1)
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png")[:, :, 0], part)


@pytest.mark.parametrize("shape", [(20, 30), (64, 64), (7, 11)])
def test_resizing_is_antialiased_bilinear_with_one_rounding(shape: tuple[int, int]) -> None:
    """Torch's antialiased interpolation is the independent reference."""
    pixels = np.random.default_rng(1).integers(0, 256, (48, 37, 3), dtype=np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    reference = F.interpolate(planes, size=shape, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(resize(pixels, shape), reference, atol=0.5001)


def test_the_size_of_the_file_is_remembered(part: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(part).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", (16, 16))
    assert decoded.original_size == (20, 30)
    assert decoded.pixels.shape == (16, 16, 3)


def test_what_is_no_image_is_an_error_that_names_the_file(part: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(part).resize((400, 400)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    Image.fromarray(part.astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("text.png", "empty.png", "cut.jpg", "float.tif", "missing.png"):
        with pytest.raises(DataError, match=name) as refused:
            read_image(tmp_path / name)
        assert "\n" not in refused.value.format_message()


def test_an_image_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (200, 200)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(DataError, match="more pixels"):
        read_image(tmp_path / "bomb.png")


def test_masks_are_read_in_every_form(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), bool)
    mask[4:9, 3:12] = True
    Image.fromarray(mask).save(tmp_path / "one_bit.png")
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "ones.png")
    Image.fromarray(mask.astype(np.uint8) * 255).convert("RGBA").save(tmp_path / "alpha.png")
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_mask(path), mask, err_msg=path.name)


def test_compression_around_a_mask_is_not_taken_for_a_defect(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 16:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.jpg", quality=70)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg"), mask > 0)


def test_a_map_is_interpolated_between_its_values() -> None:
    small = np.array([[0.0, 1.0]], np.float32)
    large = resize_map(small, (2, 4))
    np.testing.assert_allclose(large, [[0, 0.25, 0.75, 1]] * 2)


def test_the_images_of_a_mask_in_a_folder_are_merged(tmp_path: Path) -> None:
    first, second = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
    first[1, 2], second[4, 5] = 3, 255
    Image.fromarray(first).save(tmp_path / "000.png")
    Image.fromarray(second).save(tmp_path / "001.png")
    (tmp_path / "notes.txt").write_text("x")
    np.testing.assert_array_equal(read_mask(tmp_path), (first > 0) | (second > 0))


def test_a_folder_of_masks_that_are_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are none"):
        read_mask(tmp_path)
    Image.new("L", (8, 6)).save(tmp_path / "000.png")
    Image.new("L", (6, 8)).save(tmp_path / "001.png")
    with pytest.raises(DataError, match=r"differ in size \(000.png 6 x 8, 001.png 8 x 6\)"):
        read_mask(tmp_path)
