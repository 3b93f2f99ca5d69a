"""Changing a finished folder: everything at once or nothing, one command at a time, and never outside of it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adcli import RunError, StorageError, _files
from adcli._changes import CHANGES, LOCK, changing, clean_beside, holding, inside, making, settle
from adcli._files import _temporary, remove_leftovers, remove_tree, write_atomically
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


def test_what_is_new_and_what_it_replaces_change_in_one_step(root: Path) -> None:
    with changing(root, "evaluations/test", replaced=["evaluations/test/a", "evaluations/test/gone"]) as staged:
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


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a\0b", "\ud800"])
def test_names_do_not_lead_out(root: Path, name: str) -> None:
    with pytest.raises(RunError, match="does not lie in it"):
        inside(root, name)


COUNTED = """
import os, sys, shutil
from pathlib import Path
from adcli import _changes
place, stop, steps = Path(sys.argv[1]), int(sys.argv[2]), {STEPS}
calls = 0
def counting(function):
    def call(*args, **named):
        global calls
        calls += 1
        if calls == stop:
            os._exit(9)
        return function(*args, **named)
    return call
for owner, names in steps.items():
    for name in names.split():
        setattr(owner, name, counting(getattr(owner, name)))
"""
"""A process that ends at the n-th of its steps; what it does follows."""

KILLED = (
    COUNTED.replace("{STEPS}", '{Path: "rename replace mkdir write_text unlink", shutil: "rmtree", _changes: "sync"}')
    + """
with _changes.changing(place, "evaluations/test", replaced=["evaluations/test/gone"]) as staged:
    for name in ("evaluations/test/a", "top", "added/deep"):
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        with open(staged / name, "w") as file:
            file.write("new")
"""
)


@pytest.mark.thorough
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
    with _temporary(tmp_path / "table.csv"):
        assert len(list(tmp_path.glob(".adcli-*.tmp"))) == 2
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob(".adcli-*.tmp"))) == 1
    assert _read(tmp_path) == {".tmp": "mine"}


def test_a_file_is_written_though_what_removes_leftovers_took_it_before_it_was_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = _files.lock_file, []

    def lock_late(descriptor: int, path: Path) -> bool:
        if not taken:
            taken.append(path)
            path.unlink()
        return lock(descriptor, path)

    monkeypatch.setattr(_files, "lock_file", lock_late)
    write_atomically(tmp_path / "table.csv", "whole")
    assert taken
    assert _read(tmp_path) == {"table.csv": "whole"}


@pytest.mark.parametrize("kind", ["folder", "file", "pipe", "link", "missing"])
def test_whatever_has_the_name_of_a_folder_is_removed_and_no_link_followed(tmp_path: Path, kind: str) -> None:
    _write(tmp_path, "precious/photo", "only copy")
    path = tmp_path / "left"
    if kind == "folder":
        _write(path, "deep/a", "half")
        os.mkfifo(path / "pipe")
    elif kind == "file":
        path.write_text("half")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "precious")
    remove_tree(path)
    assert not os.path.lexists(path)
    assert _read(tmp_path) == {"precious/photo": "only copy"}


def _commit_by_hand(root: Path, plan: str = '{"removed": []}') -> Path:
    committed = root / CHANGES / "committed"
    committed.mkdir(parents=True)
    (committed / ".plan.json").write_text(plan)
    return committed


def _assert_refused(root: Path) -> None:
    """Assert that a plan is refused with one line that says what to do, and can be given up."""
    with pytest.raises(RunError) as caught:
        settle(root)
    line = caught.value.format_message()
    assert str(root / CHANGES) in line
    assert "committed" in line
    assert "\n" not in line
    assert line.endswith(f"remove {root / CHANGES}.")
    with pytest.raises(RunError), changing(root, "x"):
        pytest.fail("began")
    with holding(root, removing=True):
        pass
    settle(root)
    assert not (root / CHANGES).exists()


@pytest.mark.parametrize(
    "plan",
    [
        "[" * 100_000,
        "[]",
        "",
        "{",
        "\ufeff{}",
        '{"removed": 5}',
        '{"removed": [], "whole": ["a/test"]}',
        '{"removed": ["\\ud800"]}',
        '{"removed": ["a\\u0000b"]}',
        '{"removed": ["../out/photo"]}',
        '{"removed": ["."]}',
        '{"removed": [""]}',
        '{"removed": ["evaluations"]}',
        '{"removed": ["evaluations/../../out/photo"]}',
        '{"removed": [".adcli-changes/committed/.plan.json"]}',
        '{"removed": [".adcli-lock"]}',
        '{"removed": ["' + "x" * 5000 + '/y"]}',
    ],
)
def test_a_plan_that_adcli_did_not_write_is_refused_with_one_line_and_nothing_is_moved(
    root: Path, tmp_path: Path, plan: str
) -> None:
    _write(tmp_path, "out/photo", "only copy")
    _write(_commit_by_hand(root, plan), "top", "new")
    _assert_refused(root)
    assert {name: text for name, text in _read(root).items() if not name.startswith(".")} == BEFORE
    assert _read(tmp_path / "out") == {"photo": "only copy"}


@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "dangling link", "pipe", "reserved", "folder"])
def test_only_files_that_lie_in_what_was_committed_are_moved(root: Path, tmp_path: Path, kind: str) -> None:
    _write(tmp_path, "bottle/test/photo", "only copy")
    committed = _commit_by_hand(root)
    _write(committed, "evaluations/test/a", "new")
    if kind == "pipe":
        os.mkfifo(committed / "top")
    elif kind == "reserved":
        _write(committed, f"{CHANGES}/x", "new")
    elif kind == "folder":
        _write(committed, "top/x", "new")
    else:
        places = {"link to a folder": "bottle", "link to a file": "bottle/test/photo", "dangling link": "none"}
        (committed / "a").symlink_to(tmp_path / places[kind])
    _assert_refused(root)
    assert {name: text for name, text in _read(root).items() if not name.startswith(".")} == BEFORE
    assert _read(tmp_path / "bottle") == {"test/photo": "only copy"}


@pytest.mark.parametrize("name", [f"{CHANGES}/committed", f"{CHANGES}/committed/.plan.json"])
def test_pipes_in_place_of_what_was_committed_are_refused(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True)
    os.mkfifo(root / name)
    _assert_refused(root)


def test_a_pipe_in_place_of_the_folder_of_changes_is_named(root: Path) -> None:
    os.mkfifo(root / CHANGES)
    settle(root)
    with pytest.raises(StorageError, match=rf"{CHANGES}: is no folder; remove it"), changing(root, "top"):
        pytest.fail("began")


def test_a_folder_that_is_gone_is_named(root: Path, tmp_path: Path) -> None:
    def rename() -> None:
        with changing(root, "top") as staged:
            _prepare(staged)
            root.rename(tmp_path / "moved")

    with pytest.raises(StorageError, match=rf"^{re.escape(str(root))}: is gone"):
        rename()
    with pytest.raises(StorageError, match=rf"^{re.escape(str(root))}: is gone"), changing(root, "top"):
        pytest.fail("began")


@pytest.mark.parametrize("plan", [True, False])
def test_a_step_that_was_broken_off_is_told_where_it_cannot_be_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch, plan: bool
) -> None:
    _write(_commit_by_hand(root), "top", "new")
    if not plan:
        (root / CHANGES / "committed" / ".plan.json").unlink()

    def refuse(path: Path, flags: int, **_: object) -> int:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr("adcli._locking.open_regular", refuse)
        if plan:
            with pytest.raises(RunError, match=r"was killed while it changed this.*Read-only.*copy it to where you"):
                settle(root)
        else:
            settle(root)
    settle(root)
    assert (root / "top").read_text() == ("new" if plan else "old")


MAKING_KILLED = (
    COUNTED.replace(
        "{STEPS}",
        '{Path: "rename mkdir write_text unlink rmdir", shutil: "rmtree", _changes: "sync", os: "open write"}',
    )
    + """
