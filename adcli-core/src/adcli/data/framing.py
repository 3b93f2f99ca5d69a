"""Which part of an image a model sees, and where in the image a map of that part lies.

Of an image at its own size, ignored pixels are painted grey, then its region is cut out, then the centre of that, and
for a letterbox its border is repeated until it has the aspect of the model's input. All of it comes before resizing, so
that what an exported graph gets are the pixels of an image, of any size, as without any framing. With tiles, a graph
gets parts of the canvas that the rest is resized to.
"""

import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adcli._artefacts import Artefact, load_json
from adcli._artefacts.declaring import Offset, Overlap, Side, Tiles, White, closed
from adcli._showing import introduce
from adcli.data import framing_standalone as prepare
from adcli.data.bits import CEILINGS, WHITE
from adcli.data.decoding import Pixels, Size, read_mask, resize, resize_map
from adcli.data.framing_standalone import find_area, find_borders, find_scale, scale_flags
from adcli.data.resampling import NO_BORDERS, Borders
from adcli.data.samples import have_same_aspect
from adcli.data.tiling import OVERLAP, WHOLE, Tiling
from adcli.data.tiling import parse_tiles as parse_tiles
from adcli.data.view import View, look_at_all
from adcli.errors import DataError, OptionError

Box = tuple[int, int, int, int]
"""x and y of the upper left corner, width and height, in pixels."""


class Zone(NamedTuple):
    """A part of a photograph that is looked at as an image of its own."""

    name: str
    box: Box


Fit = Literal["squash", "letterbox"]
Reading = Literal["full", "scaled"]
Map = NDArray[np.float32]
Flags = NDArray[np.bool_]

GREY = 128
"""What ignored pixels are painted with, in training as in prediction, so that all models learn it as good."""

FRAMING_FILE = "preparation.json"
IGNORE_FILE = "ignore.png"
CODE_FILE = "prepare.py"


@closed
class _StoredTiles(TypedDict):
    """What it holds of tiles."""

    columns: Tiles
    rows: Tiles
    overlap: Overlap


@closed
class _Stored(TypedDict):
    """What ``preparation.json`` holds."""

    region: tuple[Offset, Offset, Side, Side] | None
    crop: tuple[Side, Side] | None
    fit: Fit
    ignore: Literal["ignore.png"] | None
    white: NotRequired[White]
    grey: Literal[128]
    image_size: tuple[Side, Side]
    tiles: NotRequired[_StoredTiles | None]
    zones: NotRequired[dict[str, tuple[Offset, Offset, Side, Side]]]
    reading: NotRequired[Reading]


