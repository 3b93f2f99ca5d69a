"""The verdict record: what is kept of one photograph, the same in tables, in JSON, and in evaluations. Version 1."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from adcli._artefacts.declaring import AnyText, Share, compare
from adcli._artefacts.parsing import read_rows
from adcli._locking import open_regular
from adcli._showing import introduce, say_number
from adcli._spelling import spell, unspell
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import Region

FORMAT = 1
"""Raised when a field changes its meaning or goes; fields may be added at the end."""

Verdict = Literal["good", "defect", "unreadable", "incomplete", ""]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class _Region(TypedDict):
    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


class _Stored(TypedDict):
    """What is written of a photograph, in JSON."""

    format: Literal[1]
    image: AnyText
    part: AnyText
    zone: AnyText
    category: AnyText
    time: AnyText
    run: AnyText
    model: AnyText
    calibration: AnyText
    score: float | None
    p_value: Share | None
    threshold: float | None
    verdict: Verdict
    regions: list[_Region]
    picture: AnyText
    problem: AnyText


@dataclass(frozen=True, kw_only=True)
class VerdictRecord:
    """What is kept of one photograph.

    Attributes:
        image: its name; empty in the record of a part, which joins those of its photographs.
        part, category: what it shows, if anybody has said.
        zone: the names of the zones that are found defective.
        time: when it was scored, UTC, in ISO 8601 with milliseconds and ``Z``.
        run: the name of the run whose model scored it.
        model: the digest of the model's weights.
        calibration: the digest of the calibration.
        score: None if it could not be read.
        p_value: None without calibration scores.
        threshold: None if none was set.
        verdict: ``"good"``, ``"defect"``, ``"unreadable"``, ``"incomplete"`` of parts, or empty without a threshold.
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

    def __repr__(self) -> str:
        name = self.image or f"part {self.part}"
        return introduce(self, name, self.verdict or "no verdict", say_number("score", self.score))

    @classmethod
    def of(cls, prediction: Prediction, placed: bool = True, /, **more: str) -> "VerdictRecord":
        """Return the record of a prediction.

        Args:
            prediction: what is said of an image.
            placed: whether the regions of a defect are looked for.
            more: gives or replaces fields that are texts.
        """
        stated = {
            "image": prediction.name,
            "part": prediction.part,
            "time": f"{prediction.time:%Y-%m-%dT%H:%M:%S}.{prediction.time.microsecond // 1000:03}Z",
            "run": prediction.origin.run,
            "model": prediction.origin.model,
            "calibration": prediction.calibration.digest,
            "zone": ", ".join(prediction.zones),
            "verdict": prediction.verdict,
            # The name has its own field.
            "problem": prediction.problem.removeprefix(f"{prediction.name}: "),
        }
        return cls(
            **(stated | more),
            score=None if prediction.problem else prediction.score,
            p_value=prediction.p_value,
            threshold=prediction.calibration.image_threshold,
            regions=tuple(prediction.regions) if placed else (),
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
            stored = compare(content, _Stored)
        except ValueError as error:
            raise ValueError(f"is no verdict record: {error}") from None
        values: dict[str, Any] = {name: stored[name] for name in COLUMNS if name != "format"}  # type: ignore[literal-required]
        lacks, verdict = values["score"] is None, values["verdict"]
        # Of an incomplete part, no photograph may be there that could be read.
        if lacks != (verdict == "unreadable") and not (lacks and verdict == "incomplete"):
            raise ValueError("is no verdict record: it has a score and is unreadable, or neither")
        regions = tuple(Region(*(region[name] for name in _SIDES)) for region in values.pop("regions"))
        return cls(**values, regions=regions)

    @classmethod
    def from_cells(cls, row: Mapping[str, str]) -> "VerdictRecord":
        """Read a row of a table, by column; raises :class:`ValueError` that says what is wrong with it."""
        content: dict[str, Any] = {name: unspell(cell) for name, cell in row.items()}
        try:
            content |= {name: _as_number(float, row[name]) for name in ("score", "p_value", "threshold")}
            content["format"] = _as_number(int, row["format"])
            content["regions"] = list(map(_read_region, filter(None, row["regions"].split("; "))))
        except KeyError as error:
            raise ValueError(f"is no verdict record: it has no column {error}") from None
        return cls.from_json(content)


COLUMNS = ("format", *(field.name for field in fields(VerdictRecord)))
"""The fields, in the order in which they are written."""

_SIDES = tuple(field.name for field in fields(Region))


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _as_number(kind: type[float], text: str) -> float | str | None:
    """Return a cell as a number, None if it is empty, and as it is if it is no number."""
    try:
        return kind(text) if text else None
    except ValueError:
        return text


def _read_region(text: str) -> Any:
    cells = text.split(" ")
    if len(cells) != len(_SIDES):
        return text
    kinds: dict[str, type[float]] = {"peak": float}
    return {name: _as_number(kinds.get(name, int), cell) for name, cell in zip(_SIDES, cells, strict=True)}


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
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), encoding="utf-8", newline="") as file:
        rows = read_rows(file)
        _, columns = next(rows, (1, []))
        for line, cells in rows:
            try:
                row = dict(zip(columns, cells, strict=True))
                record = VerdictRecord.from_cells(row)
            except ValueError as error:
                why = error if len(cells) == len(columns) else f"has {len(cells)} cells instead of {len(columns)}"
                raise ValueError(f"line {line}: {why}") from None
            yield record, row
