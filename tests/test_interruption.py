"""Killed at any moment, a run is never mistaken for a finished one, and can be continued."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Adcli

from adcli.testing.processes import environments

QUICK = ("--backbone", "random:resnet18", "--image-size", "64")
RD = ("train", "--model", "reverse_distillation", *QUICK, "-o", "layers=1,2,3", "-o", "epochs=3")

# Checkpoints after every epoch, so that a short training has some, and a pause so that a test can strike in between.
TRAIN_SLOWLY = """
import sys, time
from adcli.nn import _checkpoint as training
from adcli.cli import main
training.CHECKPOINT_SECONDS = 0.0
save = training.save_checkpoint
def save_and_wait(*arguments, **keywords):
    save(*arguments, **keywords)
    # What is printed while a command computes goes to stderr.
    print("saved", file=sys.__stdout__, flush=True)
    time.sleep(float(sys.argv[1]))
training.save_checkpoint = save_and_wait
main(sys.argv[2:])
"""


def scores(path: Path) -> dict[str, str]:
    """Return the scores of a run by image, as written."""
    with path.open() as file:
        return {row["image"]: row["score"] for row in csv.DictReader(file)}


def test_a_resumed_training_ends_with_the_scores_of_an_uninterrupted_one(
    adcli: Adcli, parts: Path, tmp_path: Path
) -> None:
    arguments = [*RD, "--data", str(parts), "--out", "broken"]
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN_SLOWLY, "60", *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "saved\n"
    child.kill()
    child.wait()
    assert not Path("broken").exists()
    (listed,) = json.loads(adcli("runs", "--dir", ".", "--json").out)
    assert listed["state"] == "interrupted"
    resumed = adcli("train", "--resume", "broken")
    assert resumed.code == 0, resumed.err
    whole = adcli(*RD, "--data", parts, "--out", "whole")
    assert whole.code == 0, whole.err
    assert scores(Path("broken/scores.csv")) == scores(Path("whole/scores.csv"))
    assert not Path(".partial").exists()


def train_until(arguments: list[str], out: Path, seconds: float | None = None) -> float:
    """Train in a process that is killed some seconds after its folder appears, or left to finish; return the seconds.

    Counted from the start of the process, all kills could come before there is anything to interrupt.
    """
    command = [sys.executable, "-m", "adcli", *arguments, "--out", str(out)]
    child = subprocess.Popen(command, cwd=out.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = out.parent / ".partial" / out.name
    while not folder.exists():
        assert child.poll() is None, "ended before it began"
        time.sleep(0.002)
    start = time.monotonic()
    if seconds is not None:
        time.sleep(seconds)
        child.kill()
    child.wait()
    return time.monotonic() - start


@pytest.mark.slow
@pytest.mark.fuzz
def test_killed_at_any_moment_there_is_a_finished_run_or_none(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    arguments = ["train", "--model", "patchcore", *QUICK, "-o", "layers=2,3", "--data", str(parts)]
    whole = train_until(arguments, tmp_path / "measured")
    interrupted = 0
    for i in range(8):
        out = tmp_path / f"run{i}"
        train_until(arguments, out, whole * i / 7)
        if out.exists():
            assert adcli("predict", out, parts / "test/good").code == 0
            continue
        interrupted += 1
        assert adcli("predict", tmp_path / ".partial" / out.name, parts / "test/good").code == 5
        resumed = adcli("train", "--resume", out)
        assert resumed.code == 0, resumed.err
        assert scores(out / "scores.csv") == scores(Path("measured/scores.csv"))
    assert interrupted, "every run was finished before it was killed"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_train_together_end_when_they_are_told(
    number: signal.Signals, parts: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "adcli", *RD[:-1], "epochs=9999", "--data", str(parts), "--out", "run", "-q"]
    together = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for environment in environments(2)
    ]
    log = tmp_path / ".partial/run/log.txt"
    while not (log.exists() and "build:" in log.read_text()):
        assert all(process.poll() is None for process in together)
        time.sleep(0.1)
    told = time.monotonic()
    for process in together:
        process.send_signal(number)
    said = [process.communicate(timeout=60)[1] for process in together]
    # As long as a library is waited for, and what a machine under load takes.
    assert time.monotonic() - told < 7
    # One of them may learn of it from the other.
    assert {process.returncode for process in together} <= {128 + number, 130}
    assert "Traceback" not in "".join(said)


@pytest.mark.thorough
def test_data_that_changed_since_is_noticed(adcli: Adcli, parts: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(parts, tmp_path / "changing")
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN_SLOWLY, "60", *RD, "--data", "changing", "--out", "broken"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "saved\n"
    child.kill()
    child.wait()
    (tmp_path / "changing/train/good/000.png").unlink()
    outcome = adcli("train", "--resume", "broken")
    assert outcome.code == 5
    assert "changed" in outcome.err
