"""The run folder: written whole or not at all, verified when read."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adcli._artefacts import Artefact
from adcli._changes import CHANGES, LOCK
from adcli._files import file_digest, seal
from adcli.errors import OptionError, RunError, StorageError
from adcli.nn._checkpoint import CHECKPOINT_FILE
from adcli.pipeline import load as find_run
from adcli.pipeline._manage import list_made
from adcli.progress import Silent
from adcli.runs.find import (
    check_name,
    check_run_name,
    find_folder,
    find_interrupted,
    finishing_time,
    list_runs,
    new_run_path,
)
from adcli.runs.partial import CHECKPOINT_FILE as REMOVED_CHECKPOINT_FILE
from adcli.runs.partial import PartialRun, _naming, check_free
from adcli.runs.removing import PLAN_FILE
from adcli.runs.run import CALIBRATION_FILE, FORMAT, PARTIAL, RUN_FILE, WEIGHTS_FILE, Run
from adcli.runs.settings import TrainSettings
from adcli.scoring.calibration import Calibration

SETTINGS = {"model": "patchcore", "data": None, "options": {"coreset": 0.1}, "image_size": "64x64"}
RECORD = {
    "core": "0.1.0",
    "model": "patchcore",
    "plugin": {"distribution": "adcli-patchcore", "version": "0.1.0"},
    "backbone": {"default_not_available": None, "reason": None},
    "data": {"fitted": 8, "held_out": 200, "test": "none", "fingerprint": "0" * 64},
    "images": "1" * 64,
}


def make_run(path: Path, **record: object) -> Run:
    """Write a finished run without a model."""
    partial = PartialRun.create(path, {**SETTINGS, "record": {}})
    (partial.folder / WEIGHTS_FILE).write_bytes(b"weights")
    digest = file_digest(partial.folder / WEIGHTS_FILE)
    calibration = Calibration.conformal(np.arange(200.0), None, 0.01, "held-out")
    partial.write(CALIBRATION_FILE, replace(calibration, weights=digest, number=1).to_json())
    written = {**RECORD, "weights": digest, "finished": finishing_time(path.parent), **record}
    partial.write(RUN_FILE, seal({"format": FORMAT, **SETTINGS, "record": written}))
    return partial.finish()


def test_a_finished_run_reads_back_what_was_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    again = Run.open(tmp_path / "run")
    # What declares no white was made before there was a choice.
    assert again.settings == TrainSettings.parse({**SETTINGS, "white": "65535"}).to_dict()
    assert again.record == run.record
    assert again.calibration == run.calibration
    assert again.verified_weights() == tmp_path / "run" / WEIGHTS_FILE
    assert not (tmp_path / PARTIAL).exists()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        [RUN_FILE, WEIGHTS_FILE, CALIBRATION_FILE]
    )


@pytest.mark.parametrize("name", [RUN_FILE, CALIBRATION_FILE, WEIGHTS_FILE])
def test_any_changed_byte_is_noticed_and_the_file_named(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "run")
    path = tmp_path / "run" / name
    original = path.read_bytes()
    for position in range(0, len(original), max(len(original) // 23, 1)):
        changed = bytearray(original)
        changed[position] ^= 0x01
        path.write_bytes(bytes(changed))
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            Run.open(tmp_path / "run").verified_weights()


@pytest.mark.parametrize("name", [RUN_FILE, CALIBRATION_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(RunError, match=re.escape(name)):
        Run.open(tmp_path / "run").verified_weights()


def test_a_run_that_is_removed_while_it_is_opened_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    unseal = Artefact.unseal

    def read_and_remove(file: Artefact, text: str) -> dict[str, object]:
        shutil.rmtree(tmp_path / "run")
        return unseal(file, text)

    monkeypatch.setattr(Artefact, "unseal", read_and_remove)
    with pytest.raises(RunError, match="run: is gone; another command has just removed or renamed it"):
        Run.open(tmp_path / "run")


def test_an_unfinished_run_is_no_run(tmp_path: Path) -> None:
    partial = PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="--resume"):
        Run.open(partial.folder)


def test_a_run_of_a_newer_core_is_refused_by_version(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "run" / RUN_FILE).write_text(seal({"format": FORMAT + 1, "record": {"core": "7.0.0", "weights": "x"}}))
    with pytest.raises(RunError, match=r"7\.0\.0.*upgrade"):
        Run.open(tmp_path / "run")


def test_an_existing_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        PartialRun.create(tmp_path / "file" / "run", {**SETTINGS, "record": {}})


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    partial = PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    with pytest.raises(RunError, match=r"process \d+, since .*is at work on it"):
        PartialRun.resume(partial.folder)


def test_a_killed_run_is_interrupted_and_can_be_taken_up(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from adcli.runs.partial import PartialRun\n"
        "p = PartialRun.create(Path(sys.argv[1]), {'model': 'm', 'record': {}})\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.wait()
    assert not (tmp_path / "run").exists()
    assert [item.state for item in list_runs(tmp_path)] == ["interrupted"]
    folder = find_interrupted(str(tmp_path / "run"))
    _, content = PartialRun.resume(folder)
    assert content["model"] == "m"


def test_killed_before_there_is_anything_to_resume_nothing_stands_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("adcli.runs.partial.seal", killed)
        with pytest.raises(SystemExit):
            PartialRun.create(tmp_path / "run", {"model": "m", "record": {}})
    assert list(list_runs(tmp_path)) == []
    assert PartialRun.create(tmp_path / "run", {"model": "m", "record": {}}).folder.name == "run"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs under the runs' folder, of which ``zz-own-name`` was finished first, and ``aa`` last."""
    monkeypatch.setenv("ADCLI_RUNS", str(tmp_path))
    for name in ("zz-own-name", "20260102-000000-patchcore-b", "20260101-000000-patchcore-a", "aa"):
        make_run(tmp_path / name)
    return tmp_path


