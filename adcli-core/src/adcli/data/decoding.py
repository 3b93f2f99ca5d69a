"""Decoding and resizing: the one definition of how a file becomes the pixels a model sees.

Training, calibration, evaluation, prediction and exported models all see ``resize(read_image(path), size)``, or what
:mod:`adcli.data.framing` takes of the image in between.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from adcli.data.ahead import load_all
from adcli.data.bits import (
    WHITE,
    find_shift,
    has_deep_colours,
    has_sixteen_bits,
    is_deep_pnm,
    merge_bytes,
    read_pnm,
    scale,
    take_low_bytes,
)
from adcli.data.drawings import draw, drawn_size, is_drawing
from adcli.data.formats import (
    IMAGE_SUFFIXES,
    count_pixels,
    explain_refusal,
    find_bomb,
    find_scans,
    open_binary,
    open_image,
    refuse_gaps,
    say_limit,
)
from adcli.data.left_out import CLEAR, CLIPPED, COARSE, EMPTY_MASK, FULL_MASK, PAGES, Reason
from adcli.data.resampling import NO_BORDERS, Borders, resample
from adcli.data.room import count_bytes, room_for
from adcli.data.splitting import READERS
from adcli.data.strips import Strip, find_orientation, find_stored, pour, turn
from adcli.data.tiff import MAGIC, gather, plan_cut
from adcli.data.view import Look, View, look_at_all
from adcli.data.view import Size as Size
from adcli.errors import AdcliError, DataError, one_line

Pixels = NDArray[np.uint8]
"""An RGB image, shape (H, W, 3), values 0 to 255."""

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
    with _opening(path) as file:
        return file.read()


@contextlib.contextmanager
def _opening(path: Path) -> Iterator[IO[bytes]]:
    """Open an image file; raises :class:`DataError` if it cannot be, or cannot be read within the context."""
    try:
        with open_binary(path) as file:
            yield file
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
        view: which pixels of the image they are.
        oddities: what of the file is not in the pixels, as :mod:`adcli.data.left_out` calls it.
        highest: the largest value of a 16-bit image, if its channels have one; of colours that nobody looked at
            exactly, the largest that it may be.
    """

    pixels: Pixels
    mode: str
    view: View
    oddities: tuple[Reason, ...] = ()
    highest: int | None = None


class DecodedFile(NamedTuple):
    """What is in a file.

    Attributes:
        decoding: of the image.
        digest: sha256 of all bytes, from the same read.
        content: the bytes; None if the file was not read into memory as a whole.
    """

    decoding: Decoding
    digest: str
    content: bytes | None = None


def decode_file(path: Path, white: int = WHITE, look: Look = look_at_all, *, keep_rest: bool = False) -> DecodedFile:
    """Decode a file as :func:`decode` does; of a TIFF, only strips or tiles that are looked at are kept in memory."""
    with _opening(path) as file:
        found = _decode_cut(file, path, white, look, keep_rest=keep_rest)
        if found is not None:
            return found
        file.seek(0)
        content = file.read()
    decoding = decode(content, path, white, look, keep_rest=keep_rest)
    return DecodedFile(decoding, hashlib.sha256(content).hexdigest(), content)


def decode(
    content: bytes, name: object, white: int = WHITE, look: Look = look_at_all, *, keep_rest: bool = False
) -> Decoding:
    """Decode as :func:`read_image`.

    Args:
        content: the bytes of a file.
        name: of the image, for messages.
        white: as :func:`read_image` has it.
        look: tells what of it is wanted; only a JPEG is decoded at a scale.
        keep_rest: return all pixels if all have to be decoded.
    """
    cut = _decode_cut(io.BytesIO(content), name, white, look, keep_rest=keep_rest)
    if cut is not None:
        return cut.decoding
    with _naming_image(name), open_image(content) as opened:
        _refuse(opened, len(content), name, find_scans(opened, content))
        if is_deep_pnm(opened):
            return _decode_pnm(opened, content, white, look)
        in_file = (opened.height, opened.width)
        known = _prepare_view(opened, look)
        taken = in_file[0] * in_file[1] if known is None else known.decoded[2] * known.decoded[3]
        with _room_for(opened, name, count_bytes(opened, in_file, taken), known or look_at_all(in_file)):
            loaded = _load(opened, content, name, white)
            orientation = find_orientation(opened)
            size = turn((opened.height, opened.width), orientation)
            view = known or look(size)._replace(scale=1)
            view = look_at_all(size) if keep_rest and view.scale == 1 else view
            pixels = pour(opened, find_stored(view.decoded, size, orientation), orientation, loaded)
            found = loaded.judge(pixels, view, paged=_has_pages(opened))
            # Its memory is free before others are told that there is room.
            opened.close()
        return found


