"""What commands do to a finished run: all or nothing, one at a time, and never to what adcli did not make."""

import csv
import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import Adcli, assert_one_line, in_own_process, start_adcli, write_parts

from adcli import RunError, StorageError, pipeline
from adcli._changes import CHANGES, changing, holding
from adcli._files import _replace, _temporary, seal
from adcli.exports.export import MANIFEST_FILE
from adcli.exports.writing import TARGET, new_folder
from adcli.runs.find import list_runs
from adcli.runs.images import read_images
from adcli.runs.partial import check_free
from adcli.runs.removing import PLAN_FILE
from adcli.runs.run import Run

TOP = ("metrics.json", "scores.csv", "report.html")


def read_all(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def others(tmp_path: Path) -> Sequence[Path]:
    """Two data sets in folders of one name, as cameras write them."""
    return [write_parts(tmp_path / day / "test", train=4, good=2 + i, defective=1) for i, day in enumerate("ab")]


def test_evaluations_of_other_data_take_no_place_that_is_taken(adcli: Adcli, run: Path, others: Sequence[Path]) -> None:
    own = read_all(run)
    for path, name in ((others[0], "test-2"), (others[1], "test-3"), (others[0], "test-2")):
        outcome = adcli("evaluate", run, "--data", path, "--json")
        assert outcome.code == 0, outcome.err
        assert Path(json.loads(outcome.out)["evaluation"]).name == name
    after = read_all(run)
    assert {name: after[name] for name in own} == own
    assert len(json.loads(after["evaluations/test-2/metrics.json"])) > 0
    before = read_all(run)
    for name in ("test", "test-2"):
        assert_one_line(adcli("evaluate", run, "--data", others[1], "--name", name), 2, "--name", "other")
    assert read_all(run) == before


def test_what_is_at_the_top_is_of_the_runs_own_evaluation(adcli: Adcli, run: Path, others: Sequence[Path]) -> None:
    assert adcli("evaluate", run, "--data", others[0]).code == 0
    assert adcli("calibrate", run, "--false-alarm-rate", "0.3").code == 0
    assert adcli("evaluate", run).code == 0
    for name in TOP:
        assert (run / name).read_bytes() == (run / "evaluations/test" / name).read_bytes()
    digest = pipeline.load(run).calibration.digest
    assert digest.encode() in (run / "report.html").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["../../precious", "../model.safetensors", "../run.yaml", "../../run", ".", "", "test/maps", "a\nb", "\x1b[2J"],
)
def test_the_name_of_an_evaluation_leads_nowhere(adcli: Adcli, run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "photo.png").write_bytes(b"only copy")
    before = read_all(tmp_path)
    outcome = adcli("evaluate", run, "--name", name)
    assert_one_line(outcome, 2, "--name")
    assert read_all(tmp_path) == before


def test_an_evaluation_leaves_files_alone_that_it_did_not_make(adcli: Adcli, run: Path) -> None:
    (run / "evaluations/test/my-notes.txt").write_text("only copy")
    (run / "evaluations/mine").mkdir()
    (run / "evaluations/mine/photo").write_text("only copy")
    assert adcli("evaluate", run).code == 0
    assert (run / "evaluations/test/my-notes.txt").read_text() == "only copy"
    assert_one_line(adcli("evaluate", run, "--name", "mine"), 2, "choose another")
    assert (run / "evaluations/mine/photo").read_text() == "only copy"


