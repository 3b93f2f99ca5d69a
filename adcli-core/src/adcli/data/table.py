"""Read tables as data sets: CSV, JSON or JSON lines, with a row for each image."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from adcli._artefacts.parsing import parse_json
from adcli._files import check_reachable, exists, is_folder
from adcli._plugins.builtin import TableOptions
from adcli._spelling import unspell
from adcli.data.decoding import list_marking
from adcli.data.drawings import entry_of
from adcli.data.left_out import MARKED_GOOD, LeftOut, Omissions
from adcli.data.samples import Label, Sample, Splits, count_labels, say_defects
from adcli.data.splitting import choose_tested
from adcli.data.texts import read_text
from adcli.errors import DataError, OptionError, one_line

COLUMNS = ("image", "label", "split", "mask", "defect", "part")
OTHER_COLUMNS = {"image_path": "image", "label_index": "label", "mask_path": "mask"}
"""What anomalib calls columns; beside ``label_index``, its ``label`` is the kind of defect."""

LABELS: dict[str, Label] = {
    **dict.fromkeys(("good", "ok", "okay", "normal", "nominal", "pass", "passed", "accepted", "io", "i.o."), "good"),
    **dict.fromkeys(("0", "0.0", "false"), "good"),
    **dict.fromkeys(("defect", "defective", "ng", "nok", "notok", "ko", "bad", "fail", "failed", "faulty"), "defect"),
    **dict.fromkeys(("rejected", "abnormal", "anomaly", "anomalous", "nio", "n.i.o.", "1", "1.0", "true"), "defect"),
}
"""What a label may say, in lower case and without spaces."""

Split = Literal["train", "test", "validation"]
SPLITS: dict[str, Split] = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
SUFFIXES = (".csv", ".tsv", *JSON_SUFFIXES)
"""How the names of tables end."""

_CELL_BYTES = 1 << 24
"""What a cell may take, so that no table exhausts the memory."""


@dataclass(frozen=True)
class Row:
    """A row: its table and line, its cells by lower-case column name, as they are, without empty cells.

    Names in CSV may be spelt as in tables of verdicts, which JSON needs not do.
    """

    where: str
    cells: Mapping[str, str]
    spelt: bool = False

    def text(self, column: str) -> str:
        """Return what a cell says, without spaces around it; nothing if it is empty."""
        return self.cells.get(column, "").strip()


def load(options: TableOptions, category: str | None) -> Splits:
    """Read a table whose rows each name an image, and may give its label, split, mask and kind of defect.

    Paths are relative to the table's folder. The columns may have the names that anomalib gives them. Without a column
    ``split``, the defects, the unlabelled images and a share of the good images, chosen by their content, are for
    testing. Without a column ``label``, an image with a mask or a kind of defect is defective, and any other is good.

    Raises:
        DataError: the table or an image is missing, or a row is wrong; the message names the line.
    """
    if options.file is None:
        raise OptionError("data set 'table' needs a file: --data table:FILE.csv.")
    if category is not None:
        raise OptionError(f"data set 'table' has no categories, but '{category}' was given; filter the table.")
    table = options.file
    check_reachable(table, DataError)
    if not exists(table) or is_folder(table):
        raise DataError(f"{table}: {'is a folder, not a table' if is_folder(table) else 'no such table'}.")
    columns, rows = _read_rows(table)
    if "image" not in columns:
        is_json = table.suffix.lower() in JSON_SUFFIXES
        lack = "no entry has an 'image'" if is_json else "line 1: no column 'image'"
        raise DataError(f"{table}: {lack}; found {', '.join(columns) or 'nothing'}.")
    idle = list[Path]()
    # In what 'adcli predict' prints, parts have rows of their own, after those of their photographs.
    rows = [row for row in rows if "image" in row.cells or not ("part" in row.cells and "verdict" in row.cells)]
    samples = _make_samples(table, rows, columns, idle)
    how = ""
    if "split" not in columns:
        samples, how = _divide(samples, options)
    ignored = [column for column in columns if column and column not in COLUMNS]
    return replace(_describe(table, samples, how, ignored), left_out=_list_marked(idle))


def list_images(table: Path) -> list[Path]:
    """Return the images that a table names, in the order of its rows; raises as :func:`load`, which checks the rest."""
    _, rows = _read_rows(table)
    return [_find_file(table, row, "image") for row in rows]


def _list_marked(masks: Sequence[Path]) -> tuple[LeftOut, ...]:
    """Return what contradicts the label of good images: masks of theirs that mark something."""
    left_out = Omissions()
    for mask in list_marking(masks):
        left_out.add(MARKED_GOOD, mask)
    return left_out.take()


def _read_rows(table: Path) -> tuple[list[str], list[Row]]:
    """Return the names of a table's columns, in lower case, and its rows."""
    text = read_text(table)
    if table.suffix.lower() in JSON_SUFFIXES:
        rows = list(_read_array(table, text) if text.lstrip().startswith("[") else _read_lines(table, text))
        columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    else:
        columns, rows = _read_csv(table, text)
    _refuse_repeated(columns, f"{table}: line 1")
    return _rename(columns, rows)