def _note(path: Path, reference: str) -> list[str]:
    progress = Silent()
    assert find_run(reference, progress=progress).path == path
    return progress.notes


def test_last_is_the_run_that_was_finished_last_whatever_its_name(runs: Path) -> None:
    (said,) = _note(runs / "aa", "last")
    assert str(runs / "aa") in said
    # A copy was not finished anew.
    shutil.copytree(runs / "zz-own-name", runs / "zzz-copy")
    _note(runs / "aa", "last")
    shutil.rmtree(runs / "aa")
    _note(runs / "20260101-000000-patchcore-a", "last")


def test_last_passes_over_what_cannot_be_opened_and_says_so(runs: Path) -> None:
    (runs / "aa" / CALIBRATION_FILE).write_text("{}")
    (said,) = _note(runs / "20260101-000000-patchcore-a", "last")
    assert "aa cannot be opened" in said


def test_without_a_finished_run_last_says_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_RUNS", str(tmp_path / "runs"))
    with pytest.raises(RunError, match=r"no finished run in .*runs; make one"):
        find_run("last")
    PartialRun.create(tmp_path / "runs" / "half", {**SETTINGS, "record": {}}).leave()
    with pytest.raises(RunError, match="half not finished"):
        find_run("last")


def test_last_reads_no_yaml_of_the_runs_that_it_is_not(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    unseal = Artefact.unseal
    monkeypatch.setattr(Artefact, "unseal", lambda file, text: opened.append(file.path) or unseal(file, text))
    find_folder("last")
    assert opened == [runs / "aa" / RUN_FILE]


def test_runs_are_found_by_path_name_and_the_beginning_of_a_name(runs: Path) -> None:
    assert _note(runs / "zz-own-name", "zz-own-name") == []
    assert _note(runs / "zz-own-name", str(runs / "zz-own-name")) == []
    (said,) = _note(runs / "20260101-000000-patchcore-a", "20260101")
    assert "20260101-000000-patchcore-a" in said
    with pytest.raises(RunError, match=r"2 runs .* begin so: 20260101-000000-patchcore-a, 20260102-000000-patchcore-b"):
        find_run("2026")
    with pytest.raises(RunError, match="finished"):
        find_interrupted("zz-own-name")


def test_an_unknown_run_is_answered_with_the_few_nearest(runs: Path) -> None:
    for number in range(10):
        make_run(runs / f"bottle-{number}")
    with pytest.raises(RunError, match="Did you mean 'zz-own-name'"):
        find_run("xz-own-name")
    with pytest.raises(RunError, match="Did you mean '20260102-000000-patchcore-b'"):
        find_run("patchcore-b")
    with pytest.raises(RunError) as raised:
        find_run("botle-")
    assert raised.value.message.count("bottle-") == 5
    for reference in ("nothing/like/it", "", "x" * 5000, "a\nb\x1b[31m"):
        with pytest.raises(RunError, match=r"^no run '.*'\. See 'adcli runs'") as raised:
            find_run(reference)
        assert raised.value.message.isprintable()


def test_a_damaged_run_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    (tmp_path / "a" / RUN_FILE).write_text("nonsense")
    assert [(item.path.name, item.state) for item in list_runs(tmp_path)] == [("a", "damaged"), ("b", "finished")]


def test_new_names_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_RUNS", str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    first = new_run_path("patchcore", "My Parts/über")
    first.mkdir(parents=True)
    second = new_run_path("patchcore", "My Parts/über")
    assert first != second
    assert first.name.endswith("-patchcore-My-Parts-ber")


def test_a_folder_that_appears_under_a_runs_name_is_left_and_the_run_kept(tmp_path: Path) -> None:
    partial = PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    make_run(tmp_path / "other")
    for file in (tmp_path / "other").iterdir():
        shutil.copy(file, partial.folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "photo").write_text("only copy")
    with pytest.raises(StorageError, match=r"run: appeared meanwhile.*\.partial/run.*--resume"):
        partial.finish()
    partial.abandon(list_made(partial.folder))
    assert (tmp_path / "run" / "photo").read_text() == "only copy"
    (tmp_path / "run").rename(tmp_path / "precious")
    resumed, _ = PartialRun.resume(tmp_path / PARTIAL / "run")
    assert resumed.finish() == Run.open(tmp_path / "run")
    assert not (tmp_path / PARTIAL).exists()


def test_a_run_that_is_being_made_is_not_called_interrupted(tmp_path: Path) -> None:
    partial = PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    with pytest.raises(
        StorageError, match=r"\(process \d+, since .*\) is making a run of that name; choose another"
    ) as raised:
        PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    assert "remove" not in raised.value.message
    assert [(item.state, "process" in item.problem) for item in list_runs(tmp_path)] == [("training", True)]
    partial.leave()
    assert [(item.state, item.problem) for item in list_runs(tmp_path)] == [("interrupted", "")]
    with pytest.raises(StorageError, match=r"an interrupted run .*--resume .*adcli runs rm"):
        PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})


