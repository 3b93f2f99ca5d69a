"""One verdict a part, from the records of its photographs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from adcli.scoring.verdict import COLUMNS, VerdictRecord, csv_line

PARTS_FILE = "parts.csv"
"""The table of the parts' records, beside that of the photographs'."""

NAMELESS = "warning: the threshold is of parts, and these images name none: each counts as a part."
"""What is said of images without parts, of which the threshold is."""


@dataclass
class _Part:
    """What is kept of a part: the record of the photograph with the largest score, and what is wrong with each."""

    record: VerdictRecord
    problems: dict[str, str] = field(default_factory=dict)
    zones: dict[str, None] = field(default_factory=dict)


def part_lines(records: Iterable[VerdictRecord]) -> Iterator[str]:
    """Yield the lines of ``parts.csv``."""
    yield csv_line(COLUMNS)
    yield from (csv_line(record.to_cells()) for record in records)


class PartVerdicts:
    """Joins the records of photographs into those of their parts: the largest score decides.

    A part without all of its photographs, with too many, or with one that cannot be read is ``incomplete`` unless a
    defect is found. A photograph that comes again, by its name, is the same one. Memory grows with the number of
    photographs.

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
        part.problems[record.image] = record.problem if record.score is None else ""
        part.zones |= dict.fromkeys(filter(None, record.zone.split(", ")))
        if record.score is not None and (part.record.score is None or record.score > part.record.score):
            part.record = joined

    def records(self) -> Iterator[VerdictRecord]:
        """Yield the record of each part, in the order of their first photographs; none has the name of an image."""
        return map(self._judge, self._parts.values())

    def _judge(self, part: _Part) -> VerdictRecord:
        problem = next((f"{image}: {problem}" for image, problem in part.problems.items() if problem), "")
        problem = problem or self._say_how_many(len(part.problems))
        verdict = "incomplete" if problem and part.record.verdict != "defect" else part.record.verdict
        return replace(part.record, zone=", ".join(part.zones), verdict=verdict, problem=problem)

    def _say_how_many(self, count: int) -> str:
        """Say what is wrong with the number of a part's photographs; nothing if it is right."""
        if not self._views or count == self._views:
            return ""
        doubt = "; perhaps several parts have this name" if count > self._views else ""
        return f"{count} of {self._views} photographs{doubt}"
