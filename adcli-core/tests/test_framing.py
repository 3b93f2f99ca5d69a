"""Region, crop, letterbox, ignored areas: what a model sees of an image, and where in the image its map lies."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from inputs import decode
from PIL import Image

from adcli.data.decoding import read_image, resize
from adcli.data.framing import GREY, PLAIN, Framing, ignored_digest, read_framing, read_ignored
from adcli.data.source import ImageSource, Item
from adcli.data.tiling import Tiling
from adcli.errors import DataError

LANDSCAPE, PORTRAIT = (121, 250), (250, 121)
SIZES = [(64, 64), (48, 96), (97, 51)]


def ignoring(original: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    """Return ignored areas at an image's size."""
    ignored = np.zeros(original, bool)
    ignored[rows, columns] = True
    return ignored


WAYS = {
    "region": lambda original: Framing(region=(31, 12, 80, 101)),
    "crop": lambda original: Framing(crop=(101, 91)),
    "crop of a region": lambda original: Framing(region=(21, 11, 95, 105), crop=(97, 77)),
    "letterbox": lambda original: Framing(fit="letterbox"),
    "letterbox of a region": lambda original: Framing(region=(20, 30, 90, 70), fit="letterbox"),
    "all": lambda original: Framing(
        (20, 10, 100, 106), (101, 90), "letterbox", ignoring(original, slice(0, 20), slice(0, 60))
    ),
    "tiles": lambda original: Framing(tiling=Tiling(3, 2)),
    "tiles of a letterbox": lambda original: Framing((20, 30, 90, 70), fit="letterbox", tiling=Tiling(2, 3, 0.3)),
    "all in tiles": lambda original: Framing(
        (20, 10, 100, 106), (101, 90), "letterbox", ignoring(original, slice(0, 20), slice(0, 60)), tiling=Tiling(2, 1)
    ),
}


def write(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def random_pixels(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [LANDSCAPE, PORTRAIT])
@pytest.mark.parametrize("way", WAYS)
def test_a_defect_comes_back_where_it_is_in_the_image(
    tmp_path: Path, way: str, original: tuple[int, int], size: tuple[int, int]
) -> None:
    framing = WAYS[way](original)
    pixels = np.zeros((*original, 3), np.uint8)
    rows, columns = framing.area(original)
    top, left, height, width = rows.start + 21, columns.start + 19, 24, 31
    pixels[top : top + height, left : left + width] = 255
    decoded = decode(write(tmp_path / "a.png", pixels), size, framing)
    assert decoded.pixels.shape == (*framing.tiling.find_canvas(size), 3)
    # As if the model's map were the brightness of what it sees.
    placed = framing.place(decoded.pixels[:, :, 0].astype(np.float32), decoded.original_size)
    high, wide = (np.flatnonzero((placed > 127).any(axis=axis)) for axis in (1, 0))
    found = np.array([high[0], wide[0], high[-1] + 1, wide[-1] + 1])
    # Half a pixel of the model.
    allowed = 0.5 * max(original) / min(size) + 1
    assert np.abs(found - (top, left, top + height, left + width)).max() <= allowed


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [LANDSCAPE, PORTRAIT])
@pytest.mark.parametrize("way", WAYS)
def test_each_pixel_gets_the_maps_value_at_its_place(
    way: str, original: tuple[int, int], size: tuple[int, int]
) -> None:
    framing = WAYS[way](original)
    y, x = np.mgrid[: original[0], : original[1]].astype(np.float32)
    coordinates = np.stack([y, x, x], axis=2)
    # The same cutting and padding of the pixels' own coordinates says where each of the model's pixels lies.
    part = framing.cut(coordinates, size, Path("x"))
    for channel, expected in ((0, y), (1, x)):
        canvas = framing.tiling.find_canvas(size)
        whole = Image.fromarray(np.ascontiguousarray(part[:, :, channel]))
        plane = whole.resize(canvas[::-1], Image.Resampling.BILINEAR)
        placed = framing.place(np.asarray(plane), original)
        rows, columns = framing.area(original)
        inner = np.zeros(original, bool)
        margin = 2 * max(original) // min(size) + 1
        inner[rows.start + margin : rows.stop - margin, columns.start + margin : columns.stop - margin] = True
        if framing.ignored is not None:
            inner[: 20 + margin, : 60 + margin] = False
        assert inner.any()
        assert np.abs(placed - expected)[inner].max() < 0.6


@pytest.mark.parametrize("way", WAYS)
def test_a_map_is_known_where_the_image_was_looked_at_and_nowhere_else(way: str) -> None:
    framing = WAYS[way](LANDSCAPE)
    placed = framing.place(np.ones((64, 64), np.float32), LANDSCAPE)
    assert placed.shape == LANDSCAPE
    seen = np.zeros(LANDSCAPE, bool)
    seen[framing.area(LANDSCAPE)] = True
    if framing.ignored is not None:
        seen &= ~framing.ignored
    np.testing.assert_array_equal(~np.isnan(placed), seen)
    assert (placed[seen] == 1).all()


