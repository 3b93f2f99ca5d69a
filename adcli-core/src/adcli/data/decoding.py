"""Decoding and resizing: the one definition of how a file becomes the pixels a model sees.

Training, calibration, evaluation, prediction and exported models all see ``resize(read_image(path), size)``, or what
:mod:`adcli.data.framing` takes of the image in between.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from adcli._locking import open_regular
from adcli.data.ahead import load_all
from adcli.data.bits import (
    WHITE,
    find_shift,
    has_deep_colours,
    has_sixteen_bits,
    is_deep_pnm,
    read_pnm,
    scale,
    scale_colours,
)
from adcli.data.drawings import draw, drawn_size, is_drawing
from adcli.data.formats import (
    IMAGE_SUFFIXES,
    count_pixels,
    explain_refusal,
    find_bomb,
    open_image,
    refuse_gaps,
    say_limit,
)
from adcli.data.left_out import CLEAR, CLIPPED, COARSE, EMPTY_MASK, FULL_MASK, PAGES, Reason
from adcli.data.resampling import NO_BORDERS, Borders, resample
from adcli.data.splitting import READERS
from adcli.errors import AdcliError, DataError, one_line

Pixels = NDArray[np.uint8]
"""An RGB image, shape (H, W, 3), values 0 to 255."""

Size = tuple[int, int]
"""Height and width in pixels."""

FINE = 16384
"""Parts of a grey level that resized values are rounded to before they are rounded to levels."""

FAINT = 8
"""Of 255; a pixel with less opacity is as good as black."""

CLEAR_SHARE = 0.99
"""Share of such pixels from which nothing of an image is left."""


def read_image(path: Path, white: int = WHITE) -> Pixels:
    """Return the image in a file as (H, W, 3) RGB, upright, whatever mode it is stored in.

    Grey and palette images are expanded, CMYK is converted, transparency is composed onto black, EXIF orientation is
    applied, and 16-bit images are scaled by a declared white (never by their own minimum and maximum, which would make
    pixels of one image incomparable with those of the next).

    Args:
        path: the file.
        white: the value of 16-bit images that becomes 255; what is above is clipped.

    Raises:
        DataError: the file is missing, no image, damaged, beyond the limit on pixels, or of a mode without a declared
            range (floating point or 32-bit).
    """
    return _unshared(decode(read_bytes(path), path, white).pixels)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an image file; raises :class:`DataError` if it cannot be read."""
    try:
        # A device may never end, and a pipe never begin.
        with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise DataError(f"{path}: no such image.") from None
    except OSError as error:
        raise DataError(f"{path}: {explain_refusal(error)}.", remedy=_REMEDY) from None
    except ValueError as error:
        raise DataError(f"{path}: is no path ({_one_line(error)}).", remedy=_REMEDY) from None


class Decoding(NamedTuple):
    """What is in the file of an image.

    Attributes:
        pixels: as :func:`read_image` has them; of grey images, the channels may be one in memory, which is not to be
            written to.
        mode: Pillow's, as the file has it.
        oddities: what of the file is not in the pixels, as :mod:`adcli.data.left_out` calls it.
        highest: the largest value of a 16-bit image, if its channels have one; of colours that nobody looked at
            exactly, the largest that it may be.
    """

    pixels: Pixels
    mode: str
    oddities: tuple[Reason, ...] = ()
    highest: int | None = None


def decode(content: bytes, name: object, white: int = WHITE) -> Decoding:
    """Decode as :func:`read_image`.

    Args:
        content: the bytes of a file.
        name: of the image, for messages.
        white: as :func:`read_image` has it.
    """
    with _naming_image(name), open_image(content) as opened:
        bomb = find_bomb(opened, content)
        if bomb:
            raise DataError(f"{name}: {bomb}.", remedy=_REMEDY)
        refuse_gaps(opened)
        if is_deep_pnm(opened):
            return _decode_pnm(opened, content, white)
        image: Image.Image = opened
        mode, deep, shift = image.mode, has_deep_colours(image), find_shift(image, content)
        image.load()
        # In place, and below no conversion to RGB of RGB: copies took as long as decoding a JPEG.
        ImageOps.exif_transpose(image, in_place=True)
        _check_range(image, name)
        highest, clear = None, False
        if has_sixteen_bits(image):
            values = np.asarray(image)
            values = values >> shift if shift else values
            highest, pixels = int(values.max()), share_channels(scale(values, white))
        else:
            if deep:
                highest, image = scale_colours(image, content, white, name)
            pixels, clear = _to_rgb(image)
        found = {CLEAR: clear, PAGES: _has_pages(opened)}
        oddities = (*_judge_values(highest, white), *(reason for reason, is_true in found.items() if is_true))
        return Decoding(pixels, mode, oddities, highest)


def _decode_pnm(image: Image.Image, content: bytes, white: int) -> Decoding:
    """Decode a PNM of 16 bits, which has no orientation, no transparency and no pages."""
    values = read_pnm(image, content)
    highest, levels = int(values.max()), scale(values, white)
    pixels = share_channels(levels) if levels.ndim == 2 else levels
    return Decoding(pixels, image.mode, tuple(_judge_values(highest, white)), highest)