@pytest.mark.parametrize("command", ["evaluate", "report", "export"])
@pytest.mark.parametrize("link", ["evaluations", "evaluations/test", "exports", CHANGES, "report.html", "metrics.json"])
def test_no_command_follows_a_link_out_of_a_run(
    adcli: Adcli, run: Path, tmp_path: Path, command: str, link: str
) -> None:
    precious = tmp_path / "precious"
    (precious / "test").mkdir(parents=True)
    for name in ("photo.png", "test/metrics.json", "evaluation.json"):
        (precious / name).write_text("{}")
    place = run / link
    if place.exists():
        place.rename(tmp_path / "moved")
    place.symlink_to(precious if "." not in link[1:] else precious / "photo.png")
    before = read_all(precious)
    arguments = ["--to", "no-such", "--data", "no-such"] if command == "export" else []
    outcome = adcli(command, run, *arguments)
    if (command, link) in (("evaluate", "evaluations/test"), ("evaluate", "report.html"), ("report", "report.html")):
        assert_one_line(outcome, 5, link, "is a link")
        (run / link).unlink()
        assert adcli("runs", "show", run).code == 0
    if command == "export" and link == "exports":
        with pytest.raises(RunError, match="is a link"), new_folder(run / "exports/x", run=run) as folder:
            (folder / "graph").write_text("")
    assert read_all(precious) == before


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    "commands",
    [
        [["evaluate", "RUN"], ["evaluate", "RUN"]],
        [["evaluate", "RUN"], ["calibrate", "RUN", "--false-alarm-rate", "0.2"]],
        [["evaluate", "RUN"], ["report", "RUN"]],
        [["runs", "note", "RUN", "one"], ["runs", "note", "RUN", "two"]],
        [["evaluate", "RUN"], ["runs", "rm", "RUN", "--yes"]],
        [["evaluate", "RUN"], ["runs", "rename", "RUN", "other"]],
    ],
)
def test_of_two_commands_at_once_each_ends_whole_or_says_who_is_at_work(
    run: Path, tmp_path: Path, commands: list[list[str]]
) -> None:
    at_work = 0
    started = [start_adcli(*(run if word == "RUN" else word for word in words), cwd=tmp_path) for words in commands]
    for process in started:
        _, err = process.communicate(timeout=300)
        assert "Traceback" not in err
        if process.returncode:
            at_work += 1
            assert any(words in err for words in ("is at work on it", "no run", "no such", "is gone")), err
    assert at_work < 2
    (folder,) = list((tmp_path / "runs").iterdir()) or [None]
    if folder is None:
        return
    opened = Run.open(folder)
    for name in TOP:
        assert (folder / name).read_bytes() == (folder / "evaluations/test" / name).read_bytes()
    assert opened.verified_weights()
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_a_second_evaluation_ends_at_once_and_names_the_first(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from adcli._changes import changing\n"
        "with changing(Path(sys.argv[1]), 'evaluations/test'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    before = {name: content for name, content in read_all(tmp_path / run).items() if not name.startswith(".")}
    outcome = in_own_process("evaluate", run, cwd=tmp_path)
    assert_one_line(outcome, 5, f"process {holder.pid}", "is at work on it")
    assert_one_line(in_own_process("runs", "rm", run, "--yes", cwd=tmp_path), 5, f"process {holder.pid}")
    holder.kill()
    holder.communicate()
    assert in_own_process("runs", "show", run, cwd=tmp_path).code == 0
    assert read_all(tmp_path / run) == before


@pytest.mark.thorough
@pytest.mark.slow
def test_an_evaluation_killed_at_any_moment_leaves_the_old_or_the_new(trained: Path, tmp_path: Path) -> None:
    """Where it is killed is drawn from how long it takes; the steps themselves are killed in the tests of changes."""
    start = time.monotonic()
    assert in_own_process("evaluate", shutil.copytree(trained, tmp_path / "whole"), cwd=tmp_path).code == 0
    seconds = time.monotonic() - start
    for share in (0.8, 0.95):
        copied = shutil.copytree(trained, tmp_path / f"run-{share}")
        process = start_adcli("evaluate", copied, cwd=tmp_path)
        time.sleep(share * seconds)
        process.kill()
        process.communicate()
        pipeline.load(copied)
        for name in TOP:
            assert (copied / name).read_bytes() == (copied / "evaluations/test" / name).read_bytes()
        assert not [path for path in copied.rglob("*") if path.name.startswith(".")]


def write_export(folder: Path, **files: str) -> None:
    """Write what list_files takes for an export."""
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / MANIFEST_FILE).write_text(seal({"files": dict.fromkeys(files, "")}))


