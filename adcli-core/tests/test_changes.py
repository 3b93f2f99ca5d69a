"""Changing a finished folder: everything at once or nothing, one command at a time, and never outside of it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adcli import RunError, StorageError
from adcli._changes import CHANGES, LOCK, changing, holding, inside, making, settle
from adcli._files import remove_leftovers, writing_lines
from adcli._locking import Lock


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def _read(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


BEFORE = {"evaluations/test/a": "old", "evaluations/test/gone": "old", "evaluations/other/a": "kept", "top": "old"}
AFTER = {"evaluations/test/a": "new", "evaluations/other/a": "kept", "top": "new", "added/deep": "new"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in BEFORE.items():
        _write(tmp_path / "run", name, text)
    return tmp_path / "run"


def _prepare(staged: Path) -> None:
    for name in ("evaluations/test/a", "top", "added/deep"):
        _write(staged, name, "new")


def test_a_target_is_replaced_as_a_whole_and_other_files_one_by_one(root: Path) -> None:
    with changing(root, "evaluations/test", whole=True) as staged:
        _prepare(staged)
        assert {name: text for name, text in _read(root).items() if not name.startswith(".")} == BEFORE
    assert _read(root) == AFTER
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


def test_an_error_changes_nothing_and_leaves_nothing(root: Path) -> None:
    def fail() -> None:
        with changing(root, "evaluations/test") as staged:
            _prepare(staged)
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        fail()
    assert _read(root) == BEFORE


def test_two_commands_never_change_one_target_at_once_but_different_ones(root: Path) -> None:
    with changing(root, "evaluations/test") as staged:
        with pytest.raises(RunError, match=r"/test: '.*' \(process \d+, since .*\) is at work on it"):
            changing(root, "evaluations/test").__enter__()
        with changing(root, "calibration.json") as other:
            _write(other, "calibration.json", "new")
        _prepare(staged)
    assert _read(root) == AFTER | {"calibration.json": "new", "evaluations/test/gone": "old"}


def test_what_adcli_did_not_make_is_not_replaced(root: Path) -> None:
    with (
        pytest.raises(StorageError, match="was not made by adcli"),
        changing(root, "evaluations/test", marker="m") as staged,
    ):
        _prepare(staged)
    assert _read(root) == BEFORE


@pytest.mark.parametrize(("name", "folder"), [("top", True), ("added", False), ("evaluations/test/a", True)])
def test_what_stands_in_the_way_is_found_before_anything_is_changed(root: Path, name: str, folder: bool) -> None:
    (root / name).unlink(missing_ok=True)
    (root / name).mkdir() if folder else (root / name).write_text("mine")
    before = _read(root)
    with pytest.raises(StorageError, match="stands in the way"), changing(root, "evaluations/test") as staged:
        _prepare(staged)
    settle(root)
    assert _read(root) == before
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("link", [CHANGES, "evaluations", "evaluations/test", "top", LOCK])
def test_links_are_not_followed(root: Path, tmp_path: Path, link: str) -> None:
    precious = tmp_path / "precious"
    (precious / "test").mkdir(parents=True)
    (precious / "test" / "photo").write_text("only copy")
    before = _read(precious)
    (root / link).rename(tmp_path / "moved") if (root / link).exists() else None
    (root / link).symlink_to(precious)
    with pytest.raises((RunError, StorageError)), changing(root, "evaluations/test") as staged:
        _prepare(staged)
    assert _read(precious) == before
    (root / link).unlink()
    settle(root)
    assert not list(root.glob(".*"))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b"])
def test_names_do_not_lead_out(root: Path, name: str) -> None:
    with pytest.raises(RunError, match="does not lie in it"):
        inside(root, name)


KILLED = """
import os, sys, shutil
from pathlib import Path
from adcli import _changes
root, stop = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counting(function):
    def call(*args, **named):
        global calls
        calls += 1
        if calls == stop:
            os._exit(9)
        return function(*args, **named)
    return call
steps = {Path: "rename replace mkdir write_text unlink", shutil: "rmtree", _changes: "sync"}
for owner, names in steps.items():
    for name in names.split():
        setattr(owner, name, counting(getattr(owner, name)))
with _changes.changing(root, "evaluations/test", whole=True) as staged:
    for name in ("evaluations/test/a", "top", "added/deep"):
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        with open(staged / name, "w") as file:
            file.write("new")
"""


def test_killed_at_any_step_it_is_all_old_or_all_new_for_whoever_comes_next(root: Path, tmp_path: Path) -> None:
    outcomes = []
    for stop in range(1, 100):
        case = tmp_path / f"case{stop}"
        for name, text in BEFORE.items():
            _write(case, name, text)
        code = subprocess.run([sys.executable, "-c", KILLED, str(case), str(stop)], check=False).returncode
        settle(case)
        assert _read(case) in (BEFORE, AFTER), stop
        assert not [path for path in case.rglob("*") if path.name.startswith(".")], stop
        outcomes.append(_read(case) == AFTER)
        if code == 0:
            break
    assert len(outcomes) > 15
    assert outcomes == sorted(outcomes)
    assert not outcomes[0]


def test_what_a_living_command_prepares_is_not_removed(root: Path) -> None:
    with changing(root, "evaluations/test") as staged:
        _prepare(staged)
        settle(root)
        assert (staged / "top").exists()


def test_a_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from adcli._locking import Lock\n"
        "Lock(Path(sys.argv[1]), Path('it')).acquire(); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    lock = Lock(tmp_path / "lock", tmp_path)
    start = time.monotonic()
    with pytest.raises(RunError, match=f"process {process.pid}"):
        lock.acquire(wait=0.2)
    assert time.monotonic() - start >= 0.2
    process.kill()
    process.wait()
    process.stdout.close()
    with lock.held():
        assert (tmp_path / "lock").exists()
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_nothing_is_settled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / CHANGES).mkdir()

    def refuse(self: Lock) -> bool:
        raise StorageError("cannot write")

    monkeypatch.setattr(Lock, "try_acquire", refuse)
    settle(root)
    assert (root / CHANGES).is_dir()


def test_one_who_holds_a_folder_waits_for_all_who_change_it_and_none_change_it_meanwhile(root: Path) -> None:
    (root / "exports/onnx").mkdir(parents=True)
    for folder in (root, root / "exports/onnx"):
        with changing(folder, "calibration.json"), pytest.raises(RunError, match=r"run: .* is at work on it"):
            holding(root).__enter__()
    with holding(root):
        assert "process" in Lock(root / LOCK, root).find_holder()
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


def test_a_new_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "new"

    def fail() -> None:
        with making(final) as folder:
            _prepare(folder)
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        fail()
    assert not list(tmp_path.iterdir())
    with making(final) as folder:
        _prepare(folder)
        assert not final.exists()
        with pytest.raises(RunError, match="is at work on it"):
            making(final).__enter__()
    assert sorted(_read(final)) == ["added/deep", "evaluations/test/a", "top"]
    assert [path.name for path in final.parent.iterdir()] == ["new"]


def test_unfinished_files_of_living_processes_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".adcli-0123456789ab.tmp").write_text("half")
    (tmp_path / ".tmp").write_text("mine")
    with writing_lines(tmp_path / "table.csv") as write:
        write("row\n")
        assert len(list(tmp_path.glob(".adcli-*.tmp"))) == 2
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(".adcli-*.tmp"))) == 1
        write("row\n")
    assert _read(tmp_path) == {"table.csv": "row\nrow\n", ".tmp": "mine"}
