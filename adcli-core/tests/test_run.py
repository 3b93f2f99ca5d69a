"""The run folder: written whole or not at all, verified when read."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adcli._files import file_digest, seal
from adcli.errors import RunError, StorageError
from adcli.pipeline import load as find_run
from adcli.runs.find import find_interrupted, list_runs, new_run_path
from adcli.runs.partial import PartialRun
from adcli.runs.run import CALIBRATION_FILE, FORMAT, PARTIAL, RUN_FILE, WEIGHTS_FILE, Run
from adcli.scoring.calibration import Calibration

SETTINGS = {"model": "patchcore", "data": None, "options": {"coreset": 0.1}}


def make_run(path: Path, **record: object) -> Run:
    """Write a finished run without a model."""
    partial = PartialRun.create(path, {**SETTINGS, "record": {}})
    (partial.folder / WEIGHTS_FILE).write_bytes(b"weights")
    scores = np.arange(200.0)
    partial.write(CALIBRATION_FILE, Calibration.conformal(scores, None, 0.01, "held-out").to_json())
    digest = file_digest(partial.folder / WEIGHTS_FILE)
    content = {"format": FORMAT, **SETTINGS, "record": {"core": "0.1.0", "weights": digest, **record}}
    partial.write(RUN_FILE, seal(content))
    return partial.finish()


def test_a_finished_run_reads_back_what_was_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    again = Run.open(tmp_path / "run")
    assert again.settings == SETTINGS
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


def test_runs_are_found_by_path_name_and_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_RUNS", str(tmp_path))
    for name in ("20260101-000000-patchcore-a", "20260102-000000-patchcore-b", "zz-own-name"):
        make_run(tmp_path / name)
    assert find_run("last").name == "20260102-000000-patchcore-b"
    assert find_run("zz-own-name").name == "zz-own-name"
    assert find_run(str(tmp_path / "zz-own-name")).name == "zz-own-name"
    with pytest.raises(RunError, match="Did you mean 'zz-own-name'"):
        find_run("zz-own-nam")
    with pytest.raises(RunError, match="finished"):
        find_interrupted("zz-own-name")


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
