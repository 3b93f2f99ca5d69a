"""Figures of the demo data on the pages are those that the program prints today."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import in_own_process

from adcli import cache_folder
from adcli.data.demo import SERIES

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parent.parent
FIRST = ["train --model patchcore --out runs/patchcore", "predict runs/patchcore {demo}/test"]
"""The commands of the first pages."""
FURTHER = [
    "calibrate runs/patchcore --false-alarm-rate 0.1",
    "evaluate runs/patchcore",
    "calibrate runs/patchcore --data {demo}/test/good",
    "train --model dfm --threshold 2.5 --out runs/dfm",
    "train --model dfm --calibration 5-fold --out runs/folds",
    "train --model dfm -o score=peak --data {demo}/train/good --calibration {demo}/test/good --out runs/folder",
]
FACTS = re.compile(r"(image|pixel|verdicts|threshold|before) {2,}|           \d|(good|defect) {2,}\d")
"""How the lines of an output begin that hold figures."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def first(folder: Path) -> list[str]:
    """What the first pages' commands print, line by line."""
    return [*run_all(FIRST, folder), row("patchcore", folder)]


@pytest.fixture(scope="module")
def printed(first: list[str], folder: Path) -> list[str]:
    """What all commands print, line by line."""
    return [*first, *run_all(FURTHER, folder), row("dfm", folder)]


def run_all(commands: list[str], folder: Path) -> list[str]:
    lines, demo = list[str](), cache_folder() / SERIES[None].folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for command in commands:
            outcome = in_own_process(*shlex.split(command.format(demo=demo)), cwd=folder)
            assert outcome.code == 0, outcome
            lines += outcome.out.splitlines()
    return lines


def row(model: str, folder: Path) -> str:
    """Return the row of a model in the table of what they reach."""
    found = json.loads((folder / f"runs/{model}/metrics.json").read_text())
    values = (found["image"]["auroc"], found["pixel"]["auroc"], found["pixel"]["aupro"])
    return f"| `{model}` | {' | '.join(f'{value:.3f}' for value in values)} |"


def agrees(shown: str, printed: str) -> bool:
    """Tell whether two lines have the same words, the same counts, and figures that differ by no more than 1 %."""
    if NUMBER.split(shown) != NUMBER.split(printed):
        return False
    for ours, theirs in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True):
        exact = "." not in ours
        if ours != theirs if exact else abs(float(ours) - float(theirs)) > max(0.01 * float(theirs), 0.0015):
            return False
    return True


def shown_on(page: Path) -> Iterator[str]:
    """Yield the lines with figures in what a page says that commands print, without the names of images.

    Where a page says in brackets what else an output is from, it is left out.
    """
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```text\n(.*?)^```$(\n\n\()?", text, re.DOTALL | re.MULTILINE):
        for line in () if block[2] else block[1].splitlines():
            if FACTS.match(line) and NUMBER.search(line):
                yield without_name(line)


def without_name(line: str) -> str:
    return re.sub(r"^((?:good|defect) +\S+ +\S+) .*", r"\1", line)


def check_page(page: Path, printed: list[str]) -> None:
    known = [without_name(line) for line in printed]
    shown = list(shown_on(page))
    assert len(shown) >= 4
    stale = [line for line in shown if not any(agrees(line, other) for other in known)]
    assert stale == []


def check_rows(printed: list[str]) -> None:
    table = (ROOT / "docs/models.md").read_text(encoding="utf-8").partition("## The demo data")[2]
    for line in (line for line in printed if line.startswith("| `")):
        (shown,) = re.findall(rf"^\| `{line.split('`')[1]}` (?:\| [\d.]+ ){{3}}\|", table, re.MULTILINE)
        assert agrees(shown, line)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/first-run.md"])
def test_figures_of_the_first_run_are_printed(page: str, first: list[str]) -> None:
    check_page(ROOT / page, first)
    check_rows(first)


@pytest.mark.matrix
def test_figures_on_thresholds_are_printed(printed: list[str]) -> None:
    check_page(ROOT / "docs/thresholds.md", printed)
    check_rows(printed)
    text = (ROOT / "docs/thresholds.md").read_text(encoding="utf-8").partition("## From this week's images")[0]
    rates = re.findall(r"(\d+\.\d) ?%", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert len(rates) >= 4
    assert [rate for rate in rates if f"{rate}%" not in "\n".join(printed)] == []


def test_lines_agree_by_their_words_counts_and_figures() -> None:
    line = "threshold  11.4731: at most 1 in 21 good images is rejected"
    assert agrees(line, line.replace("11.4731", "11.4728"))
    assert not agrees(line, line.replace("11.4731", "10.57"))
    assert not agrees(line, line.replace("21", "20"))
    assert not agrees(line, line.replace("rejected", "found"))
