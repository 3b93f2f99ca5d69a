"""From what size on drawn defects are found: which ones to draw, and what may be said of those that were scored.

For each kind of defect and each contrast, a few defects of every size are drawn first. They propose the smallest size
from which on nearly all are found. New ones then test it. Where they refute it, further ones test the next larger size,
and no more than that. Both tests have half of the permitted error, so that with the stated confidence no wrong size is
stated, whatever the first draws proposed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from adcli._showing import introduce
from adcli.data.defects import Measured
from adcli.metrics import interval

SHARE = 0.95
"""Share of defects that are to be found."""

CONFIDENCE = 0.95

TESTS = 2
"""Sizes of one kind and contrast that may be tested."""

DRAWS = 110
"""Defects that test a size; one of them may be missed."""

PROPOSING = 10
"""Defects of each size that are drawn first."""

TOLERATED = 1
"""Of these, how many of each size that is larger than the proposed one may be missed."""

STEPS = (30, 60)
"""A test whose result is known after so many defects ends there."""


class Draw(NamedTuple):
    """A defect that is to be drawn.

    Attributes:
        kind: as :data:`adcli.data.defects.KINDS` names it.
        contrast: in levels.
        size: in pixels.
        number: which of those of its kind and contrast; one of another size has the same shape and photograph.
    """

    kind: str
    contrast: float
    size: int
    number: int


class Drawn(NamedTuple):
    """A defect that was drawn and scored.

    Attributes:
        draw: what was asked for.
        photograph: the number of the photograph.
        corner: row and column of the first pixel of its box.
        box: height and width of its box.
        middle: where its middle is, as shares of the photograph's height and width.
        score: of the photograph with it.
        found: whether that is rejected.
    """

    draw: Draw
    photograph: int
    corner: tuple[int, int]
    box: tuple[int, int]
    middle: tuple[float, float]
    score: float
    found: bool

    def __repr__(self) -> str:
        return introduce(self, self.draw.kind, f"size {self.draw.size}", "found" if self.found else "missed")


class Count(NamedTuple):
    """How many defects of a size were drawn and found."""

    size: int
    found: int
    drawn: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that holds the share that is found, with 95 % confidence."""
        return interval(self.found, self.drawn)


@dataclass(frozen=True)
class Detection:
    """What may be said of a kind of defect and a contrast.

    Attributes:
        kind, contrast: of the defects.
        smallest: the size from which on nearly all are found, with the stated confidence; None if there is none.
        tests: of each size that was tested, the number found among the defects that tested it, in the order of tests.
        first: of each size, the number found among the defects drawn first.
    """

    kind: str
    contrast: float
    smallest: int | None
    tests: tuple[Count, ...]
    first: tuple[Count, ...]

    def __repr__(self) -> str:
        known = "no size is nearly always found" if self.smallest is None else f"found from size {self.smallest} on"
        return introduce(self, self.kind, f"contrast {self.contrast:g}", known)

    @property
    def bound(self) -> float | None:
        """The share of the stated size that is found at least, with the stated confidence."""
        return lower_bound(self.tests[-1].found, self.tests[-1].drawn) if self.smallest else None


class Real(NamedTuple):
    """A real defect: whether it is missed, and its size and contrast if it has a mask."""

    missed: bool
    measured: Measured | None