CREATE = """
import sys, time
from pathlib import Path
from adcli.runs.partial import PartialRun
while not Path(sys.argv[1]).exists():
    time.sleep(0.001)
partial = {call}
print(partial.folder.name, flush=True)
time.sleep(1)
"""


def _at_once(folder: Path, call: str) -> list[str]:
    """Return what two processes print that make a run at the same moment; nothing for one that fails."""
    code, start = CREATE.format(call=call), folder / "start"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(start)], stdout=subprocess.PIPE, text=True, cwd=folder)
        for _ in range(2)
    ]
    time.sleep(1.5)
    start.touch()
    return [process.communicate()[0].strip() for process in started]


def test_two_runs_that_begin_in_one_second_get_two_names(tmp_path: Path) -> None:
    names = _at_once(tmp_path, "PartialRun.create_named('padim', 'parts', {'model': 'm', 'record': {}})")
    assert len(set(names) - {""}) == 2, names


def test_of_two_runs_that_want_one_name_one_gets_it(tmp_path: Path) -> None:
    names = _at_once(tmp_path, "PartialRun.create(Path('same'), {'model': 'm', 'record': {}})")
    assert sorted(names) == ["", "same"]
    assert [item.path.name for item in list_runs(tmp_path)] == ["same"]


def test_what_a_killed_process_did_not_finish_is_removed_by_the_next(tmp_path: Path) -> None:
    PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}}).leave()
    folder = tmp_path / PARTIAL / "run"
    (folder / "checkpoints").mkdir()
    for name in (".adcli-0123456789ab.tmp", ".model.safetensors.new", "checkpoints/.training.safetensors", LOCK):
        (folder / name).write_text("half")
    header = b'{"__metadata__":{}}'
    for name in (".tmpAb12cD", "checkpoints/.tmpAb12cD"):
        (folder / name).write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / PARTIAL / ".new").mkdir()
    (tmp_path / PARTIAL / ".new" / RUN_FILE).write_text("half")
    other = PartialRun.create(tmp_path / "other", {**SETTINGS, "record": {}})
    assert not other.abandon(list_made(other.folder))
    assert [path.name for path in (tmp_path / PARTIAL).iterdir()] == ["run"]
    resumed, _ = PartialRun.resume(folder)
    assert [path.name for path in folder.rglob(".*")] == [LOCK]
    resumed.leave()


