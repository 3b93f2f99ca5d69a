"""A command's end is quick, and nothing is lost by it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from adcli.errors import StorageError

SAID_AT_THE_END = """
import atexit, sys, threading, time
from adcli._process.ending import end

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
atexit.register(print, "handler")
print("output")
"""


def ended(code: str, *interpreter: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *interpreter, "-c", SAID_AT_THE_END + code], capture_output=True, text=True)


@pytest.mark.parametrize("code", [0, 7])
def test_output_exit_handlers_and_the_code_are_kept_and_nothing_is_taken_apart(code: int) -> None:
    done = ended(f"end({code})")
    assert (done.returncode, done.stdout, done.stderr) == (code, "output\nhandler\n", "")


def test_a_thread_at_work_is_waited_for() -> None:
    done = ended("threading.Thread(target=lambda: (time.sleep(0.2), print('worked'))).start()\nend(3)")
    assert (done.returncode, done.stderr) == (3, "")
    assert "worked" in done.stdout
    assert "handler" in done.stdout


@pytest.mark.parametrize("watcher", ["sys.setprofile", "sys.settrace"])
def test_whoever_measures_the_program_is_given_back_control(watcher: str) -> None:
    done = ended(f"{watcher}(lambda *_: None)\ntry:\n    end(3)\nfinally:\n    print('measured')")
    assert (done.returncode, done.stderr) == (3, "")
    assert "measured" in done.stdout


def adcli(redirection: str) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -m adcli models {redirection}"
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)


def test_a_reader_that_has_seen_enough_is_no_message() -> None:
    assert not adcli("| true").stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_without_room_is_one_line() -> None:
    done = adcli("> /dev/full")
    assert done.returncode == StorageError.exit_code
    assert done.stderr.startswith("Error: cannot write the output: No space left")
    assert len(done.stderr.splitlines()) == 1
