"""Locks: who holds one, what may stand in the place of one, and what is left of one that could not be taken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adcli import RunError, StorageError
from adcli._locking import Lock


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


@pytest.mark.skipif(sys.platform == "win32", reason="it has no limits of that kind")
def test_under_a_limit_of_file_sizes_nothing_is_left(tmp_path: Path) -> None:
    change = (
        "import resource, sys; from pathlib import Path; from adcli._changes import changing\n"
        "from adcli.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    with changing(Path(sys.argv[1]), 'note.txt'):\n"
        "        pass\n"
        "except StorageError as error:\n"
        "    print(error, end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", change, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {tmp_path}: File too large; free space, or choose another place."
    assert not list(tmp_path.iterdir())
