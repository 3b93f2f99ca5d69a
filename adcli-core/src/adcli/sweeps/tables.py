"""Results as tables: the long one with every number, and means for the terminal, Markdown, LaTeX, CSV and JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from adcli._files import write_atomically
from adcli._spelling import spell
from adcli.errors import OptionError, printable
from adcli.scoring.verdict import csv_line
from adcli.sweeps.cells import Factor
from adcli.sweeps.naming import format_factor, format_spread, format_value, label_factor, label_metric
from adcli.sweeps.results import Row, SweepResults
from adcli.sweeps.summary import Line, Mean, Summary

LONG_CSV, LONG_JSON = "results.csv", "results.jsonl"


def write_long_table(results: SweepResults, folder: Path) -> list[Path]:
    """Write every number of every run as ``results.csv`` and ``results.jsonl``; return their paths.

    Both have the columns run, the factors, metric, value, error, and the rows in the order of the grid. Numbers are
    written so that they are read back exactly. A factor that a run lacks is empty, or null.

    Raises:
        StorageError: they cannot be written.
    """
    texts = {LONG_CSV: to_long_csv(results), LONG_JSON: to_long_json(results)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def to_long_csv(results: SweepResults) -> str:
    """Return the long table as CSV."""
    factors = results.factors
    rows = [[row.run, *(row.factors.get(name) for name in factors), *_end(row)] for row in results.rows()]
    return _to_csv(["run", *factors, "metric", "value", "error"], rows)


def to_long_json(results: SweepResults) -> str:
    """Return the long table as JSON, a line for each row."""
    factors = results.factors
    return "".join(
        json.dumps(
            {
                "run": row.run,
                **{name: row.factors.get(name) for name in factors},
                **dict(zip(("metric", "value", "error"), _end(row), strict=True)),
            }
        )
        + "\n"
        for row in results.rows()
    )


def _end(row: Row) -> tuple[str | None, float | None, str | None]:
    return row.metric or None, row.value, row.error or None


def _to_csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [names, *([_exactly(cell) for cell in row] for row in rows)]
    return "".join(map(csv_line, lines))


def _exactly(cell: Any) -> str:
    if cell is None:
        return ""
    return repr(cell) if isinstance(cell, float) else spell(str(cell))


class Shown(NamedTuple):
    """What stands in a place of a table.

    Attributes:
        value: the mean, as a text; empty if there is none.
        spread: the standard deviation; empty if there is none.
        mark: such as ``14/15`` if runs are lacking.
        is_best: whether none of its column is better.
    """

    value: str
    spread: str = ""
    mark: str = ""
    is_best: bool = False

    def __str__(self) -> str:
        spread = f" ± {self.spread}" if self.spread else ""
        return f"{self.value or '-'}{spread}{f' ({self.mark})' if self.mark else ''}"


@dataclass(frozen=True)
class Table:
    """A table of means.

    Attributes:
        names: of the columns.
        rows: names of a group, and what is shown of it.
        labels: how many columns at the left name the group.
        notes: what has to be known to read it, in sentences.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str | Shown]]
    labels: int
    notes: Sequence[str]

    def texts(self) -> list[list[str]]:
        """Return the rows as texts, as the terminal shows them."""
        return [[str(cell) for cell in row] for row in self.rows]


def tabulate(summary: Summary, pivot: str | None = None) -> Table:
    """Return the table of a summary: a row for each group, a column for each metric.

    Args:
        summary: of the runs.
        pivot: a metric, for a table of two factors: rows of the first, columns of the second.

    Raises:
        OptionError: a table of that kind has two factors, and the summary has not.
    """
    if pivot is not None:
        return _pivot(summary, pivot)
    best = {metric: summary.best(metric) for metric in summary.metrics}
    rows: list[list[str | Shown]] = [
        [
            *map(format_factor, line.group),
            *(show(metric, line.means[metric], line.group in best[metric]) for metric in summary.metrics),
        ]
        for line in summary.lines
    ]
    names = [*map(label_factor, summary.by), *(map(label_metric, summary.metrics))]
    return Table(names, rows, len(summary.by), [*explain(summary, summary.metrics), *summary.notes])


def _pivot(summary: Summary, metric: str) -> Table:
    if len(summary.by) != 2:
        raise OptionError(
            f"must name two factors for rows and columns, such as model,category, not {len(summary.by)}.", option="by"
        )
    lines = {line.group: line for line in summary.lines}
    across = list(dict.fromkeys(group[1] for group in lines))
    best = [group for column in across for group in summary.best(metric, [lines[g] for g in lines if g[1] == column])]
    rows: list[list[str | Shown]] = []
    for first in dict.fromkeys(group[0] for group in lines):
        cells = [_show_group(lines, (first, column), metric, best) for column in across]
        rows.append([format_factor(first), *cells])
    names = [label_factor(summary.by[0]), *map(format_factor, across)]
    notes = [f"{label_metric(metric)}; columns are {label_factor(summary.by[1])}.", *explain(summary, [metric])]
    return Table(names, rows, 1, [*notes, *summary.notes])