@pytest.mark.parametrize("place", ["run/exports/onnx", "elsewhere/onnx"])
def test_an_export_replaces_nothing_that_appeared_meanwhile(tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()
    final = tmp_path / place

    def export() -> None:
        with new_folder(final, run=tmp_path / "run") as folder:
            write_export(folder, graph="new")
            final.mkdir(parents=True)
            (final / "photo").write_text("only copy")

    with pytest.raises(StorageError, match=r"appeared meanwhile.*lies in .*onnx-2"):
        export()
    assert read_all(final) == {"photo": b"only copy"}
    assert (final.with_name("onnx-2") / "graph").read_text() == "new"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    with pytest.raises(StorageError, match="exists already"):
        new_folder(final, run=tmp_path / "run").__enter__()


@pytest.mark.parametrize("place", ["run/exports/onnx", "elsewhere/onnx"])
def test_an_export_that_fails_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()

    def export() -> None:
        with new_folder(tmp_path / place, run=tmp_path / "run") as folder:
            write_export(folder, graph="new")
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        export()
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


@pytest.mark.parametrize("place", ["run/exports/onnx", "elsewhere/onnx"])
def test_an_export_is_replaced_in_one_step_and_nothing_else_in_its_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()
    final = tmp_path / place
    with new_folder(final, run=tmp_path / "run") as folder:
        write_export(folder, graph="old", left="old")
    (final / "mine").write_text("only copy")
    (final / "calibrations").mkdir()
    (final / "calibrations/0002.json").write_text("of the old one")
    with new_folder(final, run=tmp_path / "run", replace=True) as folder:
        write_export(folder, graph="new")
        assert (final / "graph").read_text() == "old"
    assert set(read_all(final)) == {"graph", "mine", MANIFEST_FILE}
    assert (final / "graph").read_text() == "new"

    def replace() -> None:
        with new_folder(final, run=tmp_path / "run", replace=True) as folder:
            write_export(folder, graph="newer", mine="newer")

    with pytest.raises(StorageError, match="mine: is not of the export"):
        replace()
    assert (final / "graph").read_text() == "new"
    assert (final / "mine").read_text() == "only copy"


def test_two_exports_to_one_folder_exclude_each_other_and_what_is_no_export_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for final in (tmp_path / "run/exports/onnx", tmp_path / "onnx"):
        with new_folder(final, run=tmp_path / "run"), pytest.raises(RunError, match="is at work on it"):
            new_folder(final, run=tmp_path / "run").__enter__()
        (final / MANIFEST_FILE).write_text("nonsense")
        with pytest.raises(Exception, match=r"manifest\.yaml: was changed"):
            new_folder(final, replace=True).__enter__()
        (final / MANIFEST_FILE).unlink()
        with pytest.raises(Exception, match="no export that could be replaced"):
            new_folder(final, replace=True).__enter__()


def test_a_forced_export_and_a_calibration_of_the_export_exclude_each_other(tmp_path: Path) -> None:
    final = tmp_path / "onnx"
    with new_folder(final) as folder:
        write_export(folder, graph="old")
    with changing(final, TARGET), pytest.raises(RunError, match="is at work on it"):
        new_folder(final, replace=True).__enter__()
    with new_folder(final, replace=True) as folder:
        write_export(folder, graph="new")
        with pytest.raises(RunError, match="is at work on it"):
            changing(final, TARGET).__enter__()
    assert (final / "graph").read_text() == "new"


def test_what_a_killed_export_left_is_removed_by_the_next_beside_it(tmp_path: Path) -> None:
    left = tmp_path / ".adcli-onnx.making"
    (left / "new").mkdir(parents=True)
    (left / ".adcli-making").write_text('{"making": "onnx", "process": 1}')
    (left / ".adcli-lock").write_text("")
    precious = tmp_path / ".precious.making"
    precious.mkdir()
    (precious / "photo").write_text("only copy")
    with new_folder(tmp_path / "other") as folder:
        write_export(folder, graph="new")
        with new_folder(tmp_path / "third") as third:
            write_export(third, graph="new")
        assert folder.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"other", "third", ".precious.making"}


def test_runs_are_removed_and_nothing_else(adcli: Adcli, run: Path, tmp_path: Path) -> None:
    (run / "exports/onnx").mkdir(parents=True)
    write_export(run / "exports/onnx", graph="x")
    (run / "exports/onnx/mine").write_text("only copy")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/metrics.json").write_text("only copy")
    (run / "evaluations/linked").symlink_to(tmp_path / "precious")
    assert_one_line(adcli("runs", "rm", run), 2, "--yes")
    assert_one_line(adcli("runs", "rm", run, "no-such", "--yes"), 5, "no run 'no-such'")
    outcome = adcli("runs", "rm", run.name, "--yes")
    assert outcome.code == 0
    assert "and 1 more: no part of the run" in outcome.out
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_symlink() or path.is_file()}
    assert left == {"exports/onnx/mine", "evaluations/linked"}
    assert (tmp_path / "precious/metrics.json").read_text() == "only copy"
    assert_one_line(adcli("runs", "rm", run, "--yes"), 5, "no run")


