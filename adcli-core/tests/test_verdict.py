"""The verdict record: the same in CSV and JSON, read back as it was, and a table that nothing loses rows of."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adcli._locking import Lock
from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, Unreadable
from adcli.errors import RunError, StorageError
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import Origin
from adcli.scoring.prediction import Prediction
from adcli.scoring.regions import Region
from adcli.scoring.verdict import COLUMNS, VerdictRecord, csv_line, read_table
from adcli.scoring.verdict_table import growing_table

GOOD = VerdictRecord(image="a.png", time="2026-01-02T03:04:05.678Z", score=0.1, verdict="good", threshold=1 / 3)
DEFECT = replace(
    GOOD,
    verdict="defect",
    score=1e-7,
    p_value=1 / 21,
    run="20260101-120000-padim",
    model="ab" * 32,
    calibration="cd" * 32,
    regions=(Region(1, 2, 3, 4, 5, 6.123456789), Region(0, 0, 1, 1, 1, -7.5e-9)),
    picture="maps/a.png.png",
)
UNREADABLE = replace(GOOD, score=None, verdict="unreadable", problem="not an image that can be read.")
RECORDS = [
    GOOD,
    DEFECT,
    UNREADABLE,
    replace(GOOD, verdict="", threshold=None),
    replace(DEFECT, part="A-7", zone="left", category="bottle"),
]
NAMES = [
    "new\nline",
    "cr\rname",
    "\r\n",
    'quo"te',
    "comma, semi;",
    " space ",
    "写真/é.png",
    "esc\x1b[31m",
    "nul\0",
    "'=1+1",
]


@pytest.mark.parametrize("record", [*RECORDS, *(replace(UNREADABLE, image=name, problem=name) for name in NAMES)])
def test_a_record_is_read_back_as_it_was_written(record: VerdictRecord, tmp_path: Path) -> None:
    assert VerdictRecord.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record
    with growing_table(tmp_path / "t.csv", append=False) as table:
        for _ in range(3):
            table.write(record)
    assert [found for found, _ in read_table(tmp_path / "t.csv")] == [record] * 3
    assert list(record.to_json()) == list(COLUMNS)


@pytest.mark.parametrize("name", [name for name in NAMES if "\0" not in name])
def test_every_reader_of_csv_finds_as_many_rows_as_images(name: str) -> None:
    """Python before 3.13 does not quote a carriage return unless its own lines end with one."""
    text = csv_line(COLUMNS) + csv_line(replace(UNREADABLE, image=name).to_cells())
    unquoted = "".join(part for i, part in enumerate(text.split('"')) if i % 2 == 0)
    assert (unquoted.count("\n"), unquoted.count("\r")) == (2, 0)
    assert [row["image"] for row in csv.DictReader(text.splitlines(keepends=True))] == [name]


def test_columns_are_those_of_version_1() -> None:
    assert (
        *("format", "image", "part", "zone", "category", "time", "run", "model", "calibration"),
        *("score", "p_value", "threshold", "verdict", "regions", "picture", "problem"),
    ) == COLUMNS


def test_a_prediction_says_whose_model_and_calibration_it_comes_from() -> None:
    calibration = Calibration.conformal([1.0, 2.0], [1.0, 2.0], 0.5, "held-out")
    photograph = Photograph("a.png", np.zeros((8, 8, 3), np.uint8), "")
    prediction = Prediction(photograph, 9.0, np.eye(8, dtype=np.float32), calibration, Framing(), Origin("run", "dig"))
    record = VerdictRecord.of(prediction, part="7")
    assert (record.run, record.model, record.calibration, record.part) == ("run", "dig", calibration.digest, "7")
    assert (record.score, record.threshold, record.verdict) == (9.0, calibration.image_threshold, "defect")
    assert record.regions
    assert abs((prediction.time.timestamp() % 60) - float(record.time[17:23])) < 0.001
    assert record.time == VerdictRecord.of(prediction).time
    gone = Prediction(Unreadable("b.png", "b.png: is gone."), float("nan"), None, calibration, Framing())
    assert (VerdictRecord.of(gone).score, VerdictRecord.of(gone).problem) == (None, "is gone.")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"format": "x"}, {"verdict": "fine"}, {"score": "nan"}, {"score": "one"}, {"score": ""},
        {"threshold": "inf"}, {"regions": "1 2 3"}, {"regions": "a b c d e f"}, {"p_value": None}, {"verdict": None},
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_with_its_line(tmp_path: Path, change: dict[str, Any]) -> None:
    row = dict(zip(COLUMNS, GOOD.to_cells(), strict=True)) | change
    cells = [row[name] for name in COLUMNS if row[name] is not None]
    (tmp_path / "t.csv").write_text(csv_line(COLUMNS) + csv_line(GOOD.to_cells()) + csv_line(cells))
    with pytest.raises(ValueError, match="line 3: "):
        list(read_table(tmp_path / "t.csv"))


def test_a_cell_of_any_length_is_read_or_refused(tmp_path: Path) -> None:
    long = replace(GOOD, image="x" * 200_000)
    (tmp_path / "t.csv").write_text(csv_line(COLUMNS) + csv_line(long.to_cells()))
    assert [record for record, _ in read_table(tmp_path / "t.csv")] == [long]
    (tmp_path / "t.csv").write_text(csv_line(COLUMNS) + csv_line(["x" * (20 << 20)]))
    with pytest.raises(ValueError, match="line 2: a row has more than"):
        list(read_table(tmp_path / "t.csv"))


def rows(path: Path) -> list[VerdictRecord]:
    return [record for record, _ in read_table(path)]


def test_a_table_is_gone_on_with_only_if_asked_and_only_if_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "day/predictions.csv"
    for append in (False, True, True):
        with growing_table(path, append=append) as table:
            table.write(DEFECT)
            # It is there before anything is closed.
            assert rows(path)[-1] == DEFECT
    assert rows(path) == [DEFECT] * 3
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    before = path.read_bytes()
    with pytest.raises(StorageError, match="--append"), growing_table(path, append=False):
        pass
    assert path.read_bytes() == before
    other = tmp_path / "other.csv"
    other.write_text("image,score\na.png,1\n")
    with pytest.raises(StorageError, match="no table of verdict records"), growing_table(other, append=True):
        pass
    assert other.read_text() == "image,score\na.png,1\n"


@pytest.mark.parametrize("record", [GOOD, DEFECT, replace(UNREADABLE, image='a "new\nline", quoted\n')])
def test_what_a_kill_left_of_a_row_is_cut_off_wherever_it_was_torn(tmp_path: Path, record: VerdictRecord) -> None:
    path = tmp_path / "t.csv"
    header, whole = csv_line(COLUMNS).encode(), csv_line(GOOD.to_cells()).encode()
    last = csv_line(record.to_cells()).encode()
    for end in range(len(header) + len(whole) + len(last) + 1):
        path.write_bytes((header + whole + last)[:end])
        # Of the last field, which only explains the verdict, a part is enough, and so is a row without its line break.
        sizes = (len(header) + len(whole) - 1, len(header) + len(whole) + len(last) - 1 - len(record.problem))
        with growing_table(path, append=True) as table:
            table.write(DEFECT)
        kept = [replace(row, problem="") for row in (GOOD, record)][: sum(end >= size for size in sizes)]
        assert [replace(row, problem="") for row in rows(path)] == [*kept, DEFECT]


def test_a_full_disk_costs_the_row_and_leaves_a_whole_table(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "t.csv"
    limit = len(csv_line(COLUMNS)) + 2 * len(csv_line(GOOD.to_cells())) + 10
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill() -> None:
        with growing_table(path, append=False) as table:
            for _ in range(5):
                table.write(GOOD)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(StorageError, match=r"t\.csv"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert rows(path) == [GOOD, GOOD]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_verdict import GOOD, growing_table
with growing_table(Path(sys.argv[1]), append=True) as table:
    for _ in range(7):
        table.write(GOOD)
    print(flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_costs_no_row_that_was_written_and_the_next_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    done = subprocess.run([sys.executable, "-c", KILLED, path, Path(__file__).parent], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert rows(path) == [GOOD] * 7
    with growing_table(path, append=True) as table:
        table.write(DEFECT)
    assert rows(path) == [GOOD] * 7 + [DEFECT]
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_never_share_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with Lock(tmp_path / ".t.csv.lock", path).held(), pytest.raises(RunError), growing_table(path, append=True):
        pass


def fail() -> None:
    raise StorageError("no")


@pytest.mark.parametrize("how", [lambda: None, fail])
def test_without_rows_a_table_is_there_only_if_nothing_went_wrong(tmp_path: Path, how: Callable[[], None]) -> None:
    path = tmp_path / "new/folder/t.csv"
    try:
        with growing_table(path, append=False):
            how()
    except StorageError:
        assert list(tmp_path.iterdir()) == []
    else:
        assert path.read_text() == csv_line(COLUMNS)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_whole_row_is_never_cut_off_whether_its_line_ends_or_not(tmp_path: Path, end: str) -> None:
    path = tmp_path / "predictions.csv"
    with growing_table(path, append=False) as table:
        table.write(GOOD)
        table.write(DEFECT)
    path.write_text(path.read_text().removesuffix("\n") + end)
    with growing_table(path, append=True) as table:
        assert table.cut == 0
        table.write(UNREADABLE)
    assert rows(path) == [GOOD, DEFECT, UNREADABLE]


def test_rows_after_a_stray_quote_are_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with growing_table(path, append=False) as table:
        for row in (GOOD, DEFECT, GOOD):
            table.write(row)
    edited = path.read_text().splitlines(keepends=True)
    edited[1] = edited[1].replace("1,", '1,"', 1)
    path.write_text("".join(edited))
    with pytest.raises(StorageError, match="is not closed"), growing_table(path, append=True):
        pass
    assert path.read_text() == "".join(edited)


ENDS = {
    "words": b"checked by Anna",
    "a number": b"2",
    "a row of another version": b"2,a.png,",
    "words after a format": b"1,a.png,,,,yesterday,",
    "words for a digest": b"1,a.png,,,,2026-01-02T03:04:05.678Z,run,by Anna,",
    "too many cells": csv_line([*GOOD.to_cells(), "checked"]).encode()[:-1],
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_nobody_can_take_for_the_beginning_of_a_row_is_not_cut_off(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes((csv_line(COLUMNS) + csv_line(GOOD.to_cells())).encode() + end)
    before = path.read_bytes()
    expected = rf"predictions\.csv: ends with '{end[:15].decode()}.*no beginning of one"
    with pytest.raises(StorageError, match=expected), growing_table(path, append=True):
        pass
    assert path.read_bytes() == before


WRONG_ROWS = {
    "a cell too many": csv_line([*DEFECT.to_cells(), "checked"]),
    "a cell too few": csv_line(DEFECT.to_cells()[:-1]),
    "words": "checked by Anna\n",
}


@pytest.mark.parametrize("row", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_row_that_has_not_a_cell_for_each_column_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "predictions.csv"
    named = csv_line(replace(GOOD, image="two\nlines").to_cells())
    path.write_text(csv_line(COLUMNS) + named + row + csv_line(GOOD.to_cells()))
    before = path.read_bytes()
    with (
        pytest.raises(StorageError, match=r"predictions\.csv: line 4: has \d+ cells"),
        growing_table(path, append=True),
    ):
        pass
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="line 4: "):
        list(read_table(path))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_table_that_a_spreadsheet_saved_is_named_as_such(tmp_path: Path, bom: bytes, end: bytes) -> None:
    path = tmp_path / "predictions.csv"
    ours = (csv_line(COLUMNS) + csv_line(GOOD.to_cells())).encode()
    path.write_bytes(bom + ours.replace(b"\n", end))
    before = path.read_bytes()
    if (bom, end) == (b"", b"\n"):
        with growing_table(path, append=True) as table:
            table.write(DEFECT)
        assert rows(path) == [GOOD, DEFECT]
        return
    expected = "saved by another program, such as a spreadsheet"
    with pytest.raises(StorageError, match=expected), growing_table(path, append=True):
        pass
    assert path.read_bytes() == before
