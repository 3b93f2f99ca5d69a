"""The page on which one looks at photographs before training: zones, ignored areas, tiles, and what a model sees."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from adcli import __version__
from adcli.data.decoding import Pixels, Size, resize
from adcli.data.framing import Flags, Zone, ignored_png
from adcli.data.framing_standalone import scale_flags
from adcli.data.samples import have_same_aspect
from adcli.report._templates import fill_template

GENERATOR = "adcli preview"
"""What a page says near its beginning, so that it may be written over."""

SHOWN_PIXELS = 2400 * 1800
"""Pixels of a photograph on the page: as many as a model sees of one of 12 megapixels in as many tiles as it takes."""

IGNORED_PIXELS = 1600 * 1200
"""Pixels of the picture of ignored areas."""

LONGEST = 8192
"""Longest side of a photograph on the page; browsers draw no larger ones."""

LOSSLESS_PIXELS = 640 * 480
"""Pixels of a photograph up to which all of them are on the page as they are."""

PHOTO_BYTES = 500_000
"""What an encoded photograph takes at most if it is large, before a third more as text."""

QUALITIES = (88, 75, 60, 40)


@dataclass(frozen=True)
class Shot:
    """A photograph on the page.

    Attributes:
        name: path, relative to the folder of all.
        kind: what is known of it: ``"good"`` or a kind of defect; empty if nothing is.
        width, height: of the file, in pixels.
        shown_width, shown_height: of its picture.
        picture: its picture, as a data URI.
    """

    name: str
    kind: str
    width: int
    height: int
    shown_width: int
    shown_height: int
    picture: str


@dataclass(frozen=True)
class Start:
    """What the page begins with, as the command line has it.

    Attributes:
        zones: parts to look at; none for all, and a single one may have no name.
        fit: ``squash`` or ``letterbox``.
        tiles: ``auto``, columns and rows as in ``4x3``, or None for one.
        overlap: of tiles, as a share of their sides.
        image_size: ``auto``, height and width, or None for the model's.
        ignore: the file of ignored areas, as it was typed; empty if there is none.
        ignored: these areas, (h, w).
    """

    zones: Sequence[Zone] = ()
    fit: str = "squash"
    tiles: str | None = None
    overlap: float = 0.125
    image_size: str | Size | None = None
    ignore: str = ""
    ignored: Flags | None = None


class ModelInput(NamedTuple):
    """What a model looks at: height and width, and whether they take the photographs' aspect unless it is told."""

    size: Size
    shaped: bool


@dataclass(frozen=True)
class PreviewPage:
    """What a page shows.

    Attributes:
        title: what the photographs are of.
        description: the line that says what was recognised.
        command: the words of ``adcli train`` that say which data, as a shell reads them.
        windows: whether that is a shell of Windows.
        models: the input of each model, by its name.
        model: the one that the page begins with.
        shots: some photographs.
        sizes: height and width of all photographs to train on, and how many have them.
        start: zones, areas, tiles and size.
    """

    title: str
    description: str
    command: str
    windows: bool
    models: Mapping[str, ModelInput]
    model: str
    shots: Sequence[Shot]
    sizes: Sequence[tuple[int, int, int]]
    start: Start


def shrink(pixels: Pixels, name: str, kind: str) -> Shot:
    """Return a photograph (H, W, 3) for the page: of some four megapixels, and as it is if it is small."""
    height, width = pixels.shape[:2]
    if height * width <= LOSSLESS_PIXELS and max(height, width) <= LONGEST:
        content, shown = _encode(pixels, lossless=True), (height, width)
    else:
        content, shown = _encode_large(pixels)
    return Shot(name, kind, width, height, shown[1], shown[0], to_uri(content, "webp"))


def _encode_large(pixels: Pixels) -> tuple[bytes, Size]:
    """Return a picture of as many bytes as there may be at most, of lower quality, then smaller, and its size."""
    most = SHOWN_PIXELS
    while True:
        shown = fit_page((pixels.shape[0], pixels.shape[1]), most)
        resized = np.ascontiguousarray(resize(pixels, shown))
        for quality in QUALITIES:
            content = _encode(resized, quality=quality)
            if len(content) <= PHOTO_BYTES:
                return content, shown
        most //= 2


def _encode(pixels: Pixels, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "WEBP", method=2, **options)
    return content.getvalue()


def fit_page(size: Size, pixels: int) -> Size:
    """Return a height and width of some pixels at most, or more if the aspect of a size asks for it."""
    while True:
        scale = min((pixels / (size[0] * size[1])) ** 0.5, LONGEST / max(size), 1.0)
        shown = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        if scale == 1 or have_same_aspect(size, shown) or max(shown) == LONGEST:
            return shown
        pixels *= 2


def to_uri(content: bytes, form: str) -> str:
    """Return an encoded picture as a data URI."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def render_preview(page: PreviewPage) -> str:
    """Return the page as HTML, self-contained."""
    known = _describe(page)
    return fill_template("preview.html", page=page, version=__version__, generator=GENERATOR, known=known)


def _describe(page: PreviewPage) -> dict[str, Any]:
    """Return what the script of a page has to know."""
    start, first = page.start, page.shots[0]
    area = fit_page((first.height, first.width), IGNORED_PIXELS)
    ignored = "" if start.ignored is None else to_uri(ignored_png(scale_flags(start.ignored, area)), "png")
    return {
        "command": page.command,
        "windows": page.windows,
        "models": {name: found._asdict() for name, found in page.models.items()},
        "model": page.model,
        # Their pictures stand in the page itself.
        "shots": [{**asdict(shot), "picture": None} for shot in page.shots],
        "sizes": page.sizes,
        "area": area,
        **{name: getattr(start, name) for name in ("fit", "tiles", "overlap", "image_size", "ignore")},
        "zones": [
            dict(zip(("name", "x", "y", "width", "height"), (zone.name, *zone.box), strict=True))
            for zone in start.zones
        ],
        "ignored": ignored,
    }