def _refuse_repeated(columns: Iterable[str], where: str) -> None:
    """Check that no column of a meaning is there twice, in lower case: it would be chance which one counts."""
    for column, count in Counter(columns).items():
        if count > 1 and column in (*COLUMNS, *OTHER_COLUMNS):
            raise DataError(
                f"{where}: has {count} columns '{column}', whatever their case; rename or remove all but one."
            )


def _rename(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Give columns of other names the names that they have here; what has both names keeps ours."""
    names = {other: own for other, own in OTHER_COLUMNS.items() if other in columns and own not in columns}
    if "label_index" in columns and "label" in columns:
        names |= {"label_index": "label", "label": "" if "defect" in columns else "defect"}
        rows = [_without_good_kind(row) for row in rows]
    renamed = [
        Row(row.where, {names.get(name, name): cell for name, cell in row.cells.items()}, row.spelt) for row in rows
    ]
    return [names.get(column, column) for column in columns], renamed


def _without_good_kind(row: Row) -> Row:
    """Return a row of anomalib's without a kind of defect that is merely whether it is one; both must say the same."""
    kind, label = LABELS.get(_plain(row.text("label"))), LABELS.get(_plain(row.text("label_index")))
    if kind is None:
        return row
    if label is not None and kind != label:
        raise DataError(f"{row.where}: label is '{row.text('label')}', but label_index is '{row.text('label_index')}'.")
    return Row(
        row.where,
        {**{name: cell for name, cell in row.cells.items() if name != "label"}, "label_index": kind},
        row.spelt,
    )


def _read_csv(table: Path, text: str) -> tuple[list[str], list[Row]]:
    # Old programs end lines so.
    text = text if "\n" in text else text.replace("\r", "\n")
    head = text.partition("\n")[0]
    csv.field_size_limit(_CELL_BYTES)
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=max(",;\t", key=head.count))
    try:
        columns = [cell.strip().lower() for cell in next(reader, [])]
        rows = [
            Row(_at(table, reader.line_num), _name_cells(columns, cells, _at(table, reader.line_num)), spelt=True)
            for cells in reader
            if any(map(str.strip, cells))
        ]
    except csv.Error as error:
        raise DataError(f"{_at(table, reader.line_num)}: not CSV ({error}).") from None
    return columns, rows


def _name_cells(columns: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) > len(columns):
        raise DataError(f"{where}: has {len(cells)} cells for {len(columns)} columns; quote cells that contain commas.")
    return {column: cell for column, cell in zip(columns, cells, strict=False) if cell.strip()}


def _read_array(table: Path, text: str) -> Iterator[Row]:
    try:
        entries = parse_json(text, finite=False)
    except ValueError as error:
        raise DataError(f"{table}: not JSON ({one_line(str(error))}).") from None
    for number, entry in enumerate(entries, 1):
        yield _name_values(entry, f"{table}: entry {number}")


