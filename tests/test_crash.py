"""What nothing expected: one line with a number, its traceback in a file, and never on the terminal."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Adcli, Outcome

from adcli.cli import crash


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files for reports go."""
    folder = tmp_path / "state"
    monkeypatch.setenv("ADCLI_STATE", str(folder))
    monkeypatch.delenv("ADCLI_TRACE", raising=False)
    return folder


class PanicException(BaseException):
    """What a library in Rust raises."""


def recurse() -> None:
    recurse()


def fail(error: BaseException) -> Callable[..., object]:
    def failing(*_: object, **__: object) -> object:
        raise error

    return failing


def break_listing(monkeypatch: pytest.MonkeyPatch, failing: Callable[..., object]) -> None:
    """Have ``adcli runs`` fail."""
    from adcli.runs import find

    monkeypatch.setattr(find, "list_runs", failing)


def assert_kept(outcome: Outcome, state: Path) -> str:
    """Check the line, and return what its file says."""
    assert outcome.code == 70
    (line,) = outcome.err.splitlines()
    found = re.fullmatch(r"Error: internal error (\d{8}): (.*); please report it with the file (.+)\.", line)
    assert found, line
    assert found[3] == str(state / f"error-{found[1]}.txt")
    return Path(found[3]).read_text()


@pytest.mark.parametrize(
    "error",
    [
        KeyError("metrics"),
        RuntimeError("two\nlines \x1b[31m"),
        AssertionError(),
        PanicException("panicked"),
        OSError(9),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_is_one_line_and_a_file(
    adcli: Adcli, monkeypatch: pytest.MonkeyPatch, state: Path, error: BaseException
) -> None:
    break_listing(monkeypatch, fail(error))
    outcome = adcli("runs", "--json")
    text = assert_kept(outcome, state)
    assert not outcome.out
    assert "\x1b" not in outcome.err
    for words in ("Traceback", type(error).__name__, "adcli runs --json", "platform", "python", "adcli-core", "torch"):
        assert words in text


def test_endless_recursion_is_one_line(adcli: Adcli, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    break_listing(monkeypatch, lambda *_: recurse())
    assert "RecursionError" in assert_kept(adcli("runs"), state)


def test_a_fault_has_the_same_number_every_time(adcli: Adcli, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    break_listing(monkeypatch, fail(KeyError("a")))
    adcli("runs")
    break_listing(monkeypatch, fail(KeyError("b")))
    adcli("runs")
    assert len(list(state.iterdir())) == 1
    break_listing(monkeypatch, fail(ValueError("b")))
    adcli("runs")
    assert len(list(state.iterdir())) == 2


def test_the_newest_files_are_kept(adcli: Adcli, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    state.mkdir()
    for number in range(crash.KEPT + 5):
        (state / f"error-{number:08}.txt").touch()
    (state / "notes.txt").touch()
    break_listing(monkeypatch, fail(KeyError("a")))
    assert_kept(adcli("runs"), state)
    assert len(list(state.glob("error-*.txt"))) == crash.KEPT
    assert (state / "notes.txt").exists()


def test_a_file_that_cannot_be_written_is_said_in_the_line(
    adcli: Adcli, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    state.write_text("in the way")
    break_listing(monkeypatch, fail(KeyError("a")))
    outcome = adcli("runs")
    (line,) = outcome.err.splitlines()
    assert outcome.code == 70
    assert re.match(r"Error: internal error \d{8}: KeyError: 'a'.*; please report it: ADCLI_TRACE=1 shows more", line)
    assert f"(cannot write {state}: " in line


def test_the_traceback_is_printed_if_it_is_asked_for(adcli: Adcli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_TRACE", "1")
    break_listing(monkeypatch, fail(KeyError("a")))
    outcome = adcli("runs")
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("Error: internal error ")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ADCLI_STATE": "given"}, "given"),
        ({"ADCLI_STATE": "", "XDG_STATE_HOME": "/var/state"}, "/var/state/adcli"),
        ({"ADCLI_STATE": "", "XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/adcli"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the folder of Linux")
def test_the_folder_is_where_the_system_has_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert crash.state_folder() == Path(folder)


def test_a_thread_that_fails_is_a_warning_and_a_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    crash.keep_off_terminal()
    thread = threading.Thread(target=fail(KeyError("a")))
    thread.start()
    thread.join()
    said = capfd.readouterr().err
    assert re.match(r"warning: in a thread: internal error \d{8}: KeyError: 'a'", said)
    assert len(said.splitlines()) == 1
    assert "Traceback" in next(state.iterdir()).read_text()


def test_predictions_that_are_printed_stay_valid(
    adcli: Adcli, trained: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    from adcli.scoring.verdict import VerdictRecord

    kept, taken = VerdictRecord.of, []

    def third_fails(*arguments: object, **more: object) -> VerdictRecord:
        taken.append(1)
        if len(taken) == 3:
            raise KeyError("score")
        return kept(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(VerdictRecord, "of", third_fails)
    outcome = adcli("predict", trained, parts / "test/good", "--json", "--out", "out")
    assert outcome.code == 70
    assert len(json.loads(outcome.out)) == 2
    assert len(Path("out/predictions.csv").read_text().splitlines()) == 3


def test_a_process_of_its_own_ends_with_the_line(tmp_path: Path, state: Path) -> None:
    code = (
        "import sys; from adcli.cli import main, runs; runs.callback = lambda **_: 1 / 0; sys.argv = ['adcli', 'runs']"
    )
    done = subprocess.run([sys.executable, "-c", f"{code}; main()"], cwd=tmp_path, capture_output=True, text=True)
    assert "ZeroDivisionError" in assert_kept(Outcome(done.returncode, done.stdout, done.stderr), state)
