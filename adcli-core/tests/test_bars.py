"""Progress in a notebook and on a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from adcli import ProgressBar, ProgressEvent, _bars


class Notebook:
    """What a kernel shows: for each display, all that was drawn in it."""

    def __init__(self) -> None:
        self.displays: list[list[str]] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        drawn = [content["text/html"]]
        self.displays.append(drawn)
        return SimpleNamespace(update=lambda content, raw: drawn.append(content["text/html"]))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Pretend that this is a kernel, in which time passes with each look at the clock."""
    shown, package, module = Notebook(), ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module.display = shown.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(_bars.time, "monotonic", lambda: float(next(ticks)))
    return shown


def test_a_notebook_has_a_bar_that_moves_and_leaves_a_line(notebook: Notebook) -> None:
    progress = ProgressBar()
    for item in progress.track(["a", "b", "c"], 3, "fitting <b>"):
        progress.report(ProgressEvent("fitting", epoch=1, epochs=2, loss=0.5))
        assert item in "abc"
    (drawn,) = notebook.displays
    assert drawn[0] == '<progress max="3" value="0"></progress> fitting &lt;b&gt;: 0 of 3'
    assert '<progress max="3" value="2"></progress> fitting &lt;b&gt;: 2 of 3, epoch 1/2, loss 0.5' in drawn
    assert drawn[-1].startswith("fitting &lt;b&gt;: 3 in ")
    assert "<" not in drawn[-1]


def test_a_bar_that_is_left_says_how_far_it_came_and_one_within_another_is_its_own(notebook: Notebook) -> None:
    progress = ProgressBar()
    outer = progress.track(range(5), 5, "outer")
    next(outer)
    next(outer)
    assert list(progress.track(range(2), 0, "inner")) == [0, 1]
    progress.report(ProgressEvent("outer", loss=0.25))
    outer.close()
    first, second = notebook.displays
    assert any("loss 0.25" in drawn for drawn in first)
    assert first[-1].startswith("outer: 1 of 5 in ")
    assert second[0] == "<progress></progress> inner: 0"
    assert second[-1].startswith("inner: 2 in ")


def test_a_bar_of_nothing_leaves_nothing(notebook: Notebook) -> None:
    assert list(ProgressBar().track([], 0, "reading")) == []
    assert notebook.displays[0][-1] == ""


def test_a_bar_is_drawn_a_few_times_a_second_at_most(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(_bars.time, "monotonic", lambda: next(ticks) / 1000)
    assert len(list(ProgressBar().track(range(1000), 1000, "reading"))) == 1000
    assert len(notebook.displays[0]) < 15


def test_errors_pass_a_bar(notebook: Notebook) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(ProgressBar().track(fail(), 2, "reading"))
    assert notebook.displays[0][-1].startswith("reading: 1 of 2 in ")


def test_notes_are_printed_in_one_line_each(notebook: Notebook, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressBar()
    progress.note("")
    progress.note("one\x1b[31m\ntwo")
    assert capsys.readouterr().out == "one\\x1b[31m two\n"


def test_elsewhere_nothing_of_notebooks_is_imported_and_notes_go_to_stderr() -> None:
    code = (
        "import sys; from adcli import ProgressBar; bar = ProgressBar(); bar.note('a note'); "
        "print(list(bar.track(range(3), 3, 'reading')), 'IPython' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[0, 1, 2] False\n"
    assert done.stderr == "a note\n"


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert list(ProgressBar().track(range(3), 3, "reading")) == [0, 1, 2]
    assert "reading" in capsys.readouterr().err