FOREIGN = (
    "mine.txt",
    ".hidden",
    "evaluations/mine/photo.png",
    "evaluations/own/scores.csv",
    "evaluations/own/report.html",
    "evaluations/half/metrics.json",
    "evaluations/test/mine.txt",
    "calibrations/2026-photo.jpg",
    "calibrations/7notes.json",
    "calibrations/9.json",
    "calibrations/0009.json",
    "calibrations/0009.jpg",
    "checkpoints/my.txt",
    "exports/onnx/my.txt",
    "exports/onnx/calibrations/9.json",
    "exports/mine/photo.png",
    "ignore.png",
    "training.csv",
    "evaluation.json",
    ".adcli-changes/user.txt",
    ".adcli-mine.tmp",
)


def write_foreign(folder: Path) -> None:
    """Put files of a user into a run, where adcli has its own."""
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("only copy")


def list_paths(folder: Path) -> set[str]:
    """Return the names of the files and folders in a folder, but for what they lie in."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return found - {Path(name).parent.as_posix() for name in found}


@pytest.mark.parametrize("damaged", [False, True])
def test_no_file_of_a_user_is_removed_with_a_run(adcli: Adcli, run: Path, damaged: bool) -> None:
    folder = run / "exports/onnx/calibrations"
    folder.mkdir(parents=True)
    write_export(folder.parent, graph="x")
    write_foreign(run)
    if damaged:
        (run / "run.yaml").write_text("nonsense")
    assert adcli("runs", "rm", run, "--yes").code == 0
    assert list_paths(run) == set(FOREIGN)
    assert all((run / name).read_text() == "only copy" for name in FOREIGN)


@pytest.fixture
def made(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small run with an export, whose folders are several deep."""
    monkeypatch.chdir(tmp_path)
    (run / "model.safetensors").write_text("small")
    folder = run / "exports/onnx"
    (folder / "base/1").mkdir(parents=True)
    (folder / "base/1/model").write_text("x")
    write_export(folder)
    (folder / MANIFEST_FILE).write_text(seal({"files": {"base/1/model": ""}}))
    return run


