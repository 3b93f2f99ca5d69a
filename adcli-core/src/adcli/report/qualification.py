"""The record of what a run would miss, as a page: a table, curves, maps, and pictures of drawn defects."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from adcli import __version__
from adcli.data.decoding import Pixels
from adcli.data.defects import KINDS, LEVELS_PER_SIGMA
from adcli.pictures.cards import fitted
from adcli.report._templates import fill_template
from adcli.report.preview import to_uri
from adcli.scoring.detection import PROPOSING, SHARE, TESTS, Detection, Drawn, Missed, count_permitted
from adcli.scoring.repeats import Agreement

GENERATOR = "adcli qualify"

CROP_SIDE = 180
"""Side of the picture of a drawn defect, in pixels."""

LEAST_CROP = 48
"""Pixels of the photograph in it, at least."""

GROUND_SIDE = 420
"""Longest side of the photograph under the maps, in pixels."""

CELLS = 8
"""Columns and rows of a map."""

FEWEST = 3
"""Defects in a cell of a map, at least, for its share to be shown."""

MEANINGS = {
    "scratch": "a thin line, slightly bent",
    "spot": "a filled disc",
    "stain": "a cloud that fades to its edge",
    "piece": "a flat polygon in the place of the surface: something is missing, or foreign",
    "blur": "a blurred disc",
}

PLOT = (260, 170)
_LEFT, _TOP, _BOTTOM = 34, 10, 34


@dataclass(frozen=True)
class Example:
    """Pictures of a drawn defect, close up.

    Attributes:
        drawn: the defect.
        without, with_it: the same part of the photograph, as data URIs.
    """

    drawn: Drawn
    without: str
    with_it: str

    @classmethod
    def of(cls, drawn: Drawn, before: Pixels, after: Pixels) -> "Example":
        """Make the pictures from a photograph (H, W, 3) without the defect and with it."""
        side = max(3 * max(drawn.box), LEAST_CROP)
        part = tuple(
            _window(start + extent // 2, side, total)
            for start, extent, total in zip(drawn.corner, drawn.box, before.shape, strict=False)
        )
        return cls(drawn, _picture(before[part]), _picture(after[part]))


def _window(middle: int, side: int, total: int) -> slice:
    start = min(max(middle - side // 2, 0), max(total - side, 0))
    return slice(start, start + side)


def _picture(pixels: Pixels) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = CROP_SIDE / max(image.size)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return _encode(image.resize(size, how), 85)


def shrink_ground(pixels: Pixels) -> str:
    """Return a photograph (H, W, 3) as a small picture, a data URI."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _encode(image.resize(fitted(image.size, GROUND_SIDE), Image.Resampling.LANCZOS), 70)


def _encode(image: Image.Image, quality: int) -> str:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality, method=2)
    return to_uri(content.getvalue(), "webp")


class Cell(NamedTuple):
    """A part of a map: where it is, in percent of the photograph, and what was found there."""

    left: float
    top: float
    missed: int
    drawn: int

    @property
    def share(self) -> float:
        return self.missed / self.drawn


class Line(NamedTuple):
    """A curve: its number, its contrast, its path, and its points with what they say."""

    number: int
    contrast: str
    path: str
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class KindPart:
    """What a page shows of a kind of defect.

    Attributes:
        kind: its name.
        meaning: what it looks like.
        detections: of each contrast.
        lines: its curves.
        cells: of its map.
        dots: where defects were missed, in percent of the photograph.
        total: defects that were drawn.
        missed: of these.
    """

    kind: str
    meaning: str
    detections: Sequence[Detection]
    lines: Sequence[Line]
    cells: Sequence[Cell]
    dots: Sequence[tuple[float, float]]
    total: int
    missed: int


@dataclass(frozen=True)
class QualificationPage:
    """What a page shows.

    Attributes:
        record: all that is written down, as plain values.
        detections: of each kind and contrast.
        drawn: every drawn defect.
        missed: real defects, by kind.
        agreement: of photographs of one part; None if none were given.
        examples: pictures of drawn defects.
        ground: the photograph under the maps, as a data URI.
    """

    record: Mapping[str, Any]
    detections: Sequence[Detection]
    drawn: Sequence[Drawn]
    missed: Sequence[Missed]
    agreement: Agreement | None
    examples: Sequence[Example]
    ground: str


