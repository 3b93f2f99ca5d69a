"""Locks, and files that are read whole: what may stand in their place, and what is left if one cannot be used."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adcli import AdcliError, RunError, StorageError
from adcli._files import read_state
from adcli._locking import Lock
from adcli.exports.export import Export
from adcli.pipeline._evaluate import read_origin
from adcli.pipeline._run_page import shows
from adcli.runs.calibrations import read_calibration, read_kept
from adcli.runs.metrics import read_metrics
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_a_file_is_a_lock(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "photo").write_text("only copy")
        path.symlink_to(tmp_path / "photo")
    else:
        path.mkdir()
    lock = Lock(path, tmp_path)
    assert lock.find_holder() == ""
    with pytest.raises(StorageError, match=r"cannot write .*lock: .*; remove it\."):
        lock.acquire()
    if kind == "link":
        assert (tmp_path / "photo").read_text() == "only copy"


def test_a_lock_in_a_folder_that_is_gone_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run: is gone; another command has just removed or renamed it"):
        Lock(tmp_path / "run" / "lock", tmp_path).acquire()


@pytest.mark.parametrize("call", ["write", "ftruncate"])
def test_a_full_disk_keeps_nobody_from_holding_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(27, "File too large")

    lock = Lock(tmp_path / "lock", tmp_path)
    monkeypatch.setattr(os, call, refuse)
    with lock.held(), pytest.raises(RunError, match="another process is at work on it"):
        Lock(tmp_path / "lock", tmp_path).acquire()
    assert not list(tmp_path.iterdir())


def test_an_interruption_while_a_lock_is_taken_lets_it_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    lock = Lock(tmp_path / "lock", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
    assert not list(tmp_path.iterdir())
    with Lock(tmp_path / "lock", tmp_path).held():
        pass


LIMITED = """
import resource, sys
from pathlib import Path
from adcli._changes import changing
from adcli._files import write_atomically
from adcli.errors import StorageError
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    if sys.argv[2] == "file":
        write_atomically(folder / "note.txt", "hi")
    else:
        with changing(folder, "note.txt") as staged:
            if sys.argv[2] == "change":
                write_atomically(staged / "note.txt", "hi")
except StorageError as error:
    print(error, end="")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no limits of that kind")
@pytest.mark.parametrize("what", ["file", "change", "empty change"])
def test_under_a_limit_of_file_sizes_the_file_is_named_and_nothing_is_left(tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path}")
    assert done.stdout.endswith(": File too large; free space, or choose another place.")
    assert not list(tmp_path.iterdir())


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to(__file__)


def _fill(size: int) -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return fill


REASONS = {
    "pipe": "Is no file",
    "link": "symbolic link",
    "folder": "Is no file",
    "too large": "larger than 262144 KiB",
    "no text": "no UTF-8 text",
    "missing": "No such file",
}

BAD: Mapping[str, Callable[[Path], object]] = {
    "pipe": _pipe,
    "link": _link,
    "folder": Path.mkdir,
    "too large": _fill((256 << 20) + 1),
    "no text": lambda path: path.write_bytes(b"\xff"),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("kind", BAD)
def test_only_a_text_of_bounded_size_is_read_and_the_reason_is_told(tmp_path: Path, kind: str) -> None:
    BAD[kind](tmp_path / "state")
    with pytest.raises(OSError, match=REASONS[kind]):
        read_state(tmp_path / "state")


READERS: Mapping[str, Callable[[Path], object]] = {
    "run.yaml": Run.open,
    "calibration.json": lambda path: read_calibration(path, "weights"),
    "calibrations/0001.json": lambda path: read_kept(path, 1),
    "manifest.yaml": Export.open,
    "evaluation.json": read_origin,
    "metrics.json": read_metrics,
    "note.txt": lambda path: Run(path, {}, {}, Calibration.none()).note,
}


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_in_a_run_is_told_in_one_line(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    BAD[kind](tmp_path / name)
    with pytest.raises(AdcliError) as caught:
        READERS[name](tmp_path)
    assert str(tmp_path / name) in caught.value.format_message()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_page_shows_nothing(tmp_path: Path, kind: str) -> None:
    BAD[kind](tmp_path / "report.html")
    assert not shows(tmp_path / "report.html", Calibration.none())
