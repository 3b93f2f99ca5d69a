"""Sweeps: every run of a grid is made once, whatever happens, and is the one that training alone makes."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from support import Adcli, assert_one_line, in_own_process, scored_rows, start_adcli, write_parts

from adcli import pipeline
from adcli.pipeline import _finishing
from adcli.runs.run import Run
from adcli.sweeps.folder import FAILURES, RUNS, keep_failure, list_runs, read_results
from adcli.sweeps.results import SweepResults

QUICK = ("--backbone", "embedded", "--image-size", "32", "--calibration", "none")
SEED = {"image_size": "32", "backbone": "embedded", "calibration": "none"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MVTec AD of which three categories are there."""
    root = tmp_path_factory.mktemp("shelf")
    for number, name in enumerate(("bottle", "cable", "tile")):
        write_parts(root / name, train=8, good=3, defective=3, seed=100 * number)
    return root


@pytest.fixture
def parts(shelf: Path) -> Path:
    return shelf / "bottle"


def numbers(results: SweepResults) -> list[tuple[Any, ...]]:
    """Return the long table without what differs from time to time."""
    rows = results.rows()
    return sorted(
        (row.run, tuple(row.factors.items()), row.metric, row.value, row.error)
        for row in rows
        if not row.metric.startswith("seconds.")
    )


def moments(folder: Path) -> dict[str, str]:
    """Return when each run of a sweep was finished."""
    runs = [path for path in (folder / RUNS).iterdir() if not path.name.startswith(".")]
    return {run.name: Run.open(run).record["finished"] for run in runs}


