"""What Windows does differently, simulated: held files, no fcntl, no syncing of folders, long and reserved names."""

import errno
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import windows
import yaml
from PIL import Image
from support import Adcli, assert_one_line

from adcli import _system
from adcli._changes import changing, making
from adcli._files import seal, sync, sync_all, write_atomically
from adcli._locking import Lock
from adcli.errors import RunError, StorageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="simulated with what Linux tells of open files")


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    windows.simulate(monkeypatch, tmp_path)


@pytest.mark.usefixtures("on_windows")
def test_the_whole_way_of_a_run_works(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    quick = ("-m", "padim", "--backbone", "random:resnet18", "--image-size", "64", "-o", "layers=1,2")
    commands: list[tuple[object, ...]] = [
        ("train", *quick, "--data", parts, "--out", "first"),
        ("train", "-m", "stfpm", *quick[2:6], "-o", "epochs=2", "--data", parts, "--out", "second"),
        ("evaluate", "first", "--data", parts, "--name", "again"),
        ("evaluate", "first", "--data", parts, "--name", "again"),
        ("calibrate", "first", "--false-alarm-rate", "0.2"),
        ("predict", "first", parts / "test", "--out", "day", "--overlays"),
        ("predict", "first", parts / "test", "--out", "day", "--append"),
        ("runs", "note", "first", "hello"),
        ("runs", "rename", "first", "third"),
        ("report", "third"),
        ("runs", "rm", "third", "--yes"),
    ]
    for command in commands:
        outcome = adcli(*command)
        assert outcome.code == 0, (command, outcome)
    assert not Path("third").exists()
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(".adcli-") or path.suffix in (".tmp", ".new")]
    assert left == []


@pytest.mark.usefixtures("on_windows")
def test_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    held = (tmp_path / "a").open()
    threading.Timer(0.15, held.close).start()
    write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.usefixtures("on_windows")
def test_a_file_that_stays_held_is_one_line_that_names_it_and_nothing_changes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    with (tmp_path / "a").open():
        start = time.monotonic()
        with pytest.raises(
            StorageError, match=rf"cannot write {tmp_path / 'a'}: Another program has it open; close it"
        ):
            write_atomically(tmp_path / "a", "new")
        assert time.monotonic() - start < 3
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.usefixtures("on_windows")
def test_what_was_committed_while_a_file_was_held_is_finished_later(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").write_text("old")

    def change_both() -> None:
        with changing(tmp_path, "target") as staged:
            (staged / "one").write_text("new")
            (staged / "two").write_text("new")

    with (tmp_path / "two").open(), pytest.raises(StorageError, match=r"two: Another program has it open"):
        change_both()
    with changing(tmp_path, "target"):
        pass
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["new", "new"]


@pytest.mark.usefixtures("on_windows")
def test_a_new_folder_gets_its_name_although_its_lock_is_open(tmp_path: Path) -> None:
    with making(tmp_path / "new") as folder:
        (folder / "a").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.usefixtures("on_windows")
def test_locks_hold_without_fcntl_and_say_who_has_them(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock", tmp_path).held():
        with pytest.raises(RunError, match=rf"is at work on it|process {os.getpid()}"):
            Lock(tmp_path / "lock", tmp_path).acquire()
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_syncs_no_folders_is_none_the_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(answer, os.strerror(answer))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "a").write_text("a")
    sync_all(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(answer, "no")))
    with pytest.raises(OSError, match="no"):
        sync(tmp_path / "a")


def test_elsewhere_what_may_not_be_written_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a")

    monkeypatch.setattr(os, "replace", refuse)
    start = time.monotonic()
    with pytest.raises(StorageError, match="Permission denied; choose a place where you may write"):
        write_atomically(tmp_path / "a", "new")
    assert time.monotonic() - start < 1


def test_a_path_that_is_too_long_for_windows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_system, "WINDOWS", True)
    path = tmp_path / ("d" * 150) / ("e" * 150) / "f"
    with pytest.raises(StorageError, match="no more than 259 characters; choose a shorter path"):
        write_atomically(path, "new")


def predicted(adcli: Adcli, run: Path, photos: Path) -> list[str]:
    assert adcli("predict", run, photos, "--out", "day", "--overlays").code == 0
    return sorted(path.relative_to("day/maps").as_posix() for path in Path("day/maps").rglob("*.png"))


def test_pictures_of_names_that_differ_in_case_alone_are_two(adcli: Adcli, trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("a.PNG", "A.png", "Day/b.png", "day/b.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), len(name), np.uint8)).save(photos / name)
    names = predicted(adcli, trained, photos)
    assert len({name.casefold() for name in names}) == 4


def test_pictures_have_no_name_that_is_a_device(adcli: Adcli, trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("CON/nul.png", "aux.tar.png", "com1 .png", "console.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photos / name)
    names = predicted(adcli, trained, photos)
    assert len(names) == 4
    assert not any(_system.is_reserved(part) for name in names for part in name.split("/"))


def rewrite(run: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change what a run says, as the machine that made it would have written it."""
    content = yaml.safe_load((run / "run.yaml").read_text())
    content.pop("digest")
    change(content)
    (run / "run.yaml").write_text(seal(content))


def test_a_run_that_was_made_on_windows_is_used_here(adcli: Adcli, run: Path, parts: Path) -> None:
    rewrite(run, lambda content: content.update(data="C:\\parts\\bottle", calibration="0.2"))
    assert adcli("predict", run, parts / "test").code == 0
    assert adcli("runs", "show", run).code == 0
    assert adcli("evaluate", run, "--data", parts, "--name", "here").code == 0
    outcome = adcli("evaluate", run)
    assert_one_line(outcome, 4, "C:\\parts\\bottle", "of Windows", "--data")


@pytest.mark.parametrize("name", ["CON", "nul", "Aux.txt", "com1"])
def test_a_run_or_an_evaluation_is_not_called_like_a_device(adcli: Adcli, run: Path, parts: Path, name: str) -> None:
    assert_one_line(adcli("evaluate", run, "--data", parts, "--name", name), 2, "another meaning on Windows")
    assert_one_line(adcli("runs", "rename", run, name), 2, "another meaning on Windows")


def test_commands_are_quoted_as_windows_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli._commands import quote

    monkeypatch.setattr(_system, "WINDOWS", True)
    assert quote("adcli", "predict", "C:\\my photos\\a.png") == 'adcli predict "C:\\my photos\\a.png"'
