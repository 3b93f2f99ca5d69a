"""Results in the long table, and means in every format; hostile names stay names."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sweep_results import cell, made, results

from adcli._spelling import unspell
from adcli.errors import OptionError
from adcli.sweeps.results import Outcome, SweepResults
from adcli.sweeps.summary import Summary, summarise
from adcli.sweeps.tables import Shown, tabulate, to_csv, to_json, to_latex, to_markdown, write_as, write_long_table

HOSTILE = (
    'a|b*_`<b>"x"',
    "a & b_1 % $ # {} ~ ^ \\cite",
    "line\nbreak\r,;\x1b[31m",
    "[opt]",
    "é ü 漢",
    "broken \udcff",
    "*",
)
NUMBERS = (0.1 + 0.2, 1 / 3, 5e-324, 1e300, 0.0, 1.0, 2.0**-52)


def swept() -> SweepResults:
    """Runs with any numbers and names, one that failed and one that is missing."""
    return results(
        *(
            made(cell(name, "c", i, note=name), image__auroc=number, pixel__aupro=0.5, seconds={"fit": number})
            for i, (name, number) in enumerate(zip(HOSTILE, NUMBERS, strict=True))
        ),
        Outcome(cell("failed"), error='a "reason",\nwith lines'),
        Outcome(cell("missing")),
    )


def test_every_number_is_read_back_exactly_from_both_long_tables(tmp_path: Path) -> None:
    found = swept()
    files = write_long_table(found, tmp_path)
    assert [file.name for file in files] == ["results.csv", "results.jsonl"]
    with files[0].open(newline="", encoding="utf-8") as file:
        typed = list(csv.DictReader(file))
    lines = [json.loads(line) for line in files[1].read_text(encoding="utf-8").splitlines()]
    rows = list(found.rows())
    assert len(typed) == len(lines) == len(rows)
    assert list(typed[0]) == list(lines[0]) == ["run", *found.factors, "metric", "value", "error"]
    for row, text, line in zip(rows, typed, lines, strict=True):
        factors = {name: row.factors.get(name) for name in found.factors}
        assert line == {
            "run": row.run,
            **factors,
            "metric": row.metric or None,
            "value": row.value,
            "error": row.error or None,
        }
        assert {name: unspell(text[name]) for name in factors} == {
            k: "" if v is None else str(v) for k, v in factors.items()
        }
        assert (float(text["value"]) if text["value"] else None) == row.value
        assert (unspell(text["metric"]), unspell(text["error"])) == (row.metric, row.error)


def test_the_long_table_is_the_same_each_time_and_replaces_the_earlier(tmp_path: Path) -> None:
    first = [file.read_bytes() for file in write_long_table(swept(), tmp_path)]
    assert [file.read_bytes() for file in write_long_table(swept(), tmp_path)] == first
    assert len(list(tmp_path.iterdir())) == 2


def small(*names: str) -> Summary:
    """Three models over two seeds; the first two tie, and the last lacks a run."""
    a, b, c = names or ("padim", "dfm", "cflow")
    outcomes = [
        made(cell(name, "c", seed), image__auroc=0.9 + 0.02 * seed, seconds={"fit": 2.0 + i + seed})
        for i, name in enumerate((a, b))
        for seed in (0, 1)
    ]
    outcomes += [made(cell(c, "c", 0), image__auroc=0.99, seconds={"fit": 1.0}), Outcome(cell(c, "c", 1), error="x")]
    return summarise(results(*outcomes))


def test_the_table_for_the_terminal() -> None:
    table = tabulate(small())
    assert list(table.names) == ["model", "image AUROC", "fit s"]
    assert table.texts() == [
        ["padim", "0.910 ± 0.014", "2.5 ± 0.7"],
        ["dfm", "0.910 ± 0.014", "3.5 ± 0.7"],
        ["cflow", "0.990 (1/2)", "1.0 (1/2)"],
    ]
    assert table.notes[0] == "Mean ± sample standard deviation over 2 seeds."


def test_markdown_has_the_best_in_bold_ties_included() -> None:
    assert to_markdown(tabulate(small())).splitlines()[:5] == [
        "| model | image AUROC | fit s |",
        "| --- | ---: | ---: |",
        "| padim | **0.910 ± 0.014** | **2.5 ± 0.7** |",
        "| dfm | **0.910 ± 0.014** | 3.5 ± 0.7 |",
        "| cflow | 0.990 (1/2) | 1.0 (1/2) |",
    ]


def test_latex_is_a_table_of_booktabs() -> None:
    lines = to_latex(tabulate(small("pa_dim", "d&m", "c%"))).splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs}"
    body = lines[lines.index(r"\begin{tabular}{lrr}") :]
    assert body == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"model & image AUROC & fit s \\",
        r"\midrule",
        r"pa\_dim & \textbf{0.910 $\pm$ 0.014} & \textbf{2.5 $\pm$ 0.7} \\",
        r"d\&m & \textbf{0.910 $\pm$ 0.014} & 3.5 $\pm$ 0.7 \\",
        r"c\% & 0.990 (1/2) & 1.0 (1/2) \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_a_table(name: str) -> None:
    table = tabulate(small(name, "b", "c"))
    rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "<b>" not in rows[2]
    latex = to_latex(table)
    assert all(letter.isprintable() for line in latex.splitlines() for letter in line)
    inside = latex[latex.index(r"\midrule") :]
    assert len(re.findall(r"(?<!\\)&", inside)) == 6
    assert not re.search(r"(?<!\\)[%#_]", inside)
    assert not re.search(r"\\\\\s*[\[*]", latex)
    for number, line in zip((1, 2), csv.reader(io.StringIO(to_csv(small(name, "b", "c")), newline="")), strict=False):
        assert number == 1 or unspell(line[0]) == name


def test_csv_and_json_hold_the_same_numbers_exactly() -> None:
    found = small()
    rows = list(csv.DictReader(io.StringIO(to_csv(found), newline="")))
    listed = json.loads(json.dumps(to_json(found)))
    assert (listed["by"], listed["over"]) == (["model"], ["category", "seed"])
    assert len(rows) == len(listed["means"]) == 6
    for row, mean, (line, metric) in zip(
        rows, listed["means"], ((line, metric) for line in found.lines for metric in found.metrics), strict=True
    ):
        expected = line.means[metric]
        assert (float(row["mean"]), mean["mean"], mean["model"]) == (expected.value, expected.value, line.group[0])
        assert (float(row["std"]) if row["std"] else None) == mean["std"] == expected.deviation
        assert (int(row["n"]), row["of"], int(row["runs"])) == (expected.n, expected.of, expected.runs)


def test_two_factors_make_rows_and_columns_and_each_column_has_its_best() -> None:
    values = {("padim", "a"): 0.9, ("padim", "b"): 0.5, ("dfm", "a"): 0.8, ("dfm", "b"): 0.7, ("cflow", "b"): 0.7}
    found = summarise(
        results(*(made(cell(m, c), image__auroc=x) for (m, c), x in values.items())), by=("model", "category")
    )
    table = tabulate(found, "image.auroc")
    assert list(table.names) == ["model", "a", "b"]
    assert table.texts() == [["padim", "0.900", "0.500"], ["dfm", "0.800", "0.700"], ["cflow", "-", "0.700"]]
    best = [[cell.is_best for cell in row if isinstance(cell, Shown)] for row in table.rows]
    assert best == [[True, False], [False, True], [False, True]]
    with pytest.raises(OptionError, match="must name two factors"):
        tabulate(small(), "image.auroc")


def test_tables_agree_with_metrics_of_the_runs() -> None:
    random = np.random.default_rng(0)
    for number in random.uniform(size=200):
        (line,) = summarise(results(made(cell("m"), image__auroc=float(number)))).lines
        assert (
            float(to_csv(summarise(results(made(cell("m"), image__auroc=float(number))))).splitlines()[1].split(",")[2])
            == number
        )
        assert line.means["image.auroc"].value == number


def test_a_format_is_written_by_its_name() -> None:
    found, table = small(), tabulate(small())
    assert [write_as(kind, found) for kind in ("markdown", "latex", "csv")] == [
        to_markdown(table),
        to_latex(table),
        to_csv(found),
    ]
    assert json.loads(write_as("json", found)) == to_json(found)
    with pytest.raises(OptionError, match="must be one of markdown, latex, csv, json, not 'word'"):
        write_as("word", found)
