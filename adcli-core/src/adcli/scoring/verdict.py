"""The verdict record: what is kept of one photograph, the same in tables, in JSON, and in evaluations. Version 1."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from adcli._spelling import spell, unspell
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import Region

FORMAT = 1
"""Raised when a field changes its meaning or goes; fields may be added at the end."""

VERDICTS = ("good", "defect", "unreadable", "")
CELL_BYTES = 1 << 24
"""What a cell may take, so that no table exhausts the memory."""


@dataclass(frozen=True, kw_only=True)
class VerdictRecord:
    """What is kept of one photograph.

    Attributes:
        image: its name.
        part, zone, category: what it shows, if anybody has said.
        time: when it was scored, UTC, in ISO 8601 with milliseconds and ``Z``.
        run: the name of the run whose model scored it.
        model: the digest of the model's weights.
        calibration: the digest of the calibration.
        score: None if it could not be read.
        p_value: None without calibration scores.
        threshold: None if none was set.
        verdict: ``"good"``, ``"defect"``, ``"unreadable"``, or empty without a threshold.
        regions: where a defect is.
        picture: the file of its picture, relative to the table; empty if there is none.
        problem: what could not be read, and why; empty if all could.
    """

    image: str
    part: str = ""
    zone: str = ""
    category: str = ""
    time: str
    run: str = ""
    model: str = ""
    calibration: str = ""
    score: float | None
    p_value: float | None = None
    threshold: float | None = None
    verdict: str
    regions: tuple[Region, ...] = ()
    picture: str = ""
    problem: str = ""

    @classmethod
    def of(cls, prediction: Prediction, **more: str) -> "VerdictRecord":
        """Return the record of a prediction; ``more`` gives or replaces fields that are texts."""
        stated = {
            "image": prediction.name,
            "time": f"{prediction.time:%Y-%m-%dT%H:%M:%S}.{prediction.time.microsecond // 1000:03}Z",
            "run": prediction.origin.run,
            "model": prediction.origin.model,
            "calibration": prediction.calibration.digest,
            "verdict": prediction.verdict,
            # The name has its own field.
            "problem": prediction.problem.removeprefix(f"{prediction.name}: "),
        }
        return cls(
            **(stated | more),
            score=None if prediction.problem else prediction.score,
            p_value=prediction.p_value,
            threshold=prediction.calibration.image_threshold,
            regions=tuple(prediction.regions),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what is written as JSON: regions are a list of objects, and what is missing is null."""
        return {"format": FORMAT, **asdict(self), "regions": [asdict(region) for region in self.regions]}

    def to_cells(self) -> list[str]:
        """Return the cells of a table, all of which is text; what is missing is empty.

        Regions are ``X Y WIDTH HEIGHT AREA PEAK; ...``. Bytes of names that are no text are written with backslashes.
        """
        regions = "; ".join(" ".join(map(repr, astuple(region))) for region in self.regions)
        values = {**vars(self), "format": FORMAT, "regions": regions}
        return [spell(_cell(values[name])) for name in COLUMNS]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "VerdictRecord":
        """Read what :meth:`to_json` returned; raises :class:`ValueError` that says what is wrong with it."""
        try:
            regions = tuple(Region(**region) for region in content["regions"])
            values = {name: content[name] for name in COLUMNS if name != "regions"}
            finite = _are_finite(values)
        except (KeyError, TypeError):
            raise ValueError("is no verdict record") from None
        return cls._checked(values, regions, finite)

    @classmethod
    def from_cells(cls, row: Mapping[str, str]) -> "VerdictRecord":
        """Read a row of a table, by column; raises :class:`ValueError` that says what is wrong with it."""
        try:
            values: dict[str, Any] = {name: unspell(row[name]) for name in COLUMNS if name != "regions"}
            values["format"] = int(row["format"])
            for name in ("score", "p_value", "threshold"):
                values[name] = float(row[name]) if row[name] else None
            regions = tuple(map(_read_region, filter(None, row["regions"].split("; "))))
            finite = _are_finite(values)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise ValueError("is no verdict record") from None
        return cls._checked(values, regions, finite)

    @classmethod
    def _checked(cls, values: dict[str, Any], regions: tuple[Region, ...], finite: bool) -> "VerdictRecord":
        if values.pop("format") != FORMAT:
            raise ValueError(f"is a verdict record of another format than {FORMAT}")
        if values["verdict"] not in VERDICTS:
            raise ValueError(f"'{values['verdict']}' is no verdict")
        if not finite:
            raise ValueError("has a number that is not finite")
        if (values["score"] is None) != (values["verdict"] == "unreadable"):
            raise ValueError("has a score and is unreadable, or neither")
        return cls(**values, regions=regions)


COLUMNS = ("format", *(field.name for field in fields(VerdictRecord)))
"""The fields, in the order in which they are written."""


def _are_finite(values: Mapping[str, Any]) -> bool:
    numbers = [values[name] for name in ("score", "p_value", "threshold")]
    return all(number is None or math.isfinite(number) for number in numbers)


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _read_region(text: str) -> Region:
    *sides, peak = text.split(" ")
    return Region(*map(int, sides), peak=float(peak))  # type: ignore[misc]


def csv_line(cells: Iterable[object]) -> str:
    """Return cells as one line of a table, in which a line break of either kind is quoted."""
    text = io.StringIO()
    # Only what its own line ends with is quoted by a writer of earlier Pythons.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def read_table(path: Path) -> Iterator[tuple[VerdictRecord, Mapping[str, str]]]:
    """Yield the records of a table, each with all cells of its row by column, further columns included.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no table of verdict records; the message says why, and on which line.
    """
    csv.field_size_limit(CELL_BYTES)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            for row in rows:
                # What a reader gives to a row of too many cells, or too few.
                if None in row or None in row.values():
                    raise ValueError(f"has not {len(rows.fieldnames or ())} cells as the first line has")
                yield VerdictRecord.from_cells(row), row
        except (ValueError, csv.Error) as error:
            raise ValueError(f"line {rows.line_num}: {error}") from None
