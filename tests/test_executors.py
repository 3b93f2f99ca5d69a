"""The executor ``local``: whatever happens to the processes that make runs, and to the command that has them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins_on_disk import install, run
from support import Adcli, assert_one_line, write_parts

from adcli.errors import PluginError
from adcli.pipeline import ExecutorRequest, Task, TaskOutcome, _local
from adcli.testing._watched import BEAT, GO, install_watched

TROUBLE = """
import pathlib
from adcli import ModelSpec, Options, hookimpl, option


class TroubleOptions(Options):
    how: str = option("", "What happens.")
    place: pathlib.Path | None = option(None, "Where its process is noted.")


@hookimpl
def adcli_models():
    return [
        ModelSpec(name="trouble", target="trouble_code:Trouble", options=TroubleOptions, summary="ends", one_pass=True)
    ]


@hookimpl
def adcli_run_finished(run):
    print('{"name": "printed by a hook"}')
"""

CODE = """
import ctypes, os, pathlib, signal, subprocess, sys, time
from adcli.testing.reference import MeanImage


def exit():
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)


def segfault():
    ctypes.string_at(0)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_kill():
    if not os.fork():
        time.sleep(60)
        os._exit(0)
    kill()


def tear():
    # What it answers with is the first descriptor of a pipe beyond the usual ones.
    pipes = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    for number in pipes:
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("pipe:"):
                os.write(number, b'{"name": "to')
        except OSError:
            pass
    kill()


def leave():
    sys.exit(3)


def talk():
    print('{"note": "printed"}', flush=True)
    os.write(1, b'{"name": "written"}\\\\n')
    subprocess.run(["echo", "said by another"], check=True)


class Trouble(MeanImage):
    def fit(self, batches):
        if self.options.place is not None:
            self.options.place.write_text(str(os.getpid()))
        if self.options.how:
            globals()[self.options.how]()
        super().fit(batches)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("data") / "parts", train=8, good=3, defective=3)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Have a plugin whose runs end badly, and one whose runs wait."""
    site = tmp_path / "site"
    install(site, "adcli-trouble", TROUBLE)
    (site / "trouble_code.py").write_text(CODE.replace("\\\\", "\\"))
    install_watched(site)
    return site


@pytest.fixture
def on_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the plugins in the path of this process alone, which a process that it starts knows nothing of."""
    monkeypatch.syspath_prepend(str(site))


def task(name: str, data: Path, out: Path, model: str = "trouble", **options: Any) -> Task:
    settings = {"model": model, "data": str(data), "image_size": "32x32", "options": options, "device": "cpu"}
    return Task(name, str(out / name), settings, "adcli sweep")


def carry_out(tasks: list[Task], jobs: int, notes: list[str] | None = None) -> Iterator[TaskOutcome]:
    options = _local.LocalOptions(jobs=jobs)
    return _local.execute(tasks, ExecutorRequest(options, len(tasks), ([] if notes is None else notes).append))