@dataclass(frozen=True, eq=False)
class Framing:
    """What is done to an image before it is resized to a model's input.

    Attributes:
        region: the part to look at, in pixels of the image; None for all of it.
        crop: height and width of the centre of that to look at, in pixels of the image; None for all of it.
        fit: ``squash`` resizes each side by itself; ``letterbox`` keeps the aspect, and repeats the border's pixels.
        ignored: areas that are not looked at, (h, w), True there; scaled to each image.
        white: the value of 16-bit files that becomes 255 when they are decoded.
        tiling: how what is resized is cut into a model's inputs.
        zones: in the place of a region, several, each framed, cut and looked at by itself.
        reading: ``full`` decodes all pixels of what is looked at; ``scaled`` has a JPEG's decoder make one of several.
        beside: of one zone, all of them: a photograph is decoded at one scale for all.
    """

    region: Box | None = None
    crop: Size | None = None
    fit: Fit = "squash"
    ignored: Flags | None = None
    white: int = WHITE
    tiling: Tiling = WHOLE
    zones: tuple[Zone, ...] = ()
    reading: Reading = "full"
    beside: tuple[Zone, ...] = ()

    def __repr__(self) -> str:
        facts = (
            self.region and f"region {','.join(map(str, self.region))}",
            self.crop and f"crop {'x'.join(map(str, self.crop))}",
            self.fit,
            "" if self.ignored is None else "with ignored areas",
            f"{self.tiling} tiles" if len(self.tiling) > 1 else "",
            f"{len(self.zones)} zones" if self.zones else "",
        )
        return introduce(self, "", *filter(None, facts))

    @property
    def is_plain(self) -> bool:
        """Tell whether all pixels of a photograph are resized as they are."""
        return self.looks_at_all and self.region is None and self.crop is None and not self.zones

    @property
    def looks_at_all(self) -> bool:
        """Tell whether every value of a map belongs to pixels that were looked at."""
        return self.fit == "squash" and self.ignored is None

    @property
    def of_zones(self) -> "tuple[Framing, ...]":
        """The framing of each zone; of none, this."""
        return tuple(replace(self, region=zone.box, zones=(), beside=self.zones) for zone in self.zones) or (self,)

    @property
    def parts(self) -> int:
        """How many inputs of a model a photograph is: the tiles of all zones."""
        return len(self.of_zones) * len(self.tiling)

    def find_sheet(self, size: Size) -> Size:
        """Return height and width of what a photograph is resized to: the canvases of all zones, below each other."""
        height, width = self.tiling.find_canvas(size)
        return height * len(self.of_zones), width

    def cut_part(self, sheet: Pixels, size: Size, number: int) -> Pixels:
        """Return one of the inputs (h, w, 3) of a model on a photograph's sheet, as a view; zone by zone."""
        zone, tile = divmod(number, len(self.tiling))
        height = self.tiling.find_canvas(size)[0]
        return self.tiling.cut(sheet[zone * height : (zone + 1) * height], size, tile)

    def view(self, original: Size, size: Size, name: object) -> View:
        """Return what of an image is to be decoded: the smallest box that holds what is looked at, and its scale.

        Args:
            original: height and width of the image.
            size: height and width of the model's input.
            name: of the image, for messages.

        Raises:
            DataError: the image is too small for a region or the crop, or has another aspect than the ignored areas.
        """
        areas = []
        for one in self.of_zones:
            one._check_size(original, name)
            areas.append(find_area(original, one.region, self.crop))
        left, top = min(x for x, *_ in areas), min(y for _, y, *_ in areas)
        right, bottom = max(x + width for x, _, width, _ in areas), max(y + height for _, y, _, height in areas)
        return View(original, (left, top, right - left, bottom - top), self._scale(original, size))

    def _scale(self, original: Size, size: Size) -> int:
        """Return the scale that leaves enough of each zone, and of those beside it."""
        if self.reading == "full":
            return 1
        zones = self.zones or self.beside
        regions = [zone.box for zone in zones] if zones else [self.region]
        areas = (find_area(original, region, self.crop) for region in regions)
        canvas = self.tiling.find_canvas(size)
        return min(find_scale((height, width), self.fit, canvas) for _, _, width, height in areas)

    def cut(self, pixels: Pixels, size: Size, name: object, view: View | None = None) -> Pixels:
        """Return what is to be resized to a model's input, or to the canvas of its tiles; of one zone.

        Args:
            pixels: the image, (H, W, 3).
            size: height and width of the model's input.
            name: of the image, for messages.
            view: which pixels of the image these are; None for all.

        Raises:
            DataError: as :meth:`fitted`.
        """
        part = self._part(pixels, name, view)
        borders = self._borders((part.shape[0], part.shape[1]), self.tiling.find_canvas(size))
        return part if borders == NO_BORDERS else np.pad(part, (*borders, (0, 0)), mode="edge")

    def fitted(self, pixels: Pixels, size: Size, name: object, view: View | None = None) -> Pixels:
        """Return a photograph's sheet: what :meth:`cut` returns of each zone, resized, in less time for wide borders.

        Args:
            pixels: the image, (H, W, 3).
            size: height and width of the model's input.
            name: of the image, for messages.
            view: which pixels of the image these are; None for all.

        Raises:
            DataError: the image is too small for the region or the crop, has another aspect than the ignored areas, or
                lies in them altogether.
        """
        if self.zones:
            return np.concatenate([one.fitted(pixels, size, name, view) for one in self.of_zones])
        part, canvas = self._part(pixels, name, view), self.tiling.find_canvas(size)
        return resize(part, canvas, self._borders((part.shape[0], part.shape[1]), canvas))

    def fitted_mask(self, mask: Flags, original: Size, size: Size, name: object) -> NDArray[np.uint8]:
        """Return the sheet of a photograph's mask (h, w), as :meth:`fitted`: how much of a pixel is marked, of 255.

        What is ignored is not marked.

        Args:
            mask: of any size of the photograph's aspect.
            original: height and width of the photograph.
            size: height and width of the model's input.
            name: of the photograph, for messages.
        """
        marked = scale_flags(mask, original)
        if self.ignored is not None:
            marked = marked & ~self._ignored_at(original)
        grey = np.broadcast_to(np.where(marked, np.uint8(255), np.uint8(0))[:, :, None], (*original, 3))
        return replace(self, ignored=None).fitted(grey, size, name)[:, :, 0]

    def _part(self, pixels: Pixels, name: object, view: View | None) -> Pixels:
        """Return what is looked at."""
        if self.is_plain:
            return pixels
        view = view or look_at_all((pixels.shape[0], pixels.shape[1]))
        self._check_size(view.size, name)
        x, y, width, height = view.locate(find_area(view.size, self.region, self.crop))
        # A view would keep all of the image in the cache.
        part = pixels[y : y + height, x : x + width].copy()
        if self.ignored is not None:
            hidden = scale_flags(self._ignored_at(view.size)[self.area(view.size)], (height, width))
            if hidden.all():
                raise self._nothing_left(name)
            part[hidden] = GREY
        return part

    def area(self, original: Size) -> tuple[slice, slice]:
        """Return the rows and columns of an image, if it is large enough, that are looked at; of one zone."""
        x, y, width, height = find_area(original, self.region, self.crop)
        return slice(y, y + height), slice(x, x + width)

    def place(self, anomaly_map: Map, original: Size) -> Map:
        """Return a map (h, w) of a sheet at the photograph's own pixels (H, W); NaN where it was not looked at.

        Where zones overlap, the highest value counts.
        """
        if self.zones:
            parts = zip(self.of_zones, np.split(anomaly_map, len(self.zones)), strict=True)
            return np.asarray(np.fmax.reduce([one.place(part, original) for one, part in parts]))
        rows, columns = self.area(original)
        placed = np.full(original, np.nan, np.float32)
        part = (rows.stop - rows.start, columns.stop - columns.start)
        placed[rows, columns] = self._without_borders(anomaly_map, part)
        if self.ignored is not None:
            placed[self._ignored_at(original)] = np.nan
        return placed

    def _without_borders(self, anomaly_map: Map, part: Size) -> Map:
        """Return a map (h, w) at the pixels of the part that was looked at, without what a letterbox added."""
        height, width = anomaly_map.shape
        (top, bottom), (left, right) = self._borders(part, (height, width))
        if not (top + bottom + left + right):
            return resize_map(anomaly_map, part)
        down, across = height / (top + part[0] + bottom), width / (left + part[1] + right)
        box = (
            left * across, top * down, min((left + part[1]) * across, width), min((top + part[0]) * down, height),
        )  # fmt: skip
        image = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
        return np.asarray(image.resize((part[1], part[0]), Image.Resampling.BILINEAR, box=box))

    def _borders(self, part: Size, size: Size) -> Borders:
        """Return how many pixels a part lacks on each side to have the aspect of a model's input."""
        return NO_BORDERS if self.fit == "squash" else find_borders(part, size)

    def _ignored_at(self, original: Size) -> Flags:
        """Return the ignored areas at an image's size, by the nearest pixel."""
        assert self.ignored is not None
        return self.ignored if self.ignored.shape == original else scale_flags(self.ignored, original)

    def check(self, original: Size, name: object) -> None:
        """Check that an image of a size, (height, width), suits this; raises as :meth:`fitted`."""
        if self.zones:
            for one in self.of_zones:
                one.check(original, name)
            return
        self._check_size(original, name)
        if self.ignored is not None and self._ignored_at(original)[self.area(original)].all():
            raise self._nothing_left(name)

    def _nothing_left(self, name: object) -> DataError:
        what = "it" if self.region is None else f"--region {self._say_region()}"
        return DataError(f"{name}: nothing of {what} is left to look at; give another image with --ignore.")

    def _check_size(self, original: Size, name: object) -> None:
        height, width = original
        has = f"{name}: is {width} pixels wide and {height} high"
        inside = (height, width)
        if self.region is not None:
            x, y, *sides = self.region
            inside = (sides[1], sides[0])
            if x + sides[0] > width or y + sides[1] > height:
                end = f"reaches to {x + sides[0]} and {y + sides[1]}"
                raise DataError(f"{has}, and --region {self._say_region()} {end}.")
        if self.crop is not None and (self.crop[0] > inside[0] or self.crop[1] > inside[1]):
            raise DataError(f"{has}, too small for --crop {self.crop[0]}x{self.crop[1]} (height x width).")
        if self.ignored is not None:
            ignored = (self.ignored.shape[0], self.ignored.shape[1])
            if not have_same_aspect(original, ignored):
                shape = f"{ignored[1]} wide and {ignored[0]} high"
                raise DataError(f"{has}, another shape than the image of --ignore, which is {shape}.")

    def describe(self, size: Size) -> dict[str, Any]:
        """Return it as plain values; of ignored areas, the name of their file.

        Args:
            size: height and width of the model's input.
        """
        return {
            "region": self.region,
            "crop": self.crop,
            "fit": self.fit,
            "ignore": None if self.ignored is None else IGNORE_FILE,
            "grey": GREY,
            "image_size": size,
            "white": self.white,
            "tiles": None if len(self.tiling) == 1 else asdict(self.tiling),
            "zones": dict(self.zones),
            "reading": self.reading,
        }

    def _say_region(self) -> str:
        """Return the region as it is given, of a zone with its name."""
        box = "" if self.region is None else ",".join(map(str, self.region))
        return next((f"{zone.name}={box}" for zone in self.beside if zone.box == self.region), box)

    def files(self, size: Size) -> dict[str, bytes]:
        """Return, by name, the files that hold it, and code that follows them without adcli; none where it is plain.

        Args:
            size: height and width of the model's input.
        """
        tiling = self.tiling
        if self.is_plain and self.white == WHITE and len(tiling) == 1 and self.reading == "full":
            return {}
        files = {
            FRAMING_FILE: f"{json.dumps(self.describe(size))}\n".encode(),
            CODE_FILE: Path(prepare.__file__).read_bytes(),
        }
        return files if self.ignored is None else {**files, IGNORE_FILE: ignored_png(self.ignored)}