with _changes.making(place) as folder:
    with open(folder / "a", "w") as file:
        file.write("new")
"""
)


@pytest.mark.thorough
def test_a_new_folder_that_was_killed_at_any_step_leaves_nothing_that_is_not_cleaned(tmp_path: Path) -> None:
    finished = []
    for stop in range(1, 100):
        final = tmp_path / f"case{stop}" / "x"
        final.parent.mkdir()
        code = subprocess.run([sys.executable, "-c", MAKING_KILLED, str(final), str(stop)], check=False).returncode
        clean_beside(final)
        names = [path.name for path in final.parent.iterdir()]
        if not final.exists() and names:
            # Killed before it could say what the folder is: it goes when the command has run again.
            with making(final) as folder:
                _write(folder, "a", "new")
            names = [path.name for path in final.parent.iterdir()]
        assert names in ([], ["x"]), stop
        finished.append(final.exists())
        if code == 0:
            break
    assert len(finished) > 15
    assert finished[-1]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (".video.making", {"new/clip": "mine"}),
        (".adcli-video.making", {"new/clip": "mine"}),
        (".adcli-video.making", {"new/clip": "mine", ".adcli-lock": "", ".adcli-making": ""}),
        (".adcli-video.making", {"new/clip": "mine", ".adcli-making": "{}"}),
        (".adcli-video.making", {"new/clip": "mine", ".adcli-making": "[" * 100_000}),
        (".adcli-video.making", {"new/clip": "x", "own": "x", ".adcli-making": '{"making": "video", "process": 1}'}),
        (".adcli-video.making", {"new/clip": "x", ".adcli-making": '{"making": "other", "process": 1}'}),
        (".adcli-x.making", {"new/clip": "mine"}),
        (".adcli-x.making", {"own": "mine"}),
    ],
)
def test_folders_that_adcli_did_not_make_are_never_removed(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    for file, text in files.items():
        _write(tmp_path / name, file, text)

    def make() -> None:
        with making(tmp_path / "x") as folder:
            _prepare(folder)

    if (name, "new/clip" in files) == (".adcli-x.making", True):
        with pytest.raises(StorageError, match="was not made by adcli; move it away"):
            make()
    else:
        make()
    assert _read(tmp_path / name) == files


def test_what_a_killed_command_left_is_removed_by_another_beside_it(tmp_path: Path) -> None:
    left = tmp_path / ".adcli-video.making"
    _write(left, ".adcli-making", json.dumps({"making": "video", "process": 1}))
    _write(left, "new/half", "half")
    with making(tmp_path / "x") as folder:
        _prepare(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_of_unfinished_files_only_those_that_adcli_names_so_are_removed(tmp_path: Path) -> None:
    for name in (".adcli-notes.tmp", ".adcli-0123456789ab.tmp.bak", ".adcli-0123456789ab.tmp"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".adcli-notes.tmp", ".adcli-0123456789ab.tmp.bak"}
