"""Streams of photographs and of model inputs: decoded in threads, ahead of their use, within bounds on memory."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from pathlib import Path
from typing import NamedTuple, TypeVar

from adcli._showing import introduce
from adcli.data.ahead import read_ahead
from adcli.data.decoding import Pixels, Size, is_grey, share_channels
from adcli.data.framing import PLAIN, Framing
from adcli.data.left_out import COLOUR, GREY, Omissions, Reason
from adcli.data.photograph import ImageLike, Photograph, Unreadable, open_photograph
from adcli.data.view import Look, look_at_all
from adcli.errors import DataError

DEFAULT_CACHE_BYTES = 256 << 20

PARTED_BYTES = 256 << 20
"""What the photographs take at most of which parts are shuffled; fixed, as the order decides what is learnt."""

MOST_NOTED = 100_000
"""Odd photographs that are known again; a stream may have no end."""

T = TypeVar("T")
Result = TypeVar("Result")


class Item(NamedTuple):
    """What is fitted or scored as one: a photograph in a file, or a part of one.

    Attributes:
        path: of the file.
        part: which tile it is, of those of all zones; None for the whole photograph.
    """

    path: Path
    part: int | None = None

    def __repr__(self) -> str:
        return introduce(self, self.path, "" if self.part is None else f"part {self.part}")


class Decoded(NamedTuple):
    """What a model looks at: its input, or a sheet of several.

    Attributes:
        pixels: framed and resized, (h, w, 3); zones lie below each other, and tiles overlap.
        original_size: height and width of the photograph.
        digest: of the photograph, as :class:`Photograph` has it.
    """

    pixels: Pixels
    original_size: Size
    digest: str

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        return introduce(self, "", f"{width}x{height} pixels", "of {1}x{0}".format(*self.original_size))


class ImageSource:
    """Decodes images to one size, ahead of their use, and keeps as many of them as fit its cache.

    The cache is filled in the order of first use and then kept: with passes that visit every image in turn, replacing
    old entries would throw out each image just before it is needed again.

    Args:
        size: height and width of the model's input.
        workers: decoding threads; 0 decodes in the calling thread.
        cache_bytes: bound on what is kept in memory; 0 keeps none.
        skip_unreadable: have ``stream`` leave unreadable images out and collect their errors in ``skipped``, instead of
            raising; ``photographs`` yields something for each in any case.
        framing: what is done to images before they are resized.
        learnt_from: ``"grey"`` or ``"colours"``, if images of the other kind are to be noted.

    Attributes:
        left_out: what of the images that were read is not in their pixels, each counted once.
        skipped: what was wrong with each image that was left out, by name.
        digests: sha256 of each file that was read, by path, for those who want them; None keeps none.
    """

    def __init__(
        self,
        size: Size,
        *,
        workers: int = 2,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        skip_unreadable: bool = False,
        framing: Framing = PLAIN,
        learnt_from: str = "",
    ) -> None:
        self.size = size
        self.workers = workers
        self.cache_bytes = cache_bytes
        self.skip_unreadable = skip_unreadable
        self.framing = framing
        self.learnt_from = learnt_from
        self.left_out = Omissions()
        self.skipped: dict[str, str] = {}
        self.digests: dict[Path, str] | None = None
        self._cache: dict[Item, Decoded] = {}
        self._cached_bytes = 0
        self._noted: set[str] = set()

    def open(self, item: Item) -> Photograph:
        """Return the photograph of an item, decoded as the framing wants it."""
        return open_photograph(item.path, white=self.framing.white, look=self._look(item.path))

    def _look(self, name: object) -> Look:
        """Return what tells which pixels of a file are decoded."""
        framing = self.framing
        if framing.is_plain and framing.reading == "full":
            return look_at_all
        return lambda original: framing.view(original, self.size, name)

    @property
    def photographs_at_once(self) -> int:
        """How many photographs are held at a time by those who want parts of theirs in a random order."""
        height, width = self.framing.find_sheet(self.size)
        return max(PARTED_BYTES // (3 * height * width), 1)

    def parts(self, item: Item) -> list[Item]:
        """Return what a model is fitted to of an item: the tiles of its zones, if there are any."""
        parts = self.framing.parts
        return [item] if parts == 1 or item.part is not None else [Item(item.path, part) for part in range(parts)]

    def of_zones(self) -> "list[ImageSource]":
        """Return what reads one zone, for each; of none, this. They note in the same place what is odd."""
        if not self.framing.zones:
            return [self]
        sources = [copy.copy(self) for _ in self.framing.zones]
        for source, framing in zip(sources, self.framing.of_zones, strict=True):
            # Whoever looks at one zone after the other looks at each photograph once.
            source.framing, source.cache_bytes, source._cache = framing, 0, {}
        return sources

    def fit(self, photograph: Photograph) -> Decoded:
        """Return what a model gets of a photograph, or the sheet of its parts.

        Raises:
            DataError: it does not suit the framing.
        """
        if self.digests is not None and photograph.path is not None:
            self.digests[photograph.path] = photograph.digest
        pixels, odd = photograph.pixels, [*photograph.oddities]
        if self.learnt_from:
            seen = self._find_seen(photograph)
            grey = is_grey(seen)
            # One value everywhere, such as a black frame, tells nothing of colours, nor does one zone of several.
            is_plain = self.framing.beside or (grey and seen.min() == seen.max())
            if grey != (self.learnt_from == "grey") and not is_plain:
                odd.append(GREY if grey else COLOUR)
            # Nobody compares its channels again.
            pixels = share_channels(pixels[:, :, 0]) if grey else pixels
        if odd:
            self._note(odd, photograph.name)
        pixels = self.framing.fitted(pixels, self.size, photograph.name, photograph.view)
        return Decoded(pixels, photograph.size, photograph.digest)

    def _find_seen(self, photograph: Photograph) -> Pixels:
        """Return the box around what is looked at, which alone was decoded of some photographs."""
        if photograph.view is not None:
            return photograph.pixels
        x, y, width, height = self.framing.view(photograph.size, self.size, photograph.name).part
        return photograph.pixels[y : y + height, x : x + width]

    def _note(self, odd: Iterable[Reason], name: str) -> None:
        """Note once, as training reads its images again and again, what is odd about a photograph."""
        if name not in self._noted:
            if len(self._noted) < MOST_NOTED:
                self._noted.add(name)
            for reason in odd:
                self.left_out.add(reason, name)

    def read(self, item: Item) -> Decoded:
        """Return what a model gets of an item, from the cache if it is there.

        Raises:
            DataError: it cannot be read.
        """
        whole = Item(item.path)
        cached = self._cache.get(whole)
        return self._cut(cached if cached is not None else self.fit(self.open(whole)), item.part)

    def _cut(self, whole: Decoded, part: int | None) -> Decoded:
        return whole if part is None else whole._replace(pixels=self.framing.cut_part(whole.pixels, self.size, part))

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, Decoded]]:
        """Yield whole photographs, and what is looked at of each, in order; keep what fits the cache."""
        for item, image in self._readable(items, self.read, lambda image: image.pixels.nbytes, self._cache.get):
            if item not in self._cache and self._cached_bytes + image.pixels.nbytes <= self.cache_bytes:
                self._cache[item] = image
                self._cached_bytes += image.pixels.nbytes
            yield item, image

    def stream_parts(self, parts: Iterable[Item]) -> Iterator[tuple[Item, Decoded]]:
        """Yield what :meth:`parts` returns, and the model's input of each, in order.

        A photograph is decoded once for all its parts that lie among those of :attr:`photographs_at_once` photographs.
        """
        yield from self.stream(parts) if self.framing.parts == 1 else self._stream_several(parts)

    def _stream_several(self, parts: Iterable[Item]) -> Iterator[tuple[Item, Decoded]]:
        first, second = tee(self._group(parts))
        reading = self.stream(Item(path) for group in first for path in dict.fromkeys(item.path for item in group))
        following = next(reading, None)
        for group in second:
            remaining, held = Counter(item.path for item in group), dict[Path, Decoded]()
            for item in group:
                # What cannot be read any more is missing among those that are.
                while item.path not in held and following is not None and following[0].path in remaining:
                    held[following[0].path] = following[1]
                    following = next(reading, None)
                if item.path in held:
                    yield item, self._cut(held[item.path], item.part)
                remaining[item.path] -= 1
                if not remaining[item.path]:
                    held.pop(item.path, None)

    def _group(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Yield successive items of a number of photographs at most."""
        group, paths = list[Item](), set[Path]()
        for item in items:
            if item.path not in paths and len(paths) == self.photographs_at_once:
                yield group
                group, paths = [], set()
            group.append(item)
            paths.add(item.path)
        if group:
            yield group

    def photographs(
        self, sources: Iterable[ImageLike | Unreadable]
    ) -> Iterator[tuple[Photograph, Decoded] | Unreadable]:
        """Yield photographs at their own size, and what a model gets of each, in the given order.

        In the place of one that cannot be read, or does not suit the framing, it yields an :class:`Unreadable`.
        """

        def load(numbered: tuple[int, ImageLike | Unreadable]) -> tuple[Photograph, Decoded] | Unreadable:
            number, source = numbered
            if isinstance(source, Unreadable):
                return source
            try:
                look = self._look(name_of(numbered))
                photograph = open_photograph(source, f"image {number}", self.framing.white, look, keep_rest=True)
                return photograph, self.fit(photograph)
            except DataError as error:
                path = Path(source) if isinstance(source, (str, Path)) else getattr(source, "path", None)
                return Unreadable(name_of(numbered), error.message, path)

        def held(loaded: tuple[Photograph, Decoded] | Unreadable) -> int:
            return 0 if isinstance(loaded, Unreadable) else loaded[0].pixels.nbytes

        for _, loaded in read_ahead(enumerate(sources, 1), load, held, self.workers):
            yield loaded

    def _readable(
        self,
        items: Iterable[T],
        load: Callable[[T], Result],
        size: Callable[[Result], int],
        known: Callable[[T], Result | None] = lambda _: None,
    ) -> Iterator[tuple[T, Result]]:
        """Yield what can be loaded; raise at the first that cannot, unless it is to be skipped."""

        def attempt(item: T) -> Result | DataError:
            try:
                return load(item)
            except DataError as error:
                return error

        def held(result: Result | DataError) -> int:
            return 0 if isinstance(result, DataError) else size(result)

        for item, result in read_ahead(items, attempt, held, self.workers, known):
            if not isinstance(result, DataError):
                yield item, result
            elif self.skip_unreadable:
                # What to do about it has been done.
                self.skipped[name_of(item)] = result.message
            else:
                raise result


def name_of(item: object) -> str:
    """Return the name of an item, or of a numbered source, for messages."""
    if isinstance(item, Item):
        return str(item.path)
    number, source = item if isinstance(item, tuple) else (0, item)
    return str(source) if isinstance(source, (str, Path)) else getattr(source, "name", f"image {number}")


def in_batches(
    items: Iterable[T], count: int, limit: int = 0, size: Callable[[T], int] = lambda _: 0
) -> Iterator[list[T]]:
    """Yield lists of ``count`` items, the last of which may be shorter.

    Args:
        items: what is gathered.
        count: of each list, at most.
        limit: bytes that end a list before, if it holds at least one; 0 for none.
        size: bytes that an item takes.
    """
    gathered: list[T] = []
    held = 0
    for item in items:
        gathered.append(item)
        held += size(item)
        if len(gathered) == count or 0 < limit <= held:
            yield gathered
            gathered, held = [], 0
    if gathered:
        yield gathered


def items_of(paths: Iterable[Path]) -> list[Item]:
    """Return the items of image files."""
    return [Item(path) for path in paths]