def wait_for(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


ENDS = {
    "exit": "its process ended with code 7: last words.",
    "segfault": "its process was ended by SIGSEGV",
    "kill": "its process was ended by SIGKILL; if memory ran out, use fewer --jobs",
    "fork_and_kill": "its process was ended by SIGKILL",
    "tear": "its process was ended by SIGKILL",
    "leave": "SystemExit",
}
"""What happens to a process, and what is said of its run."""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes end in Linux's ways")
@pytest.mark.usefixtures("on_path")
def test_a_run_whose_process_ends_is_an_outcome_with_the_reason_and_ends_no_other(parts: Path, tmp_path: Path) -> None:
    tasks = [task(how, parts, tmp_path, how=how) for how in ENDS]
    outcomes = {outcome.name: outcome for outcome in carry_out([*tasks, task("fine", parts, tmp_path)], jobs=2)}
    fine = outcomes.pop("fine")
    assert fine.state == "made", fine
    assert set(outcomes) == set(ENDS)
    for how, words in ENDS.items():
        outcome = outcomes[how]
        assert (outcome.state, outcome.exit_code) == ("failed", 1 if how == "leave" else PluginError.exit_code), outcome
        assert words in outcome.problem, outcome
        assert "last words" not in outcome.problem or how == "exit", outcome


@pytest.mark.thorough
@pytest.mark.usefixtures("on_path")
def test_what_is_printed_is_no_answer_and_modules_of_the_current_folder_are_not_imported(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    for name in ("json", "click", "adcli", "torch"):
        (cwd / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(cwd)
    (outcome,) = carry_out([task("talk", parts, tmp_path, how="talk")], jobs=1)
    assert (outcome.name, outcome.state, outcome.problem) == ("talk", "made", "")
    assert capfd.readouterr().out == ""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
def test_the_end_of_a_process_that_has_nothing_to_do_ends_nothing(parts: Path, tmp_path: Path) -> None:
    watch = tmp_path / "watch"
    watch.mkdir()
    tasks = [
        task("short", parts, tmp_path, place=str(tmp_path / "pid")),
        task("long", parts, tmp_path, "watched_image", watch=str(watch)),
    ]
    outcomes = carry_out(tasks, jobs=2)
    assert next(outcomes).name == "short"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    time.sleep(0.5)
    (watch / GO).touch()
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [("long", "made")]


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
def test_with_fewer_processes_than_asked_for_runs_are_made_by_those_there_are(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Scarce(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            if len(started) == 1:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            started.append(self)
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(_local.subprocess, "Popen", Scarce)
    notes: list[str] = []
    outcomes = list(carry_out([task(name, parts, tmp_path) for name in "ab"], 3, notes))
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [("a", "made"), ("b", "made")]
    assert "no more than 1 processes can be started" in notes[0]
    with pytest.raises(PluginError, match="no process can be started"):
        next(carry_out([task("c", parts, tmp_path)], 1))


@pytest.mark.thorough
@pytest.mark.slow
def test_a_run_is_the_same_whatever_its_process_made_before(parts: Path, tmp_path: Path) -> None:
    tasks = [
        task(name, parts, tmp_path, name.partition("-")[0], backbone="embedded")
        for name in ("padim-first", "dfm-between", "padim-last")
    ]
    assert [outcome.state for outcome in carry_out(tasks, jobs=1)] == ["made"] * 3
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("padim-first", "padim-last")]
    assert found[0]["image"] == found[1]["image"]
    assert found[0]["pixel"] == found[1]["pixel"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("padim-first", "padim-last")]
    assert weights[0] == weights[1]


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_command_that_is_ended_takes_its_runs_with_it_and_goes_on_when_started_again(
    number: str, parts: Path, site: Path, tmp_path: Path
) -> None:
    watch = tmp_path / "watch"
    watch.mkdir()
    arguments = ["-m", "watched_image", "--data", str(parts), "--image-size", "32", "--seed", "0,1"]
    search = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = subprocess.Popen(
        [sys.executable, "-m", "adcli", "sweep", *arguments, "-o", f"watch={watch}", "--out", "S", "--jobs", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for((watch / BEAT).exists, 120)
    sent = signal.Signals[number]
    command.send_signal(sent)
    start = time.monotonic()
    out, err = command.communicate(timeout=60)
    assert time.monotonic() - start < 10
    assert command.returncode == (-sent if sent is signal.SIGKILL else 128 + sent), err
    assert "Traceback" not in out + err
    assert wait_for(lambda: is_quiet(watch / BEAT), 5)
    (watch / GO).touch()
    if sent is signal.SIGKILL:
        outcome = run(site, "sweep", "--out", "S", "--json", cwd=tmp_path)
        assert outcome.code == 0, outcome
        assert [each["error"] for each in json.loads(outcome.out)["runs"]] == [None, None]


def is_quiet(beat: Path) -> bool:
    before = beat.read_text()
    time.sleep(0.3)
    return beat.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--executor", "locl"), "Did you mean 'local'"),
        (("-x", "job=2"), "Did you mean 'jobs'"),
        (("--jobs", "0"), "at least 1"),
        (("--jobs", "10000"), "at most 4096"),
        (("--jobs", "many"), "many"),
    ],
)
def test_what_an_executor_cannot_be_told_is_one_line(
    adcli: Adcli, parts: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    outcome = adcli("sweep", "-m", "padim", "--data", parts, "--out", "S", *arguments)
    assert_one_line(outcome, 2, words)
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("jobs", "asked", "threads"),
    [(1, "", 8), (2, "", 4), (3, "", 2), (16, "", 1), (2, "1", 1), (2, "6", 4), (2, "0", 4), (2, "all", 4)],
)
def test_cores_are_shared_out_unless_fewer_threads_are_asked_for(
    jobs: int, asked: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert _local._environment(0, jobs, [])["OMP_NUM_THREADS"] == str(threads)


@pytest.mark.parametrize(
    ("visible", "gpus", "third"),
    [("", [], ""), ("-1", [], "-1"), ("2, 5", ["2", "5"], "2"), ("GPU-a", ["GPU-a"], "GPU-a")],
)
def test_each_process_has_one_gpu_of_those_that_the_command_may_use(
    visible: str, gpus: list[str], third: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _local.list_gpus() == gpus
    assert _local._environment(2, 4, gpus)["CUDA_VISIBLE_DEVICES"] == third