class Header(NamedTuple):
    """What the header of an image tells.

    Attributes:
        size: height and width, upright.
        is_grey: whether its mode has no colours.
        is_deep: whether it has 16 bits.
    """

    size: Size
    is_grey: bool
    is_deep: bool


GREY_MODES = ("1", "L", "LA", "La")


def read_header(path: Path, *, thorough: bool = False) -> Header:
    """Return what an image's header tells, without decoding it.

    Args:
        path: the file.
        thorough: decode a PNG whose orientation, if it has one, stands behind its pixels, where it hardly ever does.

    Raises:
        DataError: the header tells that :func:`read_image` cannot read it.
    """
    with _naming_image(path), open_image(path) as image:
        _check_range(image, path)
        sixteen = has_sixteen_bits(image)
        is_deep = sixteen or has_deep_colours(image)
        return Header(_upright_size(image, thorough), image.mode in GREY_MODES or sixteen, is_deep)


def _upright_size(image: Image.Image, thorough: bool) -> Size:
    tags = getattr(image, "tag_v2", None)
    # Of a TIFF, it depends on Pillow's version whether its size is that before or after turning it upright.
    width, height = (tags[256], tags[257]) if image.format == "TIFF" and tags else image.size
    # Pillow decodes a PNG to look for what its header lacks.
    in_header = image.format != "PNG" or not {"exif", "Raw profile type exif"}.isdisjoint(image.info)
    orientation = image.getexif().get(ExifTags.Base.Orientation) if in_header or thorough else None
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


@contextlib.contextmanager
def _naming_image(name: object) -> Iterator[None]:
    """Turn whatever Pillow raises of an image into a :class:`DataError` that names it."""
    try:
        yield
    except AdcliError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name}: no such image.") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {say_limit(count_pixels(error))}.", remedy=_REMEDY) from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image that can be read.", remedy=_REMEDY) from None
    except MemoryError:
        raise DataError(f"{name}: takes more memory than there is.", remedy=_REMEDY) from None
    # Pillow's decoders raise whatever their format's parser ran into.
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise DataError(f"{name}: {explain_refusal(error)}.", remedy=_REMEDY) from None
        raise DataError(f"{name}: the image is damaged ({_one_line(error)}).", remedy=_REMEDY) from None


_REMEDY = "Remove it, or use --skip-unreadable."