def render_qualification(page: QualificationPage) -> str:
    """Return the page as HTML, self-contained."""
    settings = page.record["settings"]
    return fill_template(
        "qualification.html",
        page=page,
        record=page.record,
        version=__version__,
        generator=GENERATOR,
        kinds=[_describe_kind(kind, page) for kind in KINDS],
        contrasts=[_say_contrast(value) for value in settings["contrasts"]],
        sizes=settings["sizes"],
        permitted=count_permitted(settings["draws"]),
        share=SHARE,
        tests=TESTS,
        proposing=PROPOSING,
        sigmas=", ".join(_say_contrast(value / LEVELS_PER_SIGMA) for value in settings["contrasts"]),
        plot=PLOT,
        ticks=list(_ticks(settings["sizes"])),
        strip=None if page.agreement is None else _strip(page.agreement),
        details=dict(_flat("", page.record)),
        kept=json.dumps(page.record, ensure_ascii=True).replace("<", "\\u003c"),
    )


def _say_contrast(value: float) -> str:
    return f"{value:g}"


def _describe_kind(kind: str, page: QualificationPage) -> KindPart:
    detections = [one for one in page.detections if one.kind == kind]
    drawn = [one for one in page.drawn if one.draw.kind == kind]
    sizes = page.record["settings"]["sizes"]
    lines = [_draw_line(number, one, drawn, sizes) for number, one in enumerate(detections)]
    missed = [one for one in drawn if not one.found]
    dots = [(100 * one.middle[1], 100 * one.middle[0]) for one in missed]
    return KindPart(kind, MEANINGS[kind], detections, lines, list(_cells(drawn)), dots, len(drawn), len(missed))


def _place(number: int, sizes: Sequence[int]) -> float:
    """Return where a size stands in a plot: at even distances, since each is about as many times the one before."""
    return _LEFT + 12 + number * (PLOT[0] - _LEFT - 24) / max(len(sizes) - 1, 1)


def _height(share: float) -> float:
    return _TOP + (1 - share) * (PLOT[1] - _TOP - _BOTTOM)


def _ticks(sizes: Sequence[int]) -> Iterator[tuple[float, int]]:
    for number, size in enumerate(sizes):
        yield _place(number, sizes), size


def _draw_line(number: int, one: Detection, drawn: Sequence[Drawn], sizes: Sequence[int]) -> Line:
    points = list[tuple[float, float, str]]()
    for place, size in enumerate(sizes):
        found = [other.found for other in drawn if other.draw.contrast == one.contrast and other.draw.size == size]
        if found:
            share = sum(found) / len(found)
            said = f"{size} px, contrast {_say_contrast(one.contrast)}: {sum(found)} of {len(found)} found"
            points.append((round(_place(place, sizes), 1), round(_height(share), 1), said))
    path = "".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y, _) in enumerate(points))
    return Line(number, _say_contrast(one.contrast), path, points)


def _cells(drawn: Sequence[Drawn]) -> Iterator[Cell]:
    for row in range(CELLS):
        for column in range(CELLS):
            found = [one.found for one in drawn if _cell_of(one) == (row, column)]
            if len(found) >= FEWEST:
                yield Cell(100 * column / CELLS, 100 * row / CELLS, found.count(False), len(found))


def _cell_of(one: Drawn) -> tuple[int, int]:
    down, across = (min(int(CELLS * share), CELLS - 1) for share in one.middle)
    return down, across


def _strip(found: Agreement) -> Mapping[str, Any]:
    """Return where the scores of parts lie in a strip from 0 to 100, those of each part in a row."""
    values = [score for part in found.parts for score in part.scores]
    low, high = min(*values, found.threshold), max(*values, found.threshold)
    span = (high - low) or 1.0

    def place(score: float) -> float:
        return round(4 + 92 * (score - low) / span, 2)

    return {
        "threshold": place(found.threshold),
        "rows": [(part.part, [place(score) for score in part.scores]) for part in found.parts],
    }


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the leaves of a record by dotted name; lists in a line, and long ones not at all."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in ("detections", "real_defects", "repeats", "images"):
                yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value)) or "none"
    else:
        yield prefix, str(value)