def _show_group(
    lines: Mapping[tuple[Factor, ...], Line], group: tuple[Factor, ...], metric: str, best: Sequence[Any]
) -> Shown:
    return show(metric, lines[group].means[metric], group in best) if group in lines else Shown("")


def show(metric: str, mean: Mean, is_best: bool = False) -> Shown:
    """Return a mean as tables show it."""
    if mean.value is None:
        return Shown("", mark=f"0/{mean.expected}" if mean.expected else "")
    value = format_value(metric, mean.value)
    spread = "" if mean.deviation is None else format_spread(metric, mean.value, mean.deviation)
    mark = "" if mean.is_complete else f"{mean.runs}/{mean.expected}"
    return Shown(value, spread, mark, is_best)


def explain(summary: Summary, metrics: Sequence[str]) -> Iterator[str]:
    """Yield what the means are over, once for all metrics of which it is the same."""
    said: dict[str, list[str]] = {}
    for metric in metrics:
        means = [line.means[metric] for line in summary.lines if line.means[metric].value is not None]
        counts = {(mean.n, mean.of) for mean in means if mean.deviation is not None}
        for n, of in sorted(counts):
            inner = ", each the mean over its categories" if of not in ("categories", "data sets") else ""
            several = "category" in summary.over and any(mean.runs > mean.n for mean in means)
            sentence = f"mean ± sample standard deviation over {n} {of}{inner if several else ''}"
            said.setdefault(sentence, []).append(label_metric(metric))
    for sentence, labels in said.items():
        yield f"{', '.join(labels)}: {sentence}." if len(said) > 1 else f"{sentence[0].upper()}{sentence[1:]}."


FORMATS = ("markdown", "latex", "csv", "json")
"""In which a summary can be written, besides the table for the terminal."""


def write_as(kind: str, summary: Summary, pivot: str | None = None) -> str:
    """Return a summary as one of :data:`FORMATS`; ``pivot`` as for :func:`tabulate`, and for the first two alone.

    Raises:
        OptionError: there is no such format, or a table of that kind has two factors, and the summary has not.
    """
    if kind == "csv":
        return to_csv(summary)
    if kind == "json":
        return json.dumps(to_json(summary), indent=2) + "\n"
    if kind not in FORMATS:
        raise OptionError(f"must be one of {', '.join(FORMATS)}, not '{printable(kind)[:60]}'.", option="format")
    table = tabulate(summary, pivot)
    return to_markdown(table) if kind == "markdown" else to_latex(table)


def to_markdown(table: Table) -> str:
    """Return a table as Markdown, the best of each column bold."""
    lines = [[_escape_markdown(name) for name in table.names]]
    lines.append(["---" if i < table.labels else "---:" for i in range(len(table.names))])
    lines += [[_mark_down(cell) for cell in row] for row in table.rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n{_escape_markdown(note)}\n" for note in table.notes)
    return f"{text}\n{notes}"


def _mark_down(cell: str | Shown) -> str:
    text = _escape_markdown(str(cell))
    return f"**{text}**" if isinstance(cell, Shown) and cell.is_best else text


def _escape_markdown(text: str) -> str:
    text = " ".join(printable(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|~#$" else letter for letter in text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    '"': "''",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def to_latex(table: Table) -> str:
    """Return a table for LaTeX with the package booktabs, the best of each column bold."""
    columns = "l" * table.labels + "r" * (len(table.names) - table.labels)
    rows = [[_set_latex(cell) for cell in row] for row in table.rows]
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {' '.join(printable(note).split())}" for note in table.notes),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escape_latex, table.names)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _set_latex(cell: str | Shown) -> str:
    text = _escape_latex(str(cell))
    if isinstance(cell, Shown) and cell.is_best:
        return rf"\textbf{{{text}}}"
    # What begins so would be taken for an option of the end of the line before.
    return rf"{{{text}}}" if text.startswith(("[", "*")) else text


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(printable(text).split()))


_COLUMNS = ("metric", "mean", "std", "n", "of", "runs", "expected")


def to_csv(summary: Summary) -> str:
    """Return a summary as CSV, a row for each group and metric, with numbers that are read back exactly."""
    rows = [[*line.group, *_numbers(metric, line.means[metric])] for line, metric in _places(summary)]
    return _to_csv([*summary.by, *_COLUMNS], rows)


def to_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as JSON has it: what the means are over, a list of all, and the notes."""
    rows = [
        {**dict(zip(summary.by, line.group, strict=True)), **dict(zip(_COLUMNS, numbers, strict=True))}
        for line, metric in _places(summary)
        for numbers in [_numbers(metric, line.means[metric])]
    ]
    return {"by": list(summary.by), "over": list(summary.over), "means": rows, "notes": list(summary.notes)}


def _places(summary: Summary) -> Iterator[tuple[Line, str]]:
    for line in summary.lines:
        for metric in summary.metrics:
            yield line, metric


def _numbers(metric: str, mean: Mean) -> list[Any]:
    return [metric, mean.value, mean.deviation, mean.n, mean.of, mean.runs, mean.expected]