@pytest.fixture(scope="module")
def swept(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two models and two seeds, of which one run is not made."""
    folder = tmp_path_factory.mktemp("swept") / "S"
    grid = {"model": "padim,dfm", "data": str(shelf / "bottle"), "seed": "0..1", **SEED}
    pipeline.sweep(grid, out=folder, executor_options={"jobs": 2})
    return folder


def test_each_run_is_the_one_that_training_alone_makes(swept: Path, parts: Path, tmp_path: Path) -> None:
    results = read_results(swept)
    assert [outcome.error for outcome in results.outcomes] == [""] * 4
    alone = tmp_path / "alone"
    made = next(outcome for outcome in results.made if outcome.cell.factors["model"] == "dfm")
    assert made.path is not None
    command = ("train", "-m", "dfm", "--data", parts, "--seed", "0", *QUICK, "--out", alone)
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert in_own_process(*command, cwd=tmp_path, env=threads).code == 0
    assert scored_rows(made.path) == scored_rows(alone)
    settings = [Run.open(path).settings for path in (made.path, alone)]
    assert [{**each, "created": "", "command": ""} for each in settings[:1]] == [
        {**each, "created": "", "command": ""} for each in settings[1:]
    ]


@pytest.mark.thorough
def test_started_again_it_makes_nothing_and_extended_only_what_is_new(swept: Path, parts: Path, adcli: Adcli) -> None:
    before = moments(swept)
    assert len(before) == 4
    again = adcli("sweep", "--out", swept)
    assert again.code == 0, again.err
    assert "4 runs: 4 made already, 0 to make" in again.err
    assert moments(swept) == before
    grown = adcli("sweep", "-m", "padim,dfm", "--data", parts, "--seed", "0..2", *QUICK, "--out", swept, "--json")
    assert grown.code == 0, grown.err
    assert "6 runs: 4 made already, 2 to make; one after the other about" in grown.err
    after = moments(swept)
    assert {name: after[name] for name in before} == before
    document = json.loads(grown.out)
    assert [run["seed"] for run in document["runs"]] == [0, 0, 1, 1, 2, 2]
    for run in document["runs"]:
        measured = json.loads((Path(run["run"]) / "metrics.json").read_text())
        for name, value in run["metrics"].items():
            level, _, metric = name.partition(".")
            assert measured[level][metric] == value


@pytest.mark.thorough
def test_a_run_that_fails_is_a_row_with_its_reason_and_is_tried_again(shelf: Path, adcli: Adcli) -> None:
    damaged = shelf / "cable/train/good/003.png"
    content = damaged.read_bytes()
    damaged.write_bytes(b"no image")
    command = ("sweep", "-m", "dfm", "--data", "mvtec_ad:bottle,cable", "-d", f"root={shelf}", *QUICK, "--out", "S")
    try:
        outcome = adcli(*command)
        assert_one_line(outcome, 1, "1 of 2 runs failed", "003.png")
    finally:
        damaged.write_bytes(content)
    failed = read_results(Path("S")).failed
    assert [(each.cell.factors["category"], each.path) for each in failed] == [("cable", None)]
    assert adcli("sweep", "--out", "S").code == 0
    results = read_results(Path("S"))
    assert len(results.made) == 2
    assert not results.failed
    assert not list(Path("S", FAILURES).iterdir())


def test_what_cannot_be_made_is_refused_before_anything_is(adcli: Adcli, parts: Path) -> None:
    good = ("sweep", "-m", "dfm", "--data", parts)
    for words, code, said in (
        (("sweep", "-m", "dfm"), 2, "--out"),
        ((*good, "--out", "S", "--seed", "x"), 2, "--seed"),
        ((*good, "--out", "S", "-o", "coreset=1"), 2, "coreset"),
        ((*good, "--out", "S", "--shard", "3/2"), 2, "--shard"),
        ((*good, "--out", "S", "--shard", ""), 2, "--shard is empty"),
        ((*good, "--out", "S", "--executor", "lcal"), 2, "local"),
        ((*good, "--out", "S", "--jobs", "0"), 2, "--jobs"),
        ((*good, "--out", "S", "--image-size", "64,big"), 2, "--image-size"),
        (("sweep", "-m", "dfm", "--data", f"{parts},nowhere", "--out", "S"), 4, "nowhere"),
        (("sweep", "--out", "S"), 5, "no sweep"),
        ((*good, "--out", parts), 9, "something else"),
    ):
        assert_one_line(adcli(*words), code, said)
        assert not Path("S").exists(), words


@pytest.mark.thorough
def test_a_folder_that_holds_another_run_is_never_taken_for_it(swept: Path, tmp_path: Path, adcli: Adcli) -> None:
    folder = tmp_path / "S"
    shutil.copytree(swept, folder)
    one, other = (outcome.cell.name for outcome in read_results(folder).made[:2])
    shutil.rmtree(folder / RUNS / one)
    shutil.copytree(folder / RUNS / other, folder / RUNS / one)
    assert_one_line(adcli("sweep", "show", folder), 5, one, "is not the run of the sweep", "model", "remove it")
    shutil.rmtree(folder / RUNS / one)
    assert adcli("sweep", "--out", folder).code == 0
    assert numbers(read_results(folder)) == numbers(read_results(swept))


@pytest.mark.thorough
def test_two_folders_of_one_name_are_two_data_sets(shelf: Path, tmp_path: Path) -> None:
    for name, source in (("x", "bottle"), ("y", "cable")):
        shutil.copytree(shelf / source, tmp_path / name / "parts")
    data = [str(tmp_path / name / "parts") for name in ("x", "y")]
    results = pipeline.sweep({"model": "padim", "data": data, **SEED}, out=tmp_path / "S")
    assert [outcome.cell.factors["data"] for outcome in results.made] == ["x/parts", "y/parts"]
    mean = pipeline.summarise(results, metrics=["pixel.auroc"]).lines[0].means["pixel.auroc"]
    assert (mean.runs, mean.expected) == (2, 2)
    assert mean.value == pytest.approx(fmean(one.metrics["pixel.auroc"] for one in results.made))


@pytest.mark.thorough
def test_images_that_change_between_runs_are_noted(shelf: Path, tmp_path: Path, adcli: Adcli) -> None:
    shutil.copytree(shelf / "bottle", tmp_path / "parts")
    command = ("sweep", "-m", "padim", "--data", tmp_path / "parts", *QUICK, "--out", tmp_path / "S")
    assert "changed" not in adcli(*command).out
    (tmp_path / "parts/train/good/000.png").unlink()
    assert "parts: its images changed" in adcli(*command, "--seed", "1").out
    assert "parts: its images changed" in adcli("sweep", "show", tmp_path / "S").out


def test_a_dry_run_lists_the_runs_and_writes_nothing(adcli: Adcli, parts: Path) -> None:
    outcome = adcli("sweep", "-m", "padim,dfm", "--data", parts, "--shots", "1,4,all", "--out", "S", "--dry-run")
    assert outcome.code == 0, outcome.err
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert lines[0] == ["run", "state", "model", "data", "category", "seed", "shots"]
    assert [line[-1] for line in lines[1:]] == ["1", "4", "", "1", "4", ""]
    assert not Path("S").exists()


@pytest.mark.parametrize(("given", "words"), [(("--jobs", "0"), "--jobs must be"), (("--executor", "lokal"), "lokal")])
def test_a_dry_run_reads_what_is_to_make_the_runs(
    adcli: Adcli, parts: Path, given: tuple[str, str], words: str
) -> None:
    refused = adcli("sweep", "-m", "dfm", "--data", parts, "--out", "S", "--dry-run", *given)
    assert_one_line(refused, 2, words)


@pytest.mark.thorough
def test_fewer_shots_are_among_more_and_what_calibrates_stays(adcli: Adcli, parts: Path) -> None:
    roles: dict[int, dict[str, set[str]]] = {}
    for shots in (2, 3, 5):
        assert (
            adcli("train", "-m", "dfm", *QUICK[:4], "--data", parts, "--shots", shots, "--out", f"s{shots}").code == 0
        )
        with Path(f"s{shots}/images.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        roles[shots] = {role: {row["name"] for row in rows if row["role"] == role} for role in ("fitted", "held-out")}
    assert [len(roles[shots]["fitted"]) for shots in (2, 3, 5)] == [2, 3, 5]
    assert roles[2]["fitted"] < roles[3]["fitted"] < roles[5]["fitted"]
    assert roles[2]["held-out"] == roles[5]["held-out"]
    assert not roles[5]["held-out"] & roles[5]["fitted"]
    other = adcli("train", "-m", "dfm", *QUICK[:4], "--data", parts, "--shots", 3, "--seed", 1, "--out", "other")
    assert other.code == 0
    assert_one_line(adcli("train", "-m", "dfm", *QUICK, "--data", parts, "--shots", 90), 4, "--shots 90", "8 good")
    assert_one_line(adcli("train", "-m", "dfm", "--data", parts, "--shots", 2, "--calibration", "2-fold"), 2, "folds")


def start(folder: Path, shelf: Path, *more: object) -> "subprocess.Popen[str]":
    """Start a sweep of 2 models, 3 categories and 3 seeds."""
    data = ("--data", "mvtec_ad", "-d", f"root={shelf}")
    return start_adcli(
        "sweep",
        "-m",
        "padim,dfm",
        *data,
        "--seed",
        "0..2",
        *QUICK,
        "--out",
        folder,
        *more,
        cwd=folder.parent,
        start_new_session=True,
    )


@pytest.mark.thorough
def test_a_sweep_that_is_killed_three_times_makes_the_table_of_an_undisturbed_one(shelf: Path, tmp_path: Path) -> None:
    draw = random.Random(26)
    first, second = tmp_path / "a", tmp_path / "b"
    with start(first, shelf) as process:
        start_time = time.monotonic()
        out, err = process.communicate(timeout=600)
        taken = time.monotonic() - start_time
    assert process.returncode == 0, err
    seen: dict[str, str] = {}
    for _ in range(3):
        with start(second, shelf) as process:
            time.sleep(draw.uniform(0.25, 0.6) * taken)
            if draw.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.communicate()
        made = moments(second) if (second / RUNS).exists() else {}
        # What was finished stays as it was: nothing is computed twice.
        assert seen.items() <= made.items()
        seen = made
    with start(second, shelf) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert seen.items() <= moments(second).items()
    assert numbers(read_results(first)) == numbers(read_results(second))
    assert len(read_results(second).made) == 18
    assert not (second / RUNS / ".partial").exists()


@pytest.mark.thorough
def test_two_shards_at_once_one_of_them_killed_make_each_run_once(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "S"
    with (
        start(folder, shelf, "--shard", "1/2", "--jobs", 1) as left,
        start(folder, shelf, "--shard", "2/2", "--jobs", 1) as right,
    ):
        while not (folder / RUNS).exists() or len([*(folder / RUNS).glob("[!.]*")]) < 3:
            time.sleep(0.05)
            assert left.poll() is None or right.poll() is None
        left.kill()
        left.communicate()
        out, err = right.communicate(timeout=600)
    assert right.returncode == 0, out + err
    before = moments(folder)
    assert 9 <= len(before) < 18
    with start(folder, shelf) as rest:
        out, err = rest.communicate(timeout=600)
    assert rest.returncode == 0, out + err
    after = moments(folder)
    assert before.items() <= after.items()
    assert len(after) == 18


@pytest.mark.thorough
def test_an_interrupted_sweep_leaves_no_process_and_can_be_continued(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "S"
    with start(folder, shelf) as process:
        while not [*folder.glob(f"{RUNS}/[!.]*")]:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not list(folder.glob(f"{FAILURES}/*"))
    assert not read_results(folder).failed


@pytest.mark.thorough
def test_a_run_that_could_not_be_evaluated_is_evaluated_when_the_sweep_goes_on(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"model": "dfm", "data": str(parts), **SEED}
    (cell,) = pipeline.plan_sweep(grid, out=tmp_path / "S").cells
    task = pipeline.Task(cell.name, str(tmp_path / "S/runs" / cell.name), cell.settings.to_dict())

    def fail(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_finishing, "evaluate_into", fail)
        outcome = pipeline.carry_out(task)
    assert (outcome.state, bool(outcome.problem)) == ("made", True)
    list_runs(tmp_path / "S", [cell])
    keep_failure(tmp_path / "S", outcome)
    results = pipeline.sweep(out=tmp_path / "S")
    assert not results.failed
    assert "image.auroc" in results.outcomes[0].metrics