def _read_lines(table: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                entry = parse_json(line, finite=False)
            except ValueError:
                entry = None
            yield _name_values(entry, _at(table, number))


def _name_values(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict):
        raise DataError(
            f"{where}: expected one JSON object per line, or an array of them, for example "
            f'{{"image": "a.png", "label": "good"}}.'
        )
    _refuse_repeated((name.strip().lower() for name in entry), where)
    texts = {name.strip().lower(): _as_text(value) for name, value in entry.items()}
    return Row(where, {name: text for name, text in texts.items() if text.strip()})


def _as_text(value: Any) -> str:
    # pandas writes what is missing so.
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else value if isinstance(value, str) else json.dumps(value)


def _at(table: Path, line: int) -> str:
    return f"{table}: line {line}"


def _make_samples(
    table: Path, rows: Sequence[Row], columns: Sequence[str], idle: list[Path]
) -> list[tuple[Split, Sample]]:
    """Return each row's sample with its split; without a column ``split``, that is ``test`` until they are divided.

    Args:
        table: its file.
        rows: of the table.
        columns: that it has.
        idle: receives the masks of good images, which are not used.
    """
    seen: dict[Path, str] = {}
    samples: list[tuple[Split, Sample]] = []
    for row in rows:
        sample = _make_sample(table, row, "label" in columns)
        if sample.label == "good" and "mask" in row.cells:
            idle.append(entry_of(_find_file(table, row, "mask"), sample.image))
        first = seen.setdefault(sample.image, row.where)
        if first != row.where:
            raise DataError(f"{row.where}: {sample.image} is also in {first.removeprefix(f'{table}: ')}.")
        samples.append((_read_split(row, sample) if "split" in columns else "test", sample))
    return samples


def _make_sample(table: Path, row: Row, labelled: bool) -> Sample:
    if "image" not in row.cells:
        raise DataError(f"{row.where}: names no image.")
    image = _find_file(table, row, "image")
    kind, part = (unspell(row.text(name)) if row.spelt else row.text(name) for name in ("defect", "part"))
    label = _read_label(row) if labelled else "defect" if kind or "mask" in row.cells else "good"
    if label != "defect":
        if kind and LABELS.get(_plain(kind)) != "good" and kind.lower() != "none":
            raise DataError(f"{row.where}: the label is '{row.text('label')}', but the defect is '{kind}'.")
        return Sample(image, label, part=part)
    mask = entry_of(_find_file(table, row, "mask"), image) if "mask" in row.cells else None
    return Sample(image, label, mask, kind or None, part)


def _plain(text: str) -> str:
    """Return a label without case and spaces, nor the name of the enumeration that anomalib writes with it."""
    return "".join(text.split()).lower().removeprefix("labelname.")


def _read_label(row: Row) -> Label | None:
    text = row.text("label")
    if not text:
        return None
    if _plain(text) not in LABELS:
        raise DataError(
            f"{row.where}: label '{text}' is not one of {', '.join(LABELS)}; "
            "kinds of defects go into a column 'defect'."
        )
    return LABELS[_plain(text)]


def _read_split(row: Row, sample: Sample) -> Split:
    text = row.text("split")
    split = SPLITS.get(text.lower().removeprefix("split."))
    if split is None:
        raise DataError(f"{row.where}: split '{text}' is not one of {', '.join(SPLITS)}.")
    if split != "test" and sample.label is None:
        raise DataError(f"{row.where}: a {'training' if split == 'train' else split} image needs a label.")
    return split


def _find_file(table: Path, row: Row, column: str) -> Path:
    """Return the path in a cell, relative to the table's folder.

    It may have spaces around it, and the separators of Windows.
    """
    text = row.cells[column]
    plain = text.strip()
    readings: Sequence[str] = (
        *((unspell(text), unspell(plain)) if row.spelt else ()),
        text,
        plain,
        plain.replace("\\", "/"),
    )
    found = next((table.parent / reading for reading in readings if exists(table.parent / reading)), None)
    if found is None:
        raise DataError(f"{row.where}: {column} {table.parent / readings[-1]} does not exist.")
    return found


def _divide(samples: Sequence[tuple[Split, Sample]], options: TableOptions) -> tuple[list[tuple[Split, Sample]], str]:
    """Split the samples, a share of the good ones for testing if there are others; return how, in words."""
    all_good = all(sample.label == "good" for _, sample in samples)
    tested = set() if all_good else choose_tested([sample for _, sample in samples], options)
    divided: list[tuple[Split, Sample]] = [
        ("train" if sample.label == "good" and sample.image not in tested else "test", sample) for _, sample in samples
    ]
    return divided, f", {options.test_share:.0%} of good for testing" if tested else ""


def _describe(table: Path, samples: Sequence[tuple[Split, Sample]], how: str, ignored: Sequence[str]) -> Splits:
    known, test, validation = (
        [sample for split, sample in samples if split == wanted] for wanted in ("train", "test", "validation")
    )
    train, defects = ([sample for sample in known if sample.label == label] for label in ("good", "defect"))
    if not train:
        raise DataError(f"{table}: no good images; test: {count_labels(test)}.")
    words = f"{table}: a table{how}; {len(train)} good images to train on; test: {count_labels(test)}"
    words += say_defects(defects)
    if validation:
        words += f"; validation: {count_labels(validation)}"
    if ignored:
        words += f"; columns ignored: {', '.join(ignored)}"
    return Splits(train, test, validation, words, defects=defects)


def list_parts(table: Path) -> list[tuple[Path, str]]:
    """Return the image of each row of a table, and the part that its column ``part`` names.

    Raises:
        DataError: the table or an image is missing, or a row names no part.
    """
    check_reachable(table, DataError)
    columns, rows = _read_rows(table)
    for column in ("image", "part"):
        if column not in columns:
            raise DataError(f"{table}: has no column '{column}'; found {', '.join(columns) or 'nothing'}.")
        lacking = next((row for row in rows if not row.text(column)), None)
        if lacking is not None:
            raise DataError(f"{lacking.where}: names no {column}.")
    return [(_find_file(table, row, "image"), row.text("part")) for row in rows]
