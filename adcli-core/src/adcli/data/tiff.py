"""Cutting a part out of a TIFF without decoding the rest: its strips or tiles become a smaller TIFF."""

import hashlib
import io
import math
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import IO, NamedTuple

from adcli.data.view import Box

MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
"""How a TIFF begins, and the order of its bytes; with a plus, its positions have 64 bits."""

BLOCK = 1 << 20
"""Bytes that are read at a time."""

MOST_BYTES = 1 << 31
"""What a cut may hold: its positions have 32 bits."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
STRIPS, ROWS, STRIP_BYTES, PLANES = 273, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325

KEPT = (BITS, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, PLANES, 292, 293, 317, 320, 338, 339, 347, 529, 530, 531, 532)
"""What says how pixels are written: bits, order of bits, predictor, palette, kinds of samples, tables, chroma."""

RAW, OLD_JPEG = 1, 6
YCBCR = 6

_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by type."""

_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Of types that hold counts."""


class Entry(NamedTuple):
    """What a TIFF says under a number: the type, how many values, and their bytes as they are in the file."""

    kind: int
    values: int
    content: bytes


class Cut(NamedTuple):
    """A smaller TIFF.

    Attributes:
        ranges: where in the file its bytes lie, (position, length).
        corner: x and y of its upper left corner in the image.
        order: of bytes, as :mod:`struct` has it.
        entries: what it says about itself.
        lengths: bytes of each of its strips or tiles.
        numbers: under which their positions and lengths are written.
    """

    ranges: Sequence[tuple[int, int]]
    corner: tuple[int, int]
    order: str
    entries: dict[int, Entry]
    lengths: Sequence[int]
    numbers: tuple[int, int]

    def head(self) -> bytes:
        """Return what the file begins with; the bytes of all ranges follow."""
        entries = {**self.entries, self.numbers[1]: _count(self.lengths, self.order)}
        # Positions take as many bytes whatever they are.
        entries[self.numbers[0]] = _count([0] * len(self.lengths), self.order)
        begin = len(_write(entries, self.order))
        entries[self.numbers[0]] = _count([begin + before for before in _add_up(self.lengths)], self.order)
        return _write(entries, self.order)


def plan_cut(file: IO[bytes], part: Box) -> Cut | None:
    """Return how to cut out the strips or tiles that a part touches; None if a TIFF must be decoded whole.

    It must if it has a compression that needs the rest, or if what it says about itself is not regular: whoever decodes
    it says what is wrong.

    Args:
        file: open, of any format.
        part: in pixels of the image as it lies in the file.
    """
    try:
        order, entries = _read_directory(file)
        return _plan(order, entries, part, file.seek(0, 2))
    except (_IrregularError, struct.error, KeyError, ZeroDivisionError):
        return None


def gather(file: IO[bytes], cut: Cut) -> tuple[io.BytesIO, str]:
    """Read a file once; return the smaller one, and the sha256 of all of it."""
    found = io.BytesIO()
    digest, begin = hashlib.sha256(), found.write(cut.head())
    if cut.ranges:
        # It grows to its size at once.
        found.seek(begin + sum(cut.lengths) - 1)
        found.write(b"\0")
    intos = _add_up([length for _, length in cut.ranges])
    places = sorted((start, length, begin + into) for (start, length), into in zip(cut.ranges, intos, strict=True))
    file.seek(0)
    position, first = 0, 0
    with found.getbuffer() as buffer:
        while block := file.read(BLOCK):
            digest.update(block)
            end = position + len(block)
            while first < len(places) and places[first][0] + places[first][1] <= position:
                first += 1
            for start, length, into in islice(places, first, None):
                if start >= end:
                    break
                low, high = max(start, position), min(start + length, end)
                if low < high:
                    buffer[into + low - start : into + high - start] = block[low - position : high - position]
            position = end
    found.seek(0)
    return found, digest.hexdigest()


class _IrregularError(Exception):
    """The file is none that can be cut."""


def _read_directory(file: IO[bytes]) -> tuple[str, dict[int, Entry]]:
    """Return the order of bytes, and what the first image of a TIFF says about itself."""
    file.seek(0)
    mark = file.read(4)
    if mark not in MAGIC:
        raise _IrregularError
    order, wide = MAGIC[mark], b"+" in mark
    if wide:
        file.read(4)
    place, word = ("Q", 8) if wide else ("I", 4)
    (start,) = struct.unpack(order + place, file.read(word))
    file.seek(start)
    (count,) = struct.unpack(order + ("Q" if wide else "H"), file.read(8 if wide else 2))
    if count > 4096:
        raise _IrregularError
    size = 4 + 2 * word
    table = file.read(count * size)
    length = file.seek(0, 2)
    entries = {}
    for i in range(count):
        number, kind, values = struct.unpack_from(f"{order}HH{place}", table, i * size)
        if number in entries or values * _UNITS.get(kind, 1) > length:
            raise _IrregularError
        content = table[(i + 1) * size - word : (i + 1) * size]
        needed = values * _UNITS.get(kind, 1)
        if needed > word:
            file.seek(struct.unpack(order + place, content)[0])
            content = file.read(needed)
        entries[number] = Entry(kind, values, content[:needed])
    return order, entries


class _Layout(NamedTuple):
    """How the pixels of a TIFF lie in it.

    Attributes:
        width, height: of the image.
        wide, high: of a tile, or of a strip.
        planes: how often all strips or tiles are there, for a channel each.
        ranges: where they are, and how many bytes they have.
        line: bytes of a line of strips that are not compressed; else 0.
        pixel: bytes of a pixel in such a line; 0 if pixels share bytes.
    """

    width: int
    height: int
    wide: int
    high: int
    planes: int
    ranges: Sequence[tuple[int, int]]
    line: int
    pixel: int

    def choose(self, part: Box) -> tuple[Box, list[list[tuple[int, int]]]]:
        """Return the smallest box around a part that can be cut out, and the ranges of it, by its strips or tiles."""
        x, y, width, height = part
        across, down = math.ceil(self.width / self.wide), math.ceil(self.height / self.high)
        columns = range(x // self.wide, math.ceil((x + width) / self.wide))
        rows = range(y // self.high, math.ceil((y + height) / self.high))
        firsts = [plane * across * down for plane in range(self.planes)]
        if self.line:
            left, wide = (x, width) if self.pixel else (0, self.width)
            return (left, y, wide, height), [self._lines(first, (left, y, wide, height)) for first in firsts]
        left, top = columns.start * self.wide, rows.start * self.high
        right, bottom = min(columns.stop * self.wide, self.width), min(rows.stop * self.high, self.height)
        chosen = (first + row * across + column for first in firsts for row in rows for column in columns)
        return (left, top, right - left, bottom - top), [[self.ranges[i]] for i in chosen]

    def _lines(self, first: int, box: Box) -> list[tuple[int, int]]:
        """Return the ranges of the lines of a box, from the strips of a plane, which begin with the first."""
        x, y, width, height = box
        ranges = []
        for row in range(y, y + height):
            start, length = self.ranges[first + row // self.high]
            line = row % self.high
            if (line + 1) * self.line > length:
                raise _IrregularError
            ranges.append((start + line * self.line + x * self.pixel, width * self.pixel if self.pixel else self.line))
        return ranges


def _plan(order: str, entries: dict[int, Entry], part: Box, length: int) -> Cut:
    tiled = TILES in entries
    names = (TILES, TILE_BYTES) if tiled else (STRIPS, STRIP_BYTES)
    layout = _find_layout(order, entries, names)
    box, pieces = layout.choose(part)
    ranges = [one for piece in pieces for one in piece]
    # Forged ones may overlap, and hold more than the file.
    if sum(count for _, count in ranges) > min(length, MOST_BYTES) or any(sum(one) > length for one in ranges):
        raise _IrregularError
    kept = {number: entries[number] for number in KEPT if number in entries}
    if any(entry.kind > 12 for entry in kept.values()):
        raise _IrregularError
    kept |= {WIDTH: _count([box[2]], order), HEIGHT: _count([box[3]], order)}
    if tiled:
        kept |= {number: entries[number] for number in (TILE_WIDTH, TILE_HEIGHT)}
    else:
        kept[ROWS] = _count([box[3] if layout.line else layout.high], order)
    lengths = [sum(count for _, count in piece) for piece in pieces]
    return Cut(ranges, (box[0], box[1]), order, kept, lengths, names)


def _find_layout(order: str, entries: dict[int, Entry], names: tuple[int, int]) -> _Layout:
    def find(number: int, default: int | None = None) -> int:
        return _numbers(order, entries, number, default)[0]

    width, height = find(WIDTH), find(HEIGHT)
    tiled = names[0] == TILES
    wide, high = (find(TILE_WIDTH), find(TILE_HEIGHT)) if tiled else (width, min(find(ROWS, height), height))
    compression, samples = find(COMPRESSION, RAW), find(SAMPLES, 1)
    planes = samples if find(PLANES, 1) == 2 else 1
    ranges = list(zip(*(_numbers(order, entries, number) for number in names), strict=False))
    if compression == OLD_JPEG or len(ranges) != math.ceil(width / wide) * math.ceil(height / high) * planes:
        raise _IrregularError
    bits = _numbers(order, entries, BITS, 1)
    each = bits[0] if planes > 1 else sum(bits) if len(bits) == samples else bits[0] * samples
    in_lines = compression == RAW and not tiled and find(PHOTOMETRIC, 0) != YCBCR
    line, pixel = (math.ceil(width * each / 8), 0 if each % 8 else each // 8) if in_lines else (0, 0)
    return _Layout(width, height, wide, high, planes, ranges, line, pixel)


def _numbers(order: str, entries: dict[int, Entry], number: int, default: int | None = None) -> Sequence[int]:
    """Return the counts under a number."""
    if number not in entries and default is not None:
        return [default]
    entry = entries[number]
    if entry.values == 0:
        raise _IrregularError
    return struct.unpack(f"{order}{entry.values}{_LETTERS[entry.kind]}", entry.content)


def _count(values: Sequence[int], order: str) -> Entry:
    return Entry(4, len(values), struct.pack(f"{order}{len(values)}I", *values))


def _write(entries: dict[int, Entry], order: str) -> bytes:
    """Return the beginning of a file that says some things about itself."""
    begin = 8 + 2 + 12 * len(entries) + 4
    table, further = bytearray(), bytearray()
    for number, entry in sorted(entries.items()):
        content = entry.content.ljust(4, b"\0")
        if len(content) > 4:
            content = struct.pack(order + "I", begin + len(further))
            # Begins at an even position.
            further += entry.content + b"\0" * (len(entry.content) % 2)
        table += struct.pack(f"{order}HHI", number, entry.kind, entry.values) + content
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return head + bytes(table) + bytes(4) + bytes(further)


def _add_up(lengths: Sequence[int]) -> Iterator[int]:
    """Yield the sum of what is before each length."""
    return accumulate(lengths[:-1], initial=0) if lengths else iter(())