PLAIN = Framing()
"""Nothing is done to an image but resizing."""

SMALLEST = 16
"""Pixels that a side of what is looked at has at least."""


def parse_size(text: str) -> Size:
    """Return (height, width) of ``"256"`` or ``"256x128"``; at least 16 pixels each."""
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", str(text).strip().lower())
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not SMALLEST <= min(size) <= max(size) <= 8192:
        words = f"must be N or HEIGHTxWIDTH, each from {SMALLEST} to 8192 pixels, not '{text}'."
        raise OptionError(words, option="image_size")
    return size


def parse_region(text: str) -> Box:
    """Return x, y, width and height of ``"40,0,640,480"``; at least 16 pixels wide and high."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", text, re.ASCII)
    if not match or min(int(match[3]), int(match[4])) < SMALLEST:
        raise OptionError(
            f"must be X,Y,WIDTH,HEIGHT in pixels, for example 40,0,640,480, and at least {SMALLEST} wide and high, "
            f"not '{text}'.",
            option="region",
        )
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])


MOST_ZONES = 64
_ZONE_NAME = re.compile(r"[\w.-]{1,40}")


def parse_zones(text: str) -> Box | tuple[Zone, ...]:
    """Return the box of ``"0,0,640,480"``, or the zones of ``"left=0,0,640,480 right=700,0,640,480"``.

    Raises:
        OptionError: it is neither, or a name is no word, or two are alike.
    """
    # Spaces around commas and equals signs part nothing.
    words, zones = re.sub(r"\s*([,=])\s*", r"\1", text).split(), list[Zone]()
    if len(words) < 2 and "=" not in text:
        return parse_region(text)
    for word in words:
        name, equals, box = word.rpartition("=")
        if not equals or not _ZONE_NAME.fullmatch(name):
            raise OptionError(
                "must have a name if there are several, for example left=40,0,640,480, of letters, digits, dots, "
                f"underscores and hyphens, not '{word}'.",
                option="region",
            )
        # People take 'Left' and 'left' for the same, and so do the file systems that pictures are written to.
        if name.casefold() in (zone.name.casefold() for zone in zones):
            raise OptionError(f"must have a name of its own each, and two are called '{name}'.", option="region")
        zones.append(Zone(name, parse_region(box)))
    if len(zones) > MOST_ZONES:
        raise OptionError(f"may be given {MOST_ZONES} times, not {len(zones)}.", option="region")
    return tuple(zones)


def parse_crop(text: str) -> Size:
    """Return (height, width) of ``"480"`` or ``"480x640"``; at least 16 pixels each."""
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text.strip().lower(), re.ASCII)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < SMALLEST:
        words = f"must be N or HEIGHTxWIDTH, each at least {SMALLEST} pixels, not '{text}'."
        raise OptionError(words, option="crop")
    return size


def parse_white(text: object) -> int | None:
    """Return the value of 16-bit files that is white, or None for ``auto``."""
    if text == "auto":
        return None
    digits = str(text)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and CEILINGS[0] <= int(digits) <= WHITE):
        raise OptionError(f"must be auto, or a value from {CEILINGS[0]} to {WHITE}, not '{digits}'.", option="white")
    return int(digits)


def parse_framing(
    region: str | None,
    crop: str | None,
    fit: Fit,
    ignored: Flags | None = None,
    white: object = WHITE,
    *,
    tiles: str | None = None,
    overlap: float = OVERLAP,
    reading: Reading = "full",
) -> Framing:
    """Return the framing that ``--region``, ``--crop``, ``--fit``, ``--white``, ``--tiles`` and ``--reading`` describe.

    Args:
        region, crop, fit, white, tiles, reading: as on the command line and in ``run.yaml``; ``auto`` is as if
            nothing were declared.
        ignored: the areas of ``--ignore``, read from where they are.
        overlap: of tiles, as a share of their sides.

    Raises:
        OptionError: one of them cannot be read, or the crop does not fit into the region.
    """
    looked_at = () if region is None else parse_zones(region)
    zones = tuple(zone for zone in looked_at if isinstance(zone, Zone))
    box = None if zones or region is None else parse_region(region)
    centre = None if crop is None else parse_crop(crop)
    boxes = [zone.box for zone in zones] if box is None else [box]
    if centre is not None and not all(_fits(centre, it) for it in boxes):
        where = " ".join((region or "").split())
        raise OptionError(f"must fit into region {where}, and '{crop}' does not.", option="crop")
    columns, rows = (tiles and parse_tiles(tiles)) or (1, 1)
    tiling = Tiling(columns, rows, overlap)
    return Framing(box, centre, fit, ignored, parse_white(white) or WHITE, tiling, zones, reading)


def _fits(crop: Size, region: Box) -> bool:
    return crop[0] <= region[3] and crop[1] <= region[2]


def read_ignored(path: Path) -> Flags:
    """Return the ignored areas that an image marks; raises :class:`DataError` where it cannot be read, or marks all."""
    ignored = read_mask(path)
    if ignored.all():
        raise DataError(f"--ignore {path}: marks everything; nothing is left to look at.")
    return ignored


def ignored_png(ignored: Flags) -> bytes:
    """Return ignored areas as an image that :func:`read_ignored` reads."""
    content = io.BytesIO()
    Image.fromarray(ignored).save(content, "PNG")
    return content.getvalue()


def ignored_digest(ignored: Flags) -> str:
    """Return a sha256 of ignored areas, whatever format they are stored in."""
    return hashlib.sha256(f"{ignored.shape}".encode() + np.packbits(ignored).tobytes()).hexdigest()


def read_framing(folder: Path, size: Size, says: str) -> Framing:
    """Return the preparation whose :meth:`~Framing.files` lie in a folder.

    Args:
        folder: where they lie.
        size: height and width that it must be for.
        says: the file and the field that say so, for the message.

    Raises:
        DataError: a file of it is missing, or holds none, or is for another size; the message names file and field.
    """
    file = Artefact(folder / FRAMING_FILE, DataError)
    try:
        stored = load_json(file, _Stored)
    except FileNotFoundError:
        raise file.wrong("is missing") from None
    height, width = stored["image_size"]
    if size != (height, width):
        raise file.wrong(f"image_size is {height}x{width}, but {says} is {size[0]}x{size[1]}")
    region, crop = stored["region"], stored["crop"]
    box = None if region is None else (region[0], region[1], region[2], region[3])
    centre = None if crop is None else (crop[0], crop[1])
    zones = tuple(Zone(name, (it[0], it[1], it[2], it[3])) for name, it in stored.get("zones", {}).items())
    boxes = [] if box is None else [box]
    if centre is not None and not all(_fits(centre, it) for it in (*boxes, *(zone.box for zone in zones))):
        raise file.wrong("crop does not fit into region")
    ignored = None if stored["ignore"] is None else read_ignored(folder / IGNORE_FILE)
    tiles = stored.get("tiles")
    tiling = WHOLE if tiles is None else Tiling(tiles["columns"], tiles["rows"], tiles["overlap"])
    white, reading = stored.get("white", WHITE), stored.get("reading", "full")
    return Framing(box, centre, stored["fit"], ignored, white, tiling, zones, reading)