def _decode_cut(file: IO[bytes], name: object, white: int, look: Look, *, keep_rest: bool) -> DecodedFile | None:
    """Decode what is looked at of a TIFF, and hash all of it; return None if it has to be decoded whole.

    If the rest is wanted as well, that saves nothing unless it is most of the image.
    """
    if look is look_at_all or file.read(4) not in MAGIC:
        return None
    file.seek(0)
    with _naming_image(name), open_image(file) as opened:
        orientation, paged, mode = find_orientation(opened), _has_pages(opened), opened.mode
        view = look(_upright_size(opened, thorough=False))._replace(scale=1)
        x, y, width, height = find_stored(view.part, view.size, orientation)
        is_most = view.is_whole or (keep_rest and 2 * width * height > view.size[0] * view.size[1])
        cut = None if is_most else plan_cut(file, (x, y, width, height))
        if cut is None:
            return None
        _refuse(opened, file.seek(0, io.SEEK_END), name)
    smaller, digest = gather(file, cut)
    with _naming_image(name), open_image(smaller) as opened:
        needed = count_bytes(opened, (opened.height, opened.width), width * height)
        with _room_for(opened, name, needed, view):
            loaded = _load(opened, smaller.getvalue(), name, white)
            part = (x - cut.corner[0], y - cut.corner[1], width, height)
            pixels = pour(opened, part, orientation, loaded)
            opened.close()
        return DecodedFile(loaded.judge(pixels, view, paged=paged)._replace(mode=mode), digest)


def _refuse(image: ImageFile.ImageFile, length: int, name: object, reason: str = "") -> None:
    """Refuse an image that is not worth decoding, for a reason that is known or for what it declares."""
    reason = reason or find_bomb(image, length)
    if reason:
        raise DataError(f"{name}: {reason}.", remedy=_REMEDY)
    refuse_gaps(image)


