"""Read tables as data sets: CSV or JSON lines, with a row for each image."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adcli._files import exists, is_folder
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
    """A row: its table and line, and its cells by lower-case column name, without empty cells."""

    where: str
    cells: dict[str, str]


def load(options: TableOptions, category: str | None) -> Splits:
    """Read a table whose rows each name an image, and may give its label, split, mask and kind of defect.

    Paths are relative to the table's folder. Without a column ``split``, the defects, the unlabelled images and a share
    of the good images, chosen by their content, are for testing. Without a column ``label``, an image with a mask or a
    kind of defect is defective, and any other is good.

    Raises:
        DataError: the table or an image is missing, or a row is wrong; the message names the line.
    """
    if options.file is None:
        raise OptionError("data set 'table' needs a file: --data table:FILE.csv.")
    if category is not None:
        raise OptionError(f"data set 'table' has no categories, but '{category}' was given; filter the table.")
    table = options.file
    if not (exists(table) and table.is_file()):
        raise DataError(f"{table}: {'is a folder, not a table' if is_folder(table) else 'no such table'}.")
    columns, rows = _read_rows(table)
    if "image" not in columns:
        raise DataError(f"{table}: line 1: no column 'image'; found {', '.join(columns) or 'nothing'}.")
    samples = _make_samples(table, rows, columns)
    how = ""
    if "split" not in columns:
        samples, how = _divide(samples, options)
    return _describe(table, samples, how, [column for column in columns if column not in COLUMNS])


def _read_rows(table: Path) -> tuple[list[str], list[Row]]:
    """Return the names of a table's columns, in lower case, and its rows."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{table}: is not UTF-8 text; save it as CSV in UTF-8.") from None
    if table.suffix.lower() in JSON_SUFFIXES:
        rows = list(_read_json(table, text))
        return list(dict.fromkeys(column for row in rows for column in row.cells)), rows
    return _read_csv(table, text)


def _read_csv(table: Path, text: str) -> tuple[list[str], list[Row]]:
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        rows = [
            Row(_at(table, reader.line_num), _name_cells(columns, cells, _at(table, reader.line_num)))
            for cells in reader
            if any(map(str.strip, cells))
        ]
    except csv.Error as error:
        raise DataError(f"{_at(table, reader.line_num)}: not CSV ({error}).") from None
    return columns, rows


def _name_cells(columns: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) > len(columns):
        raise DataError(f"{where}: has {len(cells)} cells for {len(columns)} columns; quote cells that contain commas.")
    return {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}


def _read_json(table: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(_at(table, number), _parse_json(line, _at(table, number)))


def _parse_json(line: str, where: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise DataError(
            f'{where}: expected one JSON object per line, for example {{"image": "a.png", "label": "good"}}.'
        )
    texts = {name.strip().lower(): "" if value is None else str(value).strip() for name, value in entry.items()}
    return {name: text for name, text in texts.items() if text}


def _at(table: Path, line: int) -> str:
    return f"{table}: line {line}"


def _make_samples(table: Path, rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[Split, Sample]]:
    """Return each row's sample with its split; without a column ``split``, that is ``test`` until they are divided."""
    seen: dict[Path, str] = {}
    samples: list[tuple[Split, Sample]] = []
    for row in rows:
        sample = _make_sample(table, row, "label" in columns)
        first = seen.setdefault(sample.image, row.where)
        if first != row.where:
            raise DataError(f"{row.where}: {sample.image} is also in {first.removeprefix(f'{table}: ')}.")
        samples.append((_read_split(row, sample) if "split" in columns else "test", sample))
    return samples


def _make_sample(table: Path, row: Row, labelled: bool) -> Sample:
    if "image" not in row.cells:
        raise DataError(f"{row.where}: names no image.")
    image, kind = _find_file(table, row, "image"), row.cells.get("defect")
    label = _read_label(row) if labelled else "defect" if kind or "mask" in row.cells else "good"
    if label != "defect":
        if kind is not None and LABELS.get(kind.lower()) != "good" and kind.lower() != "none":
            raise DataError(f"{row.where}: the label is '{row.cells.get('label', '')}', but the defect is '{kind}'.")
        return Sample(image, label)
    return Sample(image, label, _find_file(table, row, "mask") if "mask" in row.cells else None, kind)


def _read_label(row: Row) -> Label | None:
    text = row.cells.get("label")
    if text is None:
        return None
    if text.lower() not in LABELS:
        raise DataError(
            f"{row.where}: label '{text}' is not one of {', '.join(LABELS)}; "
            "kinds of defects go into a column 'defect'."
        )
    return LABELS[text.lower()]


def _read_split(row: Row, sample: Sample) -> Split:
    text = row.cells.get("split", "")
    split = SPLITS.get(text.lower())
    if split is None:
        raise DataError(f"{row.where}: split '{text}' is not one of {', '.join(SPLITS)}.")
    if split == "train" and sample.label != "good":
        raise DataError(f"{row.where}: training images must be good; this one is {sample.label or 'not labelled'}.")
    if split == "validation" and sample.label is None:
        raise DataError(f"{row.where}: a validation image needs a label.")
    return split


def _find_file(table: Path, row: Row, column: str) -> Path:
    """Return the path in a cell, relative to the table's folder; its separators may be those of Windows."""
    path = table.parent / row.cells[column].replace("\\", "/")
    if not exists(path):
        raise DataError(f"{row.where}: {column} {path} does not exist.")
    return path


def _divide(samples: Sequence[tuple[Split, Sample]], options: TableOptions) -> tuple[list[tuple[Split, Sample]], str]:
    """Split the samples, a share of the good ones for testing if there are others; return how, in words."""
    good = [sample.image for _, sample in samples if sample.label == "good"]
    tested = held_out(good, options.test_share, options.seed) if len(good) < len(samples) else set()
    divided: list[tuple[Split, Sample]] = [
        ("train" if sample.label == "good" and sample.image not in tested else "test", sample) for _, sample in samples
    ]
    return divided, f", {options.test_share:.0%} of good for testing" if tested else ""


def _describe(table: Path, samples: Sequence[tuple[Split, Sample]], how: str, ignored: Sequence[str]) -> Splits:
    train, test, validation = (
        [sample for split, sample in samples if split == wanted] for wanted in ("train", "test", "validation")
    )
    if not train:
        raise DataError(f"{table}: no good images; test: {count_labels(test)}.")
    words = f"{table}: a table{how}; {len(train)} good images to train on; test: {count_labels(test)}"
    if validation:
        words += f"; validation: {count_labels(validation)}"
    if ignored:
        words += f"; columns ignored: {', '.join(ignored)}"
    return Splits(train, test, validation, words)