def die_at(step: int, act: Callable[[], object]) -> bool:
    """Do something in a process that ends without a word at one of its changes; tell whether it came to that."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    steps = iter(range(1, 10**6))

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        return lambda *given, **named: os._exit(9) if next(steps) == step else change(*given, **named)

    for name in ("unlink", "rename", "replace", "rmdir", "mkdir", "ftruncate", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        act()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.parametrize(
    ("state", "foreign", "after"),
    [
        ("finished", False, "rm"),
        ("finished", True, "list"),
        ("finished", False, "train"),
        ("interrupted", True, "rm"),
        ("interrupted", False, "list"),
        ("interrupted", True, "train"),
    ],
)
def test_a_removal_killed_at_any_step_is_finished_by_the_next_command(
    adcli: Adcli, made: Path, tmp_path: Path, state: str, foreign: bool, after: str
) -> None:
    kept = {"mine.txt", "evaluations/own/scores.csv"} if foreign else set()
    copies, step, killed = tmp_path / "copies", 0, True
    while killed:
        step += 1
        copied = copies / (".partial/run" if state == "interrupted" else "run")
        shutil.copytree(made, copied)
        for name in kept:
            (copied / name).parent.mkdir(exist_ok=True)
            (copied / name).write_text("only copy")
        killed = die_at(step, lambda copied=copied: pipeline.remove_run(copied))
        whole = (copied / "run.yaml").exists()
        if after == "list":
            listed = [item.path for item in list_runs(copies)]
            assert listed == ([copied] if whole else [])
        elif after == "train" and not whole:
            if foreign:
                with pytest.raises(StorageError, match="exists already" if state == "finished" else "did not make"):
                    check_free(copies / "run")
            else:
                check_free(copies / "run")
        if copied.exists() and (whole or after == "rm"):
            outcome = adcli("runs", "rm", copied, "--yes")
            assert outcome.code == 0 or not (copied / "run.yaml").exists(), outcome.err
        list(list_runs(copies))
        start = ".partial/run/" if state == "interrupted" else "run/"
        assert list_paths(copies) == {start + name for name in kept}, step
        shutil.rmtree(copies)
    assert step > 20


def test_what_another_command_holds_is_not_finished_by_a_list(made: Path) -> None:
    (made / "run.yaml").unlink()
    plan_removal(made, "images.csv")
    with holding(made):
        list(list_runs(made.parent))
        assert (made / "images.csv").exists()
    list(list_runs(made.parent))
    assert not (made / "images.csv").exists()


def test_a_damaged_plan_of_removal_removes_nothing_and_is_named(adcli: Adcli, made: Path) -> None:
    before = read_all(made)
    for text in (
        "",
        "nonsense",
        seal({"files": 3, "folders": None}),
        seal({"files": ["../../precious"], "folders": []}),
    ):
        (made / PLAN_FILE).write_text(text)
        content = (made / "run.yaml").read_bytes()
        (made / "run.yaml").unlink()
        assert adcli("runs").code == 0
        assert_one_line(adcli("runs", "rm", made, "--yes"), 5)
        (made / "run.yaml").write_bytes(content)
        assert adcli("runs").code == 0
        assert read_all(made) == before


def plan_removal(run: Path, *names: str) -> None:
    """Leave the plan of a removal in a run, as a killed process does."""
    time.sleep(0.02)
    (run / PLAN_FILE).write_text(seal({"files": ["run.yaml", *names], "folders": ["calibrations", "evaluations"]}))


USES = {
    "list": ["runs"],
    "show": ["runs", "show", "RUN"],
    "note": ["runs", "note", "RUN", "text"],
    "rename": ["runs", "rename", "RUN", "other"],
    "evaluate": ["evaluate", "RUN"],
    "report": ["report", "RUN", "--json"],
    "calibrate": ["calibrate", "RUN", "--threshold", "1"],
}


@pytest.mark.parametrize("use", sorted(USES))
def test_a_removal_that_did_not_begin_is_called_off_by_any_command_and_nothing_goes(
    adcli: Adcli, run: Path, use: str
) -> None:
    (run / "mine.txt").write_text("only copy")
    before = read_all(run)
    plan_removal(run, *(name for name in before if name != "mine.txt"))
    outcome = adcli(*(run if word == "RUN" else word for word in USES[use]))
    assert outcome.code == 0, outcome.err
    assert "remov" not in outcome.out + outcome.err
    folder = run.with_name("other") if use == "rename" else run
    assert not (folder / PLAN_FILE).exists()
    assert before.keys() <= read_all(folder).keys()
    assert adcli("runs").code == 0
    assert before.keys() <= read_all(folder).keys()


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.parametrize("whole", [True, False])
def test_what_was_restored_over_a_removal_that_was_killed_stays(made: Path, tmp_path: Path, whole: bool) -> None:
    before, step, killed = read_all(made), 0, True
    while killed:
        step += 1
        run = Path(shutil.copytree(made, tmp_path / "copies/run"))
        time.sleep(0.02)
        killed = die_at(step, lambda run=run: pipeline.remove_run(run))
        began = killed and not (run / "run.yaml").exists()
        time.sleep(0.02)
        restored = set(before) - (set() if whole else {"run.yaml"})
        for name in restored:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            # With the time of the original, as backups are restored.
            (run / name).unlink(missing_ok=True)
            shutil.copy2(made / name, run / name)
        for _ in range(2):
            list(list_runs(tmp_path / "copies"))
            assert {name: read_all(run)[name] for name in restored} == {name: before[name] for name in restored}
            assert not (run / PLAN_FILE).exists(), (step, began)
        shutil.rmtree(tmp_path / "copies")
    assert step > 20


def test_a_run_stays_whole_if_what_makes_it_one_cannot_be_removed(
    adcli: Adcli, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, unlink = read_all(made), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "run.yaml":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert_one_line(adcli("runs", "rm", made, "--yes"), 9, made.name, "not permitted")
    assert read_all(made) == before


@pytest.mark.parametrize("command", [["rename", "last", "other"], ["rm", "last", "--yes"]])
def test_what_last_stands_for_is_said_before_it_is_changed(adcli: Adcli, run: Path, command: list[str]) -> None:
    outcome = adcli("runs", *command)
    assert outcome.code == 0
    assert f"'last' is {run}" in outcome.err


def test_no_note_is_kept_with_a_run_that_is_gone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = Run.open(run)
    (run / "mine.txt").write_text("only copy")
    pipeline.remove_run(run)
    with pytest.raises(RunError, match="is no run"):
        pipeline.annotate_run(opened, "text")
    assert list_paths(run) == {"mine.txt"}


@pytest.mark.parametrize("state", ["finished", "damaged", "interrupted"])
def test_runs_of_any_state_can_be_removed_renamed_and_listed(
    adcli: Adcli, run: Path, tmp_path: Path, state: str
) -> None:
    if state == "damaged":
        (run / "run.yaml").write_text("nonsense")
    if state == "interrupted":
        (run.parent / ".partial").mkdir()
        run.rename(run.parent / ".partial" / run.name)
    outcome = adcli("runs", "rename", run.name, "renamed")
    assert outcome.code == 0, outcome.err
    (listed,) = json.loads(adcli("runs", "--json").out)
    assert (listed["name"], listed["state"]) == ("renamed", state)
    assert_one_line(adcli("runs", "rename", "renamed", "../x"), 2, "NEW")
    assert_one_line(adcli("runs", "rename", "renamed", "renamed"), 9, "exists already")
    assert adcli("runs", "rm", "renamed", "--yes").code == 0
    assert not list((tmp_path / "runs").iterdir())


def test_a_note_is_kept_shown_and_removed(adcli: Adcli, run: Path) -> None:
    assert adcli("runs", "note", "last", "line 3,\n new lamp").code == 0
    assert pipeline.load(run).note == "line 3, new lamp"
    assert "line 3, new lamp" in adcli("runs").out
    assert "line 3, new lamp" in adcli("runs", "show", run).out
    assert_one_line(adcli("runs", "note", run, "\x1b[2J"), 2, "TEXT")
    assert_one_line(adcli("runs", "note", run, "x" * 3000), 2, "TEXT")
    assert pipeline.load(run).note == "line 3, new lamp"
    assert adcli("runs", "note", run, "").code == 0
    assert not (run / "note.txt").exists()


def test_the_list_has_the_time_and_the_threshold_and_the_newest_last(adcli: Adcli, run: Path, tmp_path: Path) -> None:
    (listed,) = json.loads(adcli("runs", "--json").out)
    assert listed["finished"].endswith("Z")
    assert listed["threshold"] == pipeline.load(run).calibration.image_threshold
    assert adcli("runs").out.splitlines()[0].split("\t")[:3] == ["name", "state", "finished"]


@pytest.mark.parametrize("reference", ["last", "20260101"])
def test_a_command_says_which_run_a_guess_stands_for(adcli: Adcli, run: Path, parts: Path, reference: str) -> None:
    for command in (["runs", "show"], ["evaluate"], ["predict"]):
        outcome = adcli(*command, reference, *([parts / "test/good"] if command == ["predict"] else []))
        assert outcome.code == 0, outcome.err
        assert f"'{reference}' is {run}" in outcome.err
    assert "threshold" in outcome.err


def test_what_is_shown_of_verdicts_is_of_the_threshold_in_force(adcli: Adcli, run: Path) -> None:
    """The property: whatever the threshold is, a run is shown as an evaluation would find it now."""
    scores = sorted(float(row["score"]) for row in read_scores(run))
    middle = (scores[5] + scores[6]) / 2
    for threshold in (scores[0] - 1, middle, scores[-1] + 1):
        assert adcli("calibrate", run, "--threshold", threshold).code == 0
        shown = json.loads(adcli("runs", "show", run, "--json").out)["metrics"]
        text = adcli("runs", "show", run).out
        found = json.loads(adcli("evaluate", run, "--json").out)["metrics"]
        for metrics in (shown, found):
            del metrics["timings"]
        assert shown == found
        assert f"{found['image']['false_alarm_rate']:.1%} of 6 good test images rejected" in text


def read_scores(run: Path) -> list[dict[str, str]]:
    with (run / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _remove_scores(run: Path) -> None:
    (run / "scores.csv").unlink()


def _cut_scores(run: Path) -> None:
    lines = (run / "scores.csv").read_text().splitlines(keepends=True)
    (run / "scores.csv").write_text("".join(lines[:-1]))


@pytest.mark.parametrize("spoil", [_remove_scores, _cut_scores])
def test_without_its_scores_no_verdicts_of_an_older_threshold_are_shown(
    adcli: Adcli, run: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(run)
    assert "good test images rejected" in adcli("runs", "show", run).out
    assert adcli("calibrate", run, "--threshold", 1).code == 0
    outcome = adcli("runs", "show", run)
    assert "good test images rejected" not in outcome.out
    assert "AUROC" in outcome.out
    assert f"evaluate it again: adcli evaluate {run}" in outcome.err.replace("\n", " ")


KNOWN = {
    "new": ((), ()),
    "fitted": (("2 of 6 test images are copies of images that the model was fitted to",), ("fitted",)),
    "held-out": (("2 of 6 test images are copies of images that set its threshold",), ("held-out",)),
    "both": (
        ("2 of 8 test images are copies of images that the model was fitted to, and 2 of 8",),
        ("fitted", "held-out"),
    ),
}


@pytest.mark.parametrize("what", KNOWN)
def test_an_evaluation_of_images_that_the_run_knows_says_so(adcli: Adcli, run: Path, parts: Path, what: str) -> None:
    words, roles = KNOWN[what]
    data = Path(shutil.copytree(parts, "seen"))
    for path in sorted((data / "test/scratch").iterdir())[2:]:
        path.unlink()
    for path in sorted((data / "test/good").iterdir())[(4 if len(roles) < 1 else 2) :]:
        path.unlink()
    for role in roles:
        for image in [image for image in read_images(run) if image.role == role][:2]:
            shutil.copy(parts / "train/good" / image.name, data / f"test/good/{role}-{image.name}")
    outcome = adcli("evaluate", run, "--data", data, "--name", "seen")
    assert outcome.code == 0, outcome.err
    warnings = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(words)
    for word, warning in zip(words, warnings, strict=True):
        assert word in warning
    metrics = json.loads((run / "evaluations/seen/metrics.json").read_text())
    assert ("known" in metrics) == bool(words)
    page = (run / "evaluations/seen/report.html").read_text()
    assert ("the metrics say less of new images" in page) == bool(words)


def test_runs_that_share_no_images_are_compared_by_the_commands_that_are_printed(
    adcli: Adcli, run: Path, others: Sequence[Path]
) -> None:
    other = run.with_name("other")
    shutil.copytree(run, other)
    for number, path in enumerate((run, other)):
        assert adcli("evaluate", path, "--data", others[number], "--name", "week").code == 0
    # Files of one name would be one image to a comparison.
    scores = other / "evaluations/week/scores.csv"
    scores.write_text(scores.read_text().replace(".png", ".jpg"))
    outcome = adcli("compare", run, other, "--name", "week")
    assert_one_line(outcome, 5, "share no good and defective images")
    commands = outcome.err.strip().rpartition(": ")[2].split(" && ")
    assert len(commands) == 3
    for command in commands:
        done = adcli(*shlex.split(command)[1:])
        assert done.code == 0, done.err
    assert "2 good and 1 defective images" in done.out


def die_in_a_write(folder: Path) -> str:
    """Leave an unfinished file in a folder, as a process does that is killed while it writes; return its name."""
    path = folder / ".adcli-0123456789ab.tmp"
    path.write_text("half")
    return path.name


@pytest.mark.parametrize("use", sorted(USES))
def test_what_a_killed_process_was_writing_is_removed_by_the_next_command_on_the_run(
    adcli: Adcli, run: Path, use: str
) -> None:
    name = die_in_a_write(run)
    outcome = adcli(*(run if word == "RUN" else word for word in USES[use]))
    assert outcome.code == 0, outcome.err
    assert not list(run.parent.rglob(name))


def test_what_a_living_process_writes_into_a_run_is_not_removed(adcli: Adcli, run: Path) -> None:
    path = run / "predictions.csv"
    with _temporary(path) as file:
        assert adcli("runs").code == 0
        assert adcli("runs", "note", run, "text").code == 0
        file.write(b"whole")
        file.flush()
        _replace(file, path)
    assert path.read_text() == "whole"


def test_a_list_finishes_what_a_killed_command_had_committed(adcli: Adcli, run: Path) -> None:
    committed = run / CHANGES / "committed"
    committed.mkdir(parents=True)
    (committed / ".plan.json").write_text('{"removed": []}')
    (committed / "note.txt").write_text("new lamp\n")
    assert "new lamp" in adcli("runs").out
    assert not (run / CHANGES).exists()


PLACES = {
    ".": (".", "."),
    "..": ("evaluations", ".."),
    "../..": ("evaluations/test", "../.."),
    "./": (".", "./"),
    "beside": (".", "../NAME"),
    "through": ("evaluations", "../../NAME"),
    "around": ("..", "NAME/../NAME"),
}
"""Where one stands in a run, and what one types for it there."""


def stand(run: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Go to a place in a run, and return what stands for the run there."""
    folder, typed = PLACES[place]
    whole = run.absolute()
    monkeypatch.chdir(run / folder)
    return typed.replace("NAME", whole.name)