FOREIGN = (".my-notes", "checkpoints/mine.txt", "checkpoints/.tmpNotes1", ".git/config", "mine.txt", ".adcli-my.tmp")


def write_foreign(folder: Path) -> None:
    """Put files of a user into a run."""
    for name in FOREIGN:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("only copy")


def test_files_that_adcli_did_not_make_outlive_an_interrupted_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run").path.rename(tmp_path / "made")
    (tmp_path / PARTIAL).mkdir()
    (tmp_path / "made").rename(tmp_path / PARTIAL / "run")
    folder = tmp_path / PARTIAL / "run"
    write_foreign(folder)
    (folder / "checkpoints/training.safetensors").write_text("the last epoch")
    resumed, _ = PartialRun.resume(folder)
    assert all((folder / name).read_text() == "only copy" for name in FOREIGN)
    finished = resumed.finish()
    assert all((finished.path / name).read_text() == "only copy" for name in FOREIGN)
    assert not (finished.path / "checkpoints/training.safetensors").exists()


def test_files_that_adcli_did_not_make_outlive_an_abandoned_run_and_are_named(tmp_path: Path) -> None:
    PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}}).leave()
    folder = tmp_path / PARTIAL / "run"
    write_foreign(folder)
    resumed, _ = PartialRun.resume(folder)
    left = resumed.abandon(list_made(folder))
    assert {path.relative_to(folder).as_posix() for path in left} == set(FOREIGN)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(FOREIGN)
    with pytest.raises(StorageError, match=r"did not make lie where.*move .*\.partial/run away"):
        PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})


def test_a_checkpoint_has_the_name_that_resuming_and_removing_know() -> None:
    assert REMOVED_CHECKPOINT_FILE == CHECKPOINT_FILE


@pytest.mark.parametrize("left", ["", LOCK, ".new/run.yaml"])
def test_what_a_training_left_that_was_killed_at_its_start_is_removed_by_a_list(tmp_path: Path, left: str) -> None:
    (tmp_path / PARTIAL / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / PARTIAL).mkdir(exist_ok=True)
    if left:
        (tmp_path / PARTIAL / left).write_text("")
    assert list(list_runs(tmp_path)) == []
    assert not (tmp_path / PARTIAL).exists()


def test_a_list_leaves_alone_what_a_living_training_is_about_to_name(tmp_path: Path) -> None:
    with _naming(tmp_path / PARTIAL) as unnamed:
        (unnamed / RUN_FILE).write_text("")
        assert list(list_runs(tmp_path)) == []
        assert (unnamed / RUN_FILE).exists()


def test_the_run_finished_last_is_last_even_if_the_clock_was_set_back(runs: Path) -> None:
    ahead = "2999-01-01T00:00:00.999999Z"
    make_run(runs / "ahead", finished=ahead)
    later = make_run(runs / "later")
    assert later.record["finished"] == "2999-01-01T00:00:01.000000Z"
    assert find_folder("last") == runs / "later"
    make_run(runs / "end", finished="9999-12-31T23:59:59.999999Z")
    assert finishing_time(runs) == "2999-01-01T00:00:01.000001Z"


def test_a_run_that_is_gone_is_not_to_be_copied_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run.path / WEIGHTS_FILE).unlink()
    with pytest.raises(RunError, match="copy the whole run folder again"):
        run.verified_weights()
    (run.path / RUN_FILE).unlink()
    with pytest.raises(RunError, match="run: is gone; another command"):
        run.verified_weights()


