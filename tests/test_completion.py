"""What a shell completes, by click's protocol for each, and in a real bash."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from adcli.cli import cli
from adcli.cli.completion import VARIABLE
from adcli.cli.shells import register


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type in, with two runs and photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADCLI_RUNS", raising=False)
    for name in ("runs/first", "runs/second", "runs/.partial/third"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.yaml").touch()
    (tmp_path / "photos of parts").mkdir()
    return tmp_path


def complete(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is offered for a line, as the shell's script reads it."""
    register()
    words = line.split(" ")
    monkeypatch.setenv("_ADCLI_LINE", line)
    monkeypatch.setenv("_ADCLI_BREAKS", " =:")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    found = get_completion_class(shell)
    assert found is not None
    return found(cli, {}, "adcli", VARIABLE).complete().splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("adcli tr", ["plain,train"]),
        ("adcli help eval", ["plain,evaluate"]),
        ("adcli train --calib", ["plain,--calibration"]),
        ("adcli train -m patchc", ["plain,patchcore"]),
        ("adcli train --model=patchc", ["plain,patchcore"]),
        ("adcli train -m patchcore -o cores", ["plain,coreset="]),
        ("adcli train -m stfpm -o held", ["plain,held_out="]),
        ("adcli train -m patchcore -o backbone=embed", ["plain,embedded"]),
        ("adcli train -m patchcore -o weights=w/", ["file,w/"]),
        ("adcli train -m nothing -o cores", []),
        ("adcli train --precision b", ["plain,bf16"]),
        ("adcli train --fit ", ["plain,squash", "plain,letterbox"]),
        ("adcli train --data mvtec_l", ["plain,mvtec_loco", "dir,mvtec_l"]),
        ("adcli train --data mvtec_ad:bot", ["plain,bottle"]),
        ("adcli train --data table:a/", ["file,a/"]),
        ("adcli train --resume ", ["plain,third", "dir,"]),
        ("adcli train --ignore m", ["file,m"]),
        ("adcli predict ", ["plain,last", "plain,second", "plain,first", "dir,"]),
        ("adcli predict first ph", ["file,ph"]),
        ("adcli predict first photos --format j", ["plain,json", "plain,jsonl"]),
        ("adcli predict first photos --out p", ["dir,p"]),
        ("adcli export first --to onn", ["plain,onnx"]),
        ("adcli export first --to onnx -o prec", ["plain,precision="]),
        ("adcli models show pad", ["plain,padim"]),
        ("adcli datasets check visa -d root", ["plain,root="]),
        ("adcli plugin check padim -o sig", ["plain,sigma="]),
    ],
)
def test_bash_is_offered_what_fits(line: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete("bash", line, monkeypatch) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_offered_the_same(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = "\n".join(complete(shell, "adcli train -m patchc", monkeypatch))
    assert "patchcore" in found
    assert "padim" not in found
    assert "second" in "\n".join(complete(shell, "adcli predict s", monkeypatch))
    assert "coreset=" in "\n".join(complete(shell, "adcli train -m patchcore -o co", monkeypatch))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_asks_the_program(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adcli", "completion", shell], capture_output=True, text=True, check=True
    )
    assert f"{VARIABLE}={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def read_until(master: int, words: str, seconds: float = 60) -> str:
    """Read what a terminal shows until it shows some words."""
    shown, until = "", time.monotonic() + seconds
    while words not in shown:
        if not select.select([master], [], [], max(until - time.monotonic(), 0))[0]:
            pytest.fail(f"{words!r} did not appear in {shown!r}")
        shown += os.read(master, 4096).decode(errors="replace")
    return shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes_what_is_typed(folder: Path) -> None:
    program = folder / "bin/adcli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m adcli "$@"\n')
    program.chmod(0o755)
    process, master = pty.fork()
    if process == 0:
        environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PS1": "$ "}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
    try:
        os.write(master, b'bind "set enable-bracketed-paste off"; eval "$(adcli completion bash)"; echo rea""dy\n')
        read_until(master, "ready")
        for typed, completed in (
            (b"adcli train -m patchc\t", "patchcore "),
            (b"-o cores\t", "coreset="),
            (b"0.1 --data mvtec_ad:bot\t", "mvtec_ad:bottle "),
            (b"\x15adcli predict sec\t", "second "),
            (b"pho\t", "photos\\ of\\ parts/"),
        ):
            os.write(master, typed)
            read_until(master, completed)
    finally:
        os.close(master)
        os.kill(process, 9)
        os.waitpid(process, 0)