@dataclass(frozen=True)
class Missed:
    """Real defects of a kind, those that could be read."""

    kind: str
    defects: tuple[Real, ...]

    def __repr__(self) -> str:
        return introduce(self, self.kind, f"{self.count} of {len(self.defects)}")

    @property
    def count(self) -> int:
        """How many are missed."""
        return sum(one.missed for one in self.defects)

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that holds the share that is missed, with 95 % confidence."""
        return interval(self.count, len(self.defects))

    @property
    def measured(self) -> list[Measured]:
        """Size and contrast of those that have masks."""
        return [one.measured for one in self.defects if one.measured is not None]


def lower_bound(found: int, drawn: int) -> float:
    """Return the share that is found at least, with :data:`CONFIDENCE` over all tests of a kind and contrast."""
    return interval(found, drawn, 1 - 2 * (1 - CONFIDENCE) / TESTS)[0]


def count_permitted(draws: int) -> int:
    """Return how many of the defects of a test may be missed; -1 if even none is too many for so few defects."""
    permitted = -1
    while permitted < draws - 1 and lower_bound(draws - permitted - 1, draws) >= SHARE:
        permitted += 1
    return permitted


@dataclass
class _Search:
    """The search for the smallest size of one kind and contrast.

    Attributes:
        sizes: ascending.
        draws: defects of a test.
        first: of each size, whether each defect drawn first was found.
        tests: of each size that was tested, the same of those that tested it, in the order of tests.
        stated: the size that was confirmed.
    """

    kind: str
    contrast: float
    sizes: Sequence[int]
    draws: int
    first: dict[int, list[bool]] = field(default_factory=dict)
    tests: dict[int, list[bool]] = field(default_factory=dict)
    stated: int | None = None

    def plan_first(self) -> Iterator[Draw]:
        for size in self.sizes:
            yield from (Draw(self.kind, self.contrast, size, number) for number in range(PROPOSING))

    def plan_next(self) -> Iterator[Draw]:
        """Yield what is to be drawn before more can be said; nothing if all is said."""
        size = self._find_tested()
        if size is None:
            return
        done = len(self.tests.setdefault(size, []))
        # Nobody tests a proposal with what proposed it.
        steps = [step for step in (*STEPS, self.draws) if done < step <= self.draws]
        yield from (Draw(self.kind, self.contrast, size, PROPOSING + number) for number in range(done, steps[0]))

    def _find_tested(self) -> int | None:
        """Return the size whose test is open, or that is to be tested next."""
        if self.stated is not None:
            return None
        if not self.tests:
            return self._propose()
        size = list(self.tests)[-1]
        results = self.tests[size]
        if results.count(False) <= count_permitted(self.draws):
            if len(results) < self.draws:
                return size
            self.stated = size
            return None
        larger = [other for other in self.sizes if other > size and len(self.first.get(other, ())) == PROPOSING]
        return larger[0] if larger and len(self.tests) < TESTS else None

    def _propose(self) -> int | None:
        """Return the smallest size of which all were found, and nearly all of each larger one."""
        proposed = None
        for size in reversed(self.sizes):
            missed = self.first.get(size, []).count(False)
            # What does not fit into the part is not stated.
            if missed > TOLERATED or (len(self.first.get(size, ())) < PROPOSING and proposed is not None):
                break
            if missed == 0 and len(self.first.get(size, ())) == PROPOSING:
                proposed = size
        return proposed

    def result(self) -> Detection:
        def count(found: dict[int, list[bool]]) -> tuple[Count, ...]:
            return tuple(Count(size, sum(results), len(results)) for size, results in found.items() if results)

        first = {size: self.first.get(size, []) for size in self.sizes}
        return Detection(self.kind, self.contrast, self.stated, count(self.tests), count(first))


Score = Callable[[Sequence[Draw]], Iterable[Drawn]]
"""Draws and scores defects, in any order; one that fits nowhere is missing."""


def search_sizes(
    kinds: Sequence[str], contrasts: Sequence[float], sizes: Sequence[int], draws: int, score: Score
) -> tuple[list[Detection], list[Drawn]]:
    """Find for each kind and contrast from what size on defects are found.

    Args:
        kinds: of defects.
        contrasts: in levels.
        sizes: in pixels.
        draws: defects that test a size.
        score: draws and scores them.

    Returns:
        What may be said, and every defect that was drawn.
    """
    searches = {(kind, value): _Search(kind, value, sorted(sizes), draws) for kind in kinds for value in contrasts}
    first = list(score([draw for search in searches.values() for draw in search.plan_first()]))
    for one in sorted(first, key=lambda one: one.draw):
        search = searches[one.draw.kind, one.draw.contrast]
        search.first.setdefault(one.draw.size, []).append(one.found)
    drawn = first
    while wanted := [draw for search in searches.values() for draw in search.plan_next()]:
        fresh = list(score(wanted))
        found = {one.draw for one in fresh if one.found}
        for draw in wanted:
            # What fits nowhere was not found, either.
            searches[draw.kind, draw.contrast].tests[draw.size].append(draw in found)
        drawn += fresh
    return [search.result() for search in searches.values()], drawn