@pytest.mark.parametrize("size", SIZES)
def test_without_preparation_the_pixels_are_those_of_resizing(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write(tmp_path / "a.png", random_pixels(LANDSCAPE))
    for framing in (PLAIN, Framing(), Framing(region=(0, 0, 250, 121)), Framing(crop=LANDSCAPE)):
        np.testing.assert_array_equal(decode(path, size, framing).pixels, resize(read_image(path), size))


def test_a_region_and_a_crop_are_those_pixels(tmp_path: Path) -> None:
    pixels = random_pixels(LANDSCAPE)
    path = write(tmp_path / "a.png", pixels)
    region = decode(path, (50, 40), Framing(region=(100, 30, 40, 50)))
    np.testing.assert_array_equal(region.pixels, pixels[30:80, 100:140])
    assert region.original_size == LANDSCAPE
    crop = decode(path, (21, 50), Framing(crop=(21, 50)))
    np.testing.assert_array_equal(crop.pixels, pixels[50:71, 100:150])


@pytest.mark.parametrize(("original", "size"), [(LANDSCAPE, (64, 64)), (PORTRAIT, (64, 64)), (LANDSCAPE, (32, 96))])
def test_a_letterbox_keeps_the_aspect_and_repeats_the_border(original: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = random_pixels(original)
    part = Framing(fit="letterbox").cut(pixels, size, Path("x"))
    height, width = part.shape[:2]
    assert abs(height * size[1] - width * size[0]) <= max(size) / 2
    assert (height == original[0]) or (width == original[1])
    top, left = (height - original[0]) // 2, (width - original[1]) // 2
    np.testing.assert_array_equal(part[top : top + original[0], left : left + original[1]], pixels)
    rows = (np.arange(height) - top).clip(0, original[0] - 1)
    columns = (np.arange(width) - left).clip(0, original[1] - 1)
    np.testing.assert_array_equal(part, pixels[rows][:, columns])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [LANDSCAPE, PORTRAIT, (400, 30), (30, 400)])
def test_borders_that_are_added_late_are_those_of_the_whole_image(
    original: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels, framing = random_pixels(original), Framing(fit="letterbox")
    expected = resize(framing.cut(pixels, size, Path("x")), size).astype(int)
    found = framing.fitted(pixels, size, Path("x"))
    # The order of the sides decides on the last digit of a float, and that on one level in a hundred thousand.
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-4


def test_what_is_ignored_changes_nothing(tmp_path: Path) -> None:
    ignored = ignoring(LANDSCAPE, slice(20, 60), slice(40, 111))
    one, other = random_pixels(LANDSCAPE), random_pixels(LANDSCAPE)
    other[ignored] = 255 - other[ignored]
    framing = Framing(ignored=ignored)
    first, second = (
        decode(write(tmp_path / f"{i}.png", it), (64, 64), framing).pixels for i, it in enumerate((one, other))
    )
    np.testing.assert_array_equal(first, second)
    part = framing.cut(one, (64, 64), Path("x"))
    assert (part[ignored] == GREY).all()
    np.testing.assert_array_equal(part[~ignored], one[~ignored])


def test_ignored_areas_are_scaled_to_images_of_other_sizes() -> None:
    framing = Framing(ignored=ignoring((60, 80), slice(0, 15), slice(40, 80)))
    part = framing.cut(np.zeros((120, 160, 3), np.uint8), (64, 64), Path("x"))
    expected = ignoring((120, 160), slice(0, 30), slice(80, 160))
    np.testing.assert_array_equal(part[:, :, 0] == GREY, expected)


@pytest.mark.parametrize(
    "framing",
    [
        Framing(region=(10, 20, 100, 80)),
        Framing(crop=(50, 60)),
        Framing(region=(10, 20, 100, 50), fit="letterbox"),
    ],
)
def test_sixteen_bits_keep_their_values(tmp_path: Path, framing: Framing) -> None:
    values = np.random.default_rng(0).integers(0, 65536, LANDSCAPE, dtype=np.uint16)
    path = write(tmp_path / "a.png", values)
    grey = np.rint(values / 257).astype(np.uint8)
    part = framing.cut(read_image(path), (64, 64), path)
    rows, columns = framing.area(LANDSCAPE)
    top = (part.shape[0] - (rows.stop - rows.start)) // 2
    left = (part.shape[1] - (columns.stop - columns.start)) // 2
    inner = part[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
    np.testing.assert_array_equal(inner, np.repeat(grey[rows, columns, None], 3, axis=2))


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        (Framing(region=(200, 0, 60, 50)), ["250 pixels wide and 121 high", "--region 200,0,60,50"]),
        (Framing(region=(0, 100, 60, 50)), ["--region 0,100,60,50", "to 60 and 150"]),
        (Framing(crop=(122, 20)), ["--crop 122x20"]),
        (Framing(crop=(20, 251)), ["--crop 20x251"]),
        (Framing(ignored=np.zeros(PORTRAIT, bool)), ["--ignore", "121 wide and 250 high"]),
        (Framing(region=(0, 0, 20, 20), ignored=ignoring(LANDSCAPE, slice(0, 20), slice(0, 20))), ["--ignore"]),
    ],
)
def test_an_image_that_does_not_suit_is_named(tmp_path: Path, framing: Framing, words: list[str]) -> None:
    path = write(tmp_path / "part 7.png", random_pixels(LANDSCAPE))
    with pytest.raises(DataError) as refused:
        decode(path, (64, 64), framing)
    message = refused.value.format_message()
    assert "\n" not in message
    for word in ["part 7.png", *words]:
        assert word in message
    source = ImageSource((64, 64), skip_unreadable=True, framing=framing)
    assert list(source.stream([Item(path)])) == []
    assert list(source.skipped) == [str(path)]


def test_what_ignores_everything_or_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--ignore .*all\.png.*everything"):
        read_ignored(write(tmp_path / "all.png", np.full((20, 20), 255, np.uint8)))
    with pytest.raises(DataError, match=r"none\.png"):
        read_ignored(tmp_path / "none.png")


def test_a_cache_holds_no_more_than_what_was_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", random_pixels(LANDSCAPE))
    source = ImageSource((20, 30), framing=Framing(region=(0, 0, 30, 20)))
    ((_, image),) = source.stream([Item(path)])
    assert image.pixels.base is None or image.pixels.base.nbytes <= image.pixels.nbytes


def write_files(folder: Path, framing: Framing, size: tuple[int, int]) -> None:
    for name, content in framing.files(size).items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("original", [LANDSCAPE, PORTRAIT, (301, 250)])
@pytest.mark.parametrize("way", WAYS)
def test_the_code_in_exports_cuts_the_same_pixels(
    tmp_path: Path, way: str, original: tuple[int, int], size: tuple[int, int]
) -> None:
    framing = WAYS[way](original)
    write_files(tmp_path, framing, size)
    namespace = runpy.run_path(str(tmp_path / "prepare.py"))
    pixels = random_pixels(original)
    prepared = framing.cut(pixels, size, Path("x"))
    np.testing.assert_array_equal(namespace["prepare"](pixels), prepared)
    (parts,) = namespace["cut"](pixels).values()
    if len(framing.tiling) == 1:
        np.testing.assert_array_equal(parts[0], prepared)
        assert len(parts) == 1
    else:
        canvas = framing.fitted(pixels, size, Path("x"))
        expected = [framing.tiling.cut(canvas, size, number) for number in range(len(framing.tiling))]
        # Of values halfway between two levels, the last digit of a float decides.
        different = np.abs(np.stack(parts).astype(int) - np.stack(expected))
        assert different.max() <= 1
        assert different.mean() < 1e-3
        maps = np.stack(expected)[:, :, :, 0].astype(np.float32)
        np.testing.assert_array_equal(namespace["blend"](maps), framing.tiling.blend(maps))
    if framing.region is not None:
        with pytest.raises(ValueError, match="too small"):
            namespace["prepare"](pixels[:60, :80])


def test_without_preparation_there_are_no_files() -> None:
    assert PLAIN.files((64, 64)) == {}


@pytest.mark.parametrize("way", WAYS)
def test_a_preparation_is_read_as_it_was_written(tmp_path: Path, way: str) -> None:
    framing = WAYS[way](LANDSCAPE)
    write_files(tmp_path, framing, (64, 48))
    read = read_framing(tmp_path, (64, 48), "the manifest")
    pixels = random_pixels(LANDSCAPE)
    np.testing.assert_array_equal(read.cut(pixels, (64, 48), Path("x")), framing.cut(pixels, (64, 48), Path("x")))
    assert (read.region, read.crop, read.fit) == (framing.region, framing.crop, framing.fit)
    assert read.tiling == framing.tiling
    if framing.ignored is not None and read.ignored is not None:
        assert ignored_digest(read.ignored) == ignored_digest(framing.ignored)


def test_the_digest_of_ignored_areas_tells_any_pixel_and_the_shape() -> None:
    ignored = ignoring((20, 30), slice(3, 5), slice(0, 7))
    others = [ignored.T, ignored.reshape(30, 20), ~ignored, ignoring((20, 30), slice(3, 5), slice(0, 8))]
    digests = {ignored_digest(np.ascontiguousarray(it)) for it in (ignored, *others)}
    assert len(digests) == 5