def _prepare_view(image: ImageFile.ImageFile, look: Look) -> View | None:
    """Return what is wanted of an image whose header tells how it lies, which a JPEG is made ready for; else None."""
    if image.format not in ("JPEG", "MPO", "TIFF"):
        return None
    view = look(_upright_size(image, thorough=False))
    if view.scale == 1 or image.format == "TIFF":
        return view._replace(scale=1)
    image.draft(None, (image.width // view.scale, image.height // view.scale))
    return view


def _room_for(
    image: ImageFile.ImageFile, name: object, needed: int, view: View
) -> contextlib.AbstractContextManager[None]:
    """Wait for the memory that decoding an image needs; raises :class:`LackOfMemoryError` if there is too little."""
    remedy = "shrink it, or free memory"
    if image.format == "TIFF" and view.is_whole:
        remedy = "look at a part of it with --region, which decodes no more of it, or free memory"
    if image.format in ("JPEG", "MPO") and view.scale == 1:
        remedy = "train with --reading scaled, or free memory"
    return room_for(needed, f"{name}: {view.size[1]} x {view.size[0]} pixels", remedy)


def _load(image: ImageFile.ImageFile, content: bytes, name: object, white: int) -> "_Levels":
    """Decode an image; return what makes levels of its strips."""
    mode, is_deep, shift = image.mode, has_deep_colours(image), find_shift(image, content)
    image.load()
    _check_range(image, name)
    low = None
    if is_deep and white != WHITE:
        with open_image(content) as low:
            take_low_bytes(low, name)
            low.load()
    return _Levels(image, mode, white, shift, low, is_deep=is_deep)


class _Levels:
    """Makes levels of strips, grey (H, W) or RGB (H, W, 3), and notes what is in them.

    Args:
        image: decoded.
        mode: its mode before.
        white: as :func:`read_image` has it.
        shift: as :func:`find_shift` has it.
        low: the lower bits of 16-bit colours, if they are needed.
        is_deep: whether it has such colours.
    """

    def __init__(
        self, image: Image.Image, mode: str, white: int, shift: int, low: Image.Image | None, *, is_deep: bool
    ) -> None:
        self.mode, self.white, self.shift, self.low, self.is_deep = mode, white, shift, low, is_deep
        self.has_sixteen_bits, self.is_transparent = has_sixteen_bits(image), image.has_transparency_data
        self.highest: int | None = None
        self.clear = 0

    def __call__(self, strip: Strip) -> NDArray[np.uint8]:
        image = strip.image
        if self.has_sixteen_bits:
            values = np.asarray(image)
            values = values >> self.shift if self.shift else values
            return scale(self._note(int(values.max()), values), self.white)
        if self.is_deep:
            low = None if self.low is None else np.asarray(self.low.crop(strip.corners))
            highest, levels = merge_bytes(np.asarray(image), low, self.white)
            self._note(highest, levels)
            image = image if low is None else Image.fromarray(levels)
        if self.is_transparent:
            return self._compose(image.convert("RGBA"))
        wanted = "L" if image.mode in ("1", "L") else "RGB"
        return np.asarray(image if image.mode == wanted else image.convert(wanted))

    def _note(self, highest: int, values: NDArray[Any]) -> NDArray[Any]:
        self.highest = max(highest, self.highest or 0)
        return values

    def _compose(self, rgba: Image.Image) -> NDArray[np.uint8]:
        """Compose a transparent strip onto black."""
        self.clear += sum(rgba.getchannel("A").histogram()[:FAINT])
        opaque = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        return np.asarray(opaque.convert("RGB"))

    def judge(self, pixels: NDArray[np.uint8], view: View, *, paged: bool) -> Decoding:
        """Return the image whose levels these are, once they are all made."""
        is_clear = self.is_transparent and self.clear >= CLEAR_SHARE * pixels.shape[0] * pixels.shape[1]
        found = {CLEAR: is_clear, PAGES: paged}
        oddities = (
            *_judge_values(self.highest, self.white),
            *(reason for reason, is_true in found.items() if is_true),
        )
        pixels = share_channels(pixels) if pixels.ndim == 2 else pixels
        return Decoding(pixels, self.mode, view, oddities, self.highest)


def _decode_pnm(image: ImageFile.ImageFile, content: bytes, white: int, look: Look) -> Decoding:
    """Decode a PNM of 16 bits, which has no orientation, no transparency and no pages."""
    view = look((image.height, image.width))._replace(scale=1)
    x, y, width, height = view.part
    values = read_pnm(image, content)[y : y + height, x : x + width]
    highest, levels = int(values.max()), scale(values, white)
    pixels = share_channels(levels) if levels.ndim == 2 else levels
    return Decoding(pixels, image.mode, view, tuple(_judge_values(highest, white)), highest)


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
        size = (image.height, image.width)
        with _room_for(image, path, count_bytes(image, size, size[0] * size[1]), look_at_all(size)):
            image.load()
            whole, least = (0, 0, *image.size), 128 if image.format in LOSSY else 1
            levels = _Levels(image, image.mode, WHITE, 0, None, is_deep=False) if image.has_transparency_data else None

            def mark(strip: Strip) -> NDArray[np.bool_]:
                values = _read_mask_values(strip.image) if levels is None else levels(strip)
                return (values[:, :, :3].max(axis=2) if values.ndim == 3 else values) >= least

            mask = pour(image, whole, find_orientation(image), mark)
            image.close()
        return mask


def _read_mask_values(image: Image.Image) -> NDArray[Any]:
    return np.asarray(image.convert("RGB") if image.mode in ("P", "CMYK") else image)


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
