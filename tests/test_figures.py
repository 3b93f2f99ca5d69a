"""Figures of the demo data on the pages are those that the program prints today."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import in_own_process

from adcli.data.demo import VERSION, cache_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs/first-run.md", ROOT / "docs/thresholds.md"]
COMMANDS = [
    "train --model patchcore --out runs/patchcore",
    "predict runs/patchcore {demo}/test",
    "calibrate runs/patchcore --false-alarm-rate 0.1",
    "calibrate runs/patchcore --data {demo}/test/good",
    "train --model dfm --threshold 2.5 --out runs/dfm",
    "train --model dfm --calibration 5-fold --out runs/folds",
    "train --model dfm --calibration {demo}/test/good --out runs/folder",
    "train --model dfm --threshold f1 --validation {demo}/test --out runs/f1",
]
FACTS = re.compile(r"(image|pixel|verdicts|threshold|before) {2,}|           \d|(good|defect) {2,}\d")
"""How the lines of an output begin that hold figures."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the commands print, line by line; each begins a process, as on the pages."""
    folder = tmp_path_factory.mktemp("figures")
    lines, demo = list[str](), cache_folder() / f"demo-{VERSION}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for command in COMMANDS:
            outcome = in_own_process(*shlex.split(command.format(demo=demo)), cwd=folder)
            assert outcome.code == 0, outcome
            lines += outcome.out.splitlines()
        metrics = {
            name: json.loads((folder / f"runs/{name}/metrics.json").read_text()) for name in ("patchcore", "dfm")
        }
        lines += [_row(name, found) for name, found in metrics.items()]
    return lines


def _row(name: str, metrics: dict[str, dict[str, float]]) -> str:
    values = (metrics["image"]["auroc"], metrics["pixel"]["auroc"], metrics["pixel"]["aupro"])
    return f"| `{name}` | {' | '.join(f'{value:.3f}' for value in values)} |"


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
    """Yield the lines with figures in what a page says that commands print, without the names of images."""
    for block in re.findall(r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if FACTS.match(line):
                yield without_name(line)


def without_name(line: str) -> str:
    return re.sub(r"^((?:good|defect) +\S+ +\S+) .*", r"\1", line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_on_a_page_are_printed(page: Path, printed: list[str]) -> None:
    known = [without_name(line) for line in printed]
    shown = list(shown_on(page))
    assert len(shown) >= 4
    stale = [line for line in shown if not any(agrees(line, other) for other in known)]
    assert stale == []


def test_rates_in_the_text_on_thresholds_are_printed(printed: list[str]) -> None:
    text = (ROOT / "docs/thresholds.md").read_text(encoding="utf-8").partition("## From this week's images")[0]
    rates = re.findall(r"(\d+\.\d) ?%", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert len(rates) >= 4
    assert [rate for rate in rates if f"{rate}%" not in "\n".join(printed)] == []


def test_the_table_of_models_has_what_they_reach(printed: list[str]) -> None:
    table = (ROOT / "docs/models.md").read_text(encoding="utf-8").partition("## The demo data")[2]
    for row in (line for line in printed if line.startswith("| `")):
        name = row.split("`")[1]
        (shown,) = re.findall(rf"^\| `{name}` (?:\| [\d.]+ ){{3}}\|", table, re.MULTILINE)
        assert agrees(shown, row)


def test_lines_agree_by_their_words_counts_and_figures() -> None:
    line = "threshold  11.4731: at most 1 in 21 good images is rejected"
    assert agrees(line, line.replace("11.4731", "11.4728"))
    assert not agrees(line, line.replace("11.4731", "10.57"))
    assert not agrees(line, line.replace("21", "20"))
    assert not agrees(line, line.replace("rejected", "found"))
