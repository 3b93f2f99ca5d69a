"""Tables as data sets: a CSV file, or JSON lines, with a row for each image."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adcli._plugins.builtin import TableOptions
from adcli.data.samples import Label, Sample, Splits, count_labels
from adcli.data.splitting import held_out
from adcli.errors import DataError, OptionError

COLUMNS = ("image", "label", "split", "mask", "defect")
LABELS: dict[str, Label] = {
    **dict.fromkeys(("good", "ok", "normal", "0"), "good"),
    **dict.fromkeys(("defect", "defective", "ng", "bad", "abnormal", "anomaly", "anomalous", "1"), "defect"),
}
"""What a label may say, in lower case."""

Split = Literal["train", "test", "validation"]
SPLITS: dict[str, Split] = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
SUFFIXES = (".csv", ".tsv", *JSON_SUFFIXES)
"""How the names of tables end."""


@dataclass(frozen=True)
class Row:
    """A row: the table and line it stands in, and its cells by lower-case column; empty cells are left out."""

    where: str
    cells: dict[str, str]


def load(options: TableOptions, category: str | None) -> Splits:
    """Read a table whose rows name an image each, and perhaps its label, split, mask and kind of defect.

    Paths are taken from the table's folder. Without a column ``split``, defects and unlabelled images are for testing,
    and so is a share of the good images, chosen by their content. Without a column ``label``, images with a mask or a
    kind of defect are defective, and all others good.

    Raises:
        DataError: the table or an image is missing, or a row is wrong; it says which line.
    """
    if options.file is None:
        raise OptionError("data set 'table' needs a file: --data table:FILE.csv.")
    if category is not None:
        raise OptionError(f"data set 'table' has no categories such as '{category}'; filter the table instead.")
    table = options.file
    if not table.is_file():
        raise DataError(f"{table}: {'is a folder, not a table' if table.is_dir() else 'no such table'}.")
    columns, rows = _columns_and_rows(table)
    if "image" not in columns:
        raise DataError(f"{table}: line 1: no column 'image'; found {', '.join(columns) or 'nothing'}.")
    samples = _samples(table, rows, columns)
    how = ""
    if "split" not in columns:
        samples, how = _divided(samples, options)
    return _described(table, samples, how, [column for column in columns if column not in COLUMNS])


def _columns_and_rows(table: Path) -> tuple[list[str], list[Row]]:
    """Return the lower-case names of a table's columns, and its rows."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{table}: not text in UTF-8; save it as CSV in UTF-8.") from None
    if table.suffix.lower() in JSON_SUFFIXES:
        rows = list(_json_rows(table, text))
        return list(dict.fromkeys(column for row in rows for column in row.cells)), rows
    return _csv_rows(table, text)


def _csv_rows(table: Path, text: str) -> tuple[list[str], list[Row]]:
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        rows = [
            Row(_at(table, reader.line_num), _cells(columns, cells, _at(table, reader.line_num)))
            for cells in reader
            if any(map(str.strip, cells))
        ]
    except csv.Error as error:
        raise DataError(f"{_at(table, reader.line_num)}: not CSV ({error}).") from None
    return columns, rows


def _cells(columns: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) > len(columns):
        raise DataError(f"{where}: has {len(cells)} cells for {len(columns)} columns; put quotes around commas.")
    return {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}


def _json_rows(table: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(_at(table, number), _json_cells(line, _at(table, number)))


def _json_cells(line: str, where: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise DataError(
            f'{where}: expected one JSON object on each line, such as {{"image": "a.png", "label": "good"}}.'
        )
    return {name.strip().lower(): text for name, value in entry.items() if (text := _text(value))}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _at(table: Path, line: int) -> str:
    return f"{table}: line {line}"


def _samples(table: Path, rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[Split, Sample]]:
    """Return the rows as samples with their splits; without a column for it, all are for testing until divided."""
    seen: dict[Path, str] = {}
    samples: list[tuple[Split, Sample]] = []
    for row in rows:
        sample = _sample(table, row, "label" in columns)
        first = seen.setdefault(sample.image, row.where)
        if first != row.where:
            raise DataError(f"{row.where}: {sample.image} is also in {first.removeprefix(f'{table}: ')}.")
        samples.append((_split(row, sample) if "split" in columns else "test", sample))
    return samples


def _sample(table: Path, row: Row, labelled: bool) -> Sample:
    if "image" not in row.cells:
        raise DataError(f"{row.where}: names no image.")
    image, kind = _file(table, row, "image"), row.cells.get("defect")
    label = _label(row) if labelled else "defect" if kind or "mask" in row.cells else "good"
    if label != "defect":
        if kind is not None and LABELS.get(kind.lower()) != "good" and kind.lower() != "none":
            raise DataError(f"{row.where}: the label is '{row.cells.get('label', '')}', but the defect is '{kind}'.")
        return Sample(image, label)
    return Sample(image, label, _file(table, row, "mask") if "mask" in row.cells else None, kind)


def _label(row: Row) -> Label | None:
    text = row.cells.get("label")
    if text is None:
        return None
    if text.lower() not in LABELS:
        raise DataError(
            f"{row.where}: label '{text}' is none of {', '.join(LABELS)}; kinds of defects have a column 'defect'."
        )
    return LABELS[text.lower()]


def _split(row: Row, sample: Sample) -> Split:
    text = row.cells.get("split", "")
    split = SPLITS.get(text.lower())
    if split is None:
        raise DataError(f"{row.where}: split '{text}' is none of {', '.join(SPLITS)}.")
    if split == "train" and sample.label != "good":
        raise DataError(f"{row.where}: training images are good; this one is {sample.label or 'not labelled'}.")
    if split == "validation" and sample.label is None:
        raise DataError(f"{row.where}: a validation image without a label.")
    return split


def _file(table: Path, row: Row, column: str) -> Path:
    """Return the path in a cell, from the table's folder; separators may be those of Windows."""
    path = table.parent / row.cells[column].replace("\\", "/")
    if not path.exists():
        raise DataError(f"{row.where}: {column} {path} is not there.")
    return path


def _divided(samples: Sequence[tuple[Split, Sample]], options: TableOptions) -> tuple[list[tuple[Split, Sample]], str]:
    """Return the samples, a share of the good ones for testing where there are others to test; and how, in words."""
    good = [sample.image for _, sample in samples if sample.label == "good"]
    tested = held_out(good, options.test_share, options.seed) if len(good) < len(samples) else set()
    divided: list[tuple[Split, Sample]] = [
        ("train" if sample.label == "good" and sample.image not in tested else "test", sample) for _, sample in samples
    ]
    return divided, f", {options.test_share:.0%} of good for testing" if tested else ""


def _described(table: Path, samples: Sequence[tuple[Split, Sample]], how: str, ignored: Sequence[str]) -> Splits:
    train, test, validation = (
        [sample for split, sample in samples if split == wanted] for wanted in ("train", "test", "validation")
    )
    if not train:
        raise DataError(f"{table}: no good images to train on; test: {count_labels(test)}.")
    words = f"{table}: a table{how}; {len(train)} good images to train on; test: {count_labels(test)}"
    if validation:
        words += f"; validation: {count_labels(validation)}"
    if ignored:
        words += f"; columns ignored: {', '.join(ignored)}"
    return Splits(train, test, validation, words)
