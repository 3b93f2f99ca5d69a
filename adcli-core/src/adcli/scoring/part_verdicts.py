"""One verdict a part, from the records of its photographs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from adcli.scoring.verdict import COLUMNS, VerdictRecord, csv_line

PARTS_FILE = "parts.csv"
"""The table of the parts' records, beside that of the photographs'."""


@dataclass
class _Part:
    """What is kept of the photographs of a part: the record of the one with the largest score, and what is wrong."""

    record: VerdictRecord
    scored: int = 0
    zones: dict[str, None] = field(default_factory=dict)
    problem: str = ""


def part_lines(records: Iterable[VerdictRecord]) -> Iterator[str]:
    """Yield the lines of ``parts.csv``."""
    yield csv_line(COLUMNS)
    yield from (csv_line(record.to_cells()) for record in records)


class PartVerdicts:
    """Joins the records of photographs into those of their parts: the largest score decides.

    A part without all of its photographs, or with one that cannot be read, is ``incomplete`` unless a defect is found
    in the others. Memory grows with the number of parts.

    Args:
        views: number of photographs of a complete part; 0 for any.
    """

    def __init__(self, views: int) -> None:
        self._views = views
        self._parts: dict[str, _Part] = {}

    def add(self, record: VerdictRecord) -> None:
        """Take a photograph; one that shows no part that is known is a part of its own, by its name."""
        joined = replace(record, image="", part=record.part or record.image, regions=(), picture="")
        part = self._parts.setdefault(joined.part, _Part(joined))
        if record.score is None:
            part.problem = part.problem or f"{record.image}: {record.problem}"
            return
        part.scored += 1
        part.zones |= dict.fromkeys(filter(None, record.zone.split(", ")))
        if part.record.score is None or record.score > part.record.score:
            part.record = joined

    def records(self) -> Iterator[VerdictRecord]:
        """Yield the record of each part, in the order of their first photographs; none has the name of an image."""
        return map(self._judge, self._parts.values())

    def _judge(self, part: _Part) -> VerdictRecord:
        record, problem = part.record, part.problem
        if not problem and part.scored < self._views:
            problem = f"{part.scored} of {self._views} photographs"
        verdict = "incomplete" if problem and record.verdict != "defect" else record.verdict
        return replace(record, zone=", ".join(part.zones), verdict=verdict, problem=problem)