@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_runs_are_removed_and_renamed_wherever_one_stands_in_them(
    adcli: Adcli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, state: str
) -> None:
    if state == "interrupted":
        (tmp_path / "runs/.partial").mkdir()
        run = run.rename(tmp_path / "runs/.partial" / run.name)
    (run / "training.csv").write_text("" if state == "interrupted" else "mine")
    typed = stand(run, place, monkeypatch)
    before = read_all(tmp_path / run)
    outcome = adcli("runs", "rename", typed, "other")
    assert (outcome.code, "Traceback" in outcome.err) == (0, False), outcome.err
    renamed = (tmp_path / run).with_name("other")
    assert read_all(renamed) == before
    monkeypatch.chdir(tmp_path)
    typed = stand(renamed, place, monkeypatch)
    outcome = adcli("runs", "rm", "--yes", typed)
    assert outcome.code == 0, outcome.err
    assert "removed" in outcome.out
    left = {"other", "other/training.csv"} if state == "finished" else set()
    assert {path.relative_to(tmp_path / "runs").as_posix() for path in (tmp_path / "runs").rglob("*")} == left


def test_several_runs_are_removed_though_the_first_takes_the_current_folder_away(
    adcli: Adcli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [shutil.copytree(run, run.with_name(name)).absolute() for name in "ab"]
    name, folder = run.name, run.parent.absolute()
    monkeypatch.chdir(run)
    outcome = adcli("runs", "rm", "--yes", f"../{name}", ".", "../a", "../b")
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == 3
    assert not any(path.exists() for path in others)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_verdict_names_the_real_folder_wherever_one_stands(
    adcli: Adcli, run: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    name, image = run.name, next((parts / "test/good").iterdir())
    typed = stand(run, place, monkeypatch)
    outcome = adcli("predict", typed, image, "--format", "jsonl")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["run"] == name
    assert f"run {name}," in Path(adcli("report", typed).out.strip()).read_text()


def test_a_verdict_names_the_real_folder_behind_a_link(adcli: Adcli, run: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(run)
    outcome = adcli("predict", "current", next((parts / "test/good").iterdir()), "--format", "jsonl")
    assert json.loads(outcome.out)["run"] == run.name
    assert_one_line(adcli("runs", "rm", "current", "--yes"), 5, "is a link")
    assert (run / "run.yaml").exists()


def test_what_predict_wrote_into_a_run_outlives_it(adcli: Adcli, run: Path, parts: Path) -> None:
    assert adcli("predict", run, next((parts / "test/good").iterdir()), "--out", run, "--overlays").code == 0
    outcome = adcli("runs", "rm", run, "--yes")
    assert outcome.code == 0
    assert "no part of the run" in outcome.out
    assert {path.name for path in run.iterdir()} == {"maps", "predictions.csv"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", ".", "x.png"],
        ["predict", "last", "x.png"],
        ["predict", "RUN", "."],
        ["predict", "RUN", "x.png"],
        ["predict", "RUN", "IMAGES", "--out", "new"],
        ["runs"],
        ["runs", "show", "."],
        ["runs", "rm", ".", "--yes"],
        ["runs", "rm", "..", "--yes"],
        ["runs", "rename", ".", "new"],
        ["runs", "note", "..", "text"],
        ["train", "-m", "padim", "--data", "."],
        ["train", "-m", "padim", "--data", "no-such"],
        ["train", "-m", "padim", "--data", "PARTS", "--backbone", "random:resnet18"],
        ["train", "--resume", "."],
        ["evaluate", "RUN", "--data", "no-such"],
        ["calibrate", "RUN", "--data", "."],
        ["report", "RUN"],
        ["report", "RUN", "--out", "page.html"],
        ["compare", ".", ".."],
        ["export", "RUN", "--to", "onnx", "--out", "new"],
        ["datasets", "check", "."],
        ["models", "no-such"],
        ["models"],
        ["--version"],
    ],
)
def test_in_a_folder_that_is_gone_every_command_works_or_ends_with_one_line(
    adcli: Adcli, run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    words = {"RUN": tmp_path / run, "PARTS": parts, "IMAGES": parts / "test/good"}
    before = read_all(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        outcome = adcli(*(words.get(word, word) for word in arguments))
    finally:
        os.chdir(tmp_path)
    assert "Traceback" not in outcome.err
    if outcome.code:
        assert_one_line(outcome, outcome.code)
    assert {name: read_all(tmp_path).get(name) for name in before if "report" not in name} == {
        name: content for name, content in before.items() if "report" not in name
    }