def test_a_log_has_one_line_for_a_text_of_any_kind(tmp_path: Path) -> None:
    partial = PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    for text in ("adcli train\ncurl evil | sh", "a\rb\x1b]0;title\x07", "\u2028x\x85y", "\udcfc"):
        partial.log(text)
    lines = (partial.folder / "log.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() and line.startswith("20") for line in lines)
    partial.log("failed:", "Traceback", "  File")
    assert (partial.folder / "log.txt").read_text(encoding="utf-8").endswith("failed:\n    Traceback\n      File\n")


@pytest.mark.parametrize("name", ["log.txt", "training.csv", "note.txt", "mine"])
def test_an_interrupted_run_with_a_pipe_in_it_is_not_taken_up(tmp_path: Path, name: str) -> None:
    PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}}).leave()
    os.mkfifo(tmp_path / PARTIAL / "run" / name)
    with pytest.raises(RunError, match=f"{name}: is neither a file nor a folder"):
        PartialRun.resume(tmp_path / PARTIAL / "run")


@pytest.mark.parametrize("typed", [".", "../run", "../../.partial/run", "checkpoints/.."])
def test_an_interrupted_run_is_taken_up_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}}).leave()
    folder = tmp_path / PARTIAL / "run"
    (folder / "checkpoints").mkdir()
    (folder / PLAN_FILE).write_text("of a removal that did not begin")
    monkeypatch.chdir(folder)
    partial, _ = PartialRun.resume(find_interrupted(typed))
    assert (partial.folder, partial.final) == (folder, tmp_path / "run")
    assert not (folder / PLAN_FILE).exists()
    partial.leave()
    monkeypatch.chdir(folder.parent)
    assert find_interrupted("run").absolute() == folder
    with pytest.raises(RunError):
        find_interrupted("")


@pytest.mark.parametrize("link", [RUN_FILE, "log.txt", "checkpoints", "evaluations", CALIBRATION_FILE, LOCK, CHANGES])
def test_an_interrupted_run_with_a_link_in_it_is_not_taken_up(tmp_path: Path, link: str) -> None:
    PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}}).leave()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo").write_text("only copy")
    place = tmp_path / PARTIAL / "run" / link
    place.unlink(missing_ok=True)
    place.symlink_to(precious if "." not in link[1:] else precious / "photo")
    with pytest.raises(RunError, match="is a link"):
        PartialRun.resume(tmp_path / PARTIAL / "run")
    assert [path.read_text() for path in precious.iterdir()] == ["only copy"]


def test_no_run_is_made_where_a_link_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / PARTIAL).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a link"):
        PartialRun.create(tmp_path / "run", {**SETTINGS, "record": {}})
    assert not list((tmp_path / "elsewhere").iterdir())


def _read_all(path: Path) -> None:
    run = Run.open(path)
    assert run.verified_weights()
    assert run.note


@pytest.mark.parametrize("link", [RUN_FILE, CALIBRATION_FILE, WEIGHTS_FILE, "note.txt"])
def test_what_lies_outside_a_run_is_not_read_as_its_state(tmp_path: Path, link: str) -> None:
    make_run(tmp_path / "run")
    path = tmp_path / "run" / link
    path.write_text("") if not path.exists() else None
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(RunError, match=f"{link}: is a link"):
        _read_all(tmp_path / "run")
    (tmp_path / "linked").symlink_to(tmp_path / "run")
    path.unlink()
    (tmp_path / "moved").rename(path)
    assert Run.open(tmp_path / "linked").name == "run"


NO_NAMES = [
    "",
    ".",
    "..",
    ".hidden",
    "-x",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x1bb",
    "a\0b",
    "x" * 101,
    "é" * 51,
    "nul",
    "COM1.x",
    "a:b",
]


@pytest.mark.parametrize("name", [*NO_NAMES, "a.", " a", "a ", "../../precious", "/etc", "a\u2028b"])
def test_a_name_is_that_of_one_folder_on_every_system(name: str) -> None:
    with pytest.raises(OptionError) as raised:
        check_name(name, "--name")
    assert raised.value.format_message().isprintable()


@pytest.mark.parametrize("name", ["last", "LAST"])
def test_no_run_is_called_as_the_last_one_is(runs: Path, name: str) -> None:
    with pytest.raises(OptionError, match="stands for the run finished last"):
        check_free(runs / name)
    with pytest.raises(OptionError, match="stands for the run finished last"):
        check_run_name(name, "NEW")


@pytest.mark.parametrize("name", ["test", "monday-2", "Übung 3", "写真", "a.b", "x" * 100, "console", "last"])
def test_a_plain_name_is_one(name: str) -> None:
    assert check_name(name, "--name") == name