def _one_line(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__


def _check_range(image: Image.Image, name: object) -> None:
    if image.mode in ("F", "I") and not has_sixteen_bits(image):
        raise DataError(f"{name}: pixels of mode {image.mode} have no declared range; save it with 8 or 16 bits.")


def _to_rgb(image: Image.Image) -> tuple[Pixels, bool]:
    """Return an image of 8 bits in RGB, and whether it is so transparent that nothing of it is left."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        return np.asarray(opaque.convert("RGB")), _is_clear(rgba)
    if image.mode in ("1", "L"):
        return share_channels(np.asarray(image if image.mode == "L" else image.convert("L"))), False
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), False


def _is_clear(rgba: Image.Image) -> bool:
    alpha = rgba.getchannel("A").histogram()
    return sum(alpha[:FAINT]) >= CLEAR_SHARE * rgba.width * rgba.height


def _judge_values(highest: int | None, white: int) -> Iterator[Reason]:
    """Yield what a white does to the values of a 16-bit image."""
    if highest is not None and highest > white:
        yield CLIPPED
    if highest is not None and highest <= white // 16:
        yield COARSE


def _has_pages(image: Image.Image) -> bool:
    """Tell whether a file has further pages, or frames; what a telephone adds to a JPEG is none."""
    # What is behind the first page may be damaged, which does not matter to it.
    with contextlib.suppress(Exception):
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return True


def share_channels(grey: Pixels) -> Pixels:
    """Return grey levels (H, W) as three channels that are one in memory."""
    return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))


def _unshared(pixels: Pixels) -> Pixels:
    """Undo :func:`share_channels`: give each channel memory of its own."""
    return np.repeat(pixels[:, :, :1], 3, axis=2) if pixels.strides[2] == 0 else pixels


def resize(pixels: Pixels, size: Size, borders: Borders = NO_BORDERS) -> Pixels:
    """Resize to (height, width): antialiased bilinear in float32 with half-pixel centres, rounded to the nearest level.

    Rounding happens at the end: Pillow's own 8-bit resize rounds between its two passes as well, which moves scores by
    several percent. Values within float32's error of halfway between two levels, which sides in a simple ratio make
    many of, count as halfway, so that exported graphs and other processors round them alike.

    Args:
        pixels: the image, (H, W, 3).
        size: height and width.
        borders: how often the outermost pixels are repeated before, on two sides that face each other at most.
    """
    if borders == NO_BORDERS and pixels.shape[:2] == size:
        return _unshared(pixels)
    planes = resample(pixels[:, :, :1] if is_grey(pixels) else pixels, size, borders)
    levels = np.rint(np.rint(planes * FINE) / FINE).clip(0, 255).astype(np.uint8)
    resized = np.empty((*size, 3), np.uint8)
    resized[...] = levels.transpose(1, 2, 0)
    return resized


def is_grey(pixels: Pixels) -> bool:
    """Tell whether all channels are alike; of most colour images a few lines tell that they are not."""
    return pixels.strides[2] == 0 or all(
        np.array_equal(lines[:, :, 0], lines[:, :, channel]) for lines in (pixels[::64], pixels) for channel in (1, 2)
    )


LOSSY = ("JPEG", "MPO", "AVIF")
"""Formats whose compression makes black a little grey."""

FULL_SHARE = 0.75
"""A mask that marks more of its image is probably inverted."""


def judge_mask(mask: NDArray[np.bool_]) -> Reason | None:
    """Return why a mask is hardly what was meant; None if it may well be."""
    marked = np.count_nonzero(mask)
    return EMPTY_MASK if not marked else FULL_MASK if marked > FULL_SHARE * mask.size else None


def list_marking(masks: Sequence[Path]) -> list[Path]:
    """Return those of some masks that mark anything; what cannot be read marks nothing."""

    def marks(path: Path) -> bool:
        try:
            return bool(read_mask(path).any())
        except DataError:
            return False

    return [path for path, marked in zip(masks, load_all(masks, marks, READERS), strict=True) if marked]


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a defect mask at its own resolution, shape (H, W).

    Any non-zero pixel is defect; in a JPEG or AVIF, where compression blurs zero, any pixel from half the range on.
    Transparency becomes black, as in images. The images in a folder, one for each region, are merged. Shapes in a file
    of labelme or COCO are drawn.

    Raises:
        DataError: the mask is missing or damaged, or the images of a folder differ in size.
    """
    if is_drawing(path):
        return draw(path)
    parts = {part: _read_one_mask(part) for part in _mask_files(path)}
    _check_alike(path, {part: (mask.shape[0], mask.shape[1]) for part, mask in parts.items()})
    merged: NDArray[np.bool_] = np.logical_or.reduce(list(parts.values()))
    return merged


def read_mask_size(path: Path, *, thorough: bool = False) -> Size:
    """Return height and width of a mask from the headers of its files; raises as :func:`read_mask`, if they tell.

    Args:
        path: the file, or the folder of files that are merged.
        thorough: as :func:`read_header` has it.
    """
    if is_drawing(path):
        return drawn_size(path)
    sizes = {}
    for part in _mask_files(path):
        with _naming_mask(part), open_image(part) as image:
            sizes[part] = _upright_size(image, thorough)
    _check_alike(path, sizes)
    return next(iter(sizes.values()))


def _mask_files(path: Path) -> Sequence[Path]:
    with _naming_mask(path):
        if not path.is_dir():
            return [path]
        parts = sorted(part for part in path.iterdir() if part.suffix.lower() in IMAGE_SUFFIXES)
    if not parts:
        raise DataError(f"{path}: a folder for the images of a mask, but there are none.")
    return parts


def _check_alike(path: Path, sizes: Mapping[Path, Size]) -> None:
    if len(set(sizes.values())) > 1:
        named = ", ".join(f"{part.name} {height} x {width}" for part, (height, width) in sizes.items())
        raise DataError(f"{path}: the images of a mask differ in size ({named}).")


@contextlib.contextmanager
def _naming_mask(path: Path) -> Iterator[None]:
    try:
        yield
    except AdcliError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: the mask {say_limit(count_pixels(error))}.") from None
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise DataError(f"{path}: the mask {explain_refusal(error)}.") from None
        raise DataError(f"{path}: the mask cannot be read ({_one_line(error)}).") from None


def _read_one_mask(path: Path) -> NDArray[np.bool_]:
    with _naming_mask(path), open_image(path) as image:
        refuse_gaps(image)
        lossy = image.format in LOSSY
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            values = _to_rgb(upright)[0]
        else:
            values = np.asarray(upright.convert("RGB") if upright.mode in ("P", "CMYK") else upright)
    if values.ndim == 3:
        values = values[:, :, :3].max(axis=2)
    return values >= 128 if lossy else values > 0


def resize_map(anomaly_map: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Interpolate an anomaly map (H, W) bilinearly to (height, width).

    NaN stands for what is not known, and is left out: a value is known where half of what it is made of is.
    """
    if anomaly_map.shape == size:
        return anomaly_map
    known = ~np.isnan(anomaly_map)
    if known.all():
        return _interpolated(anomaly_map, size)
    share = _interpolated(known.astype(np.float32), size)
    total = _interpolated(np.where(known, anomaly_map, np.float32(0)), size)
    return np.where(share >= 0.5, total / np.maximum(share, 0.5), np.float32(np.nan))


def _interpolated(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
