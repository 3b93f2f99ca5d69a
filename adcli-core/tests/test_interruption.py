"""Told to end, a process of ours ends in time and with the right code, whatever it does and whatever it waits for."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to one process")

OURS = """
import atexit, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from adcli._process.ending import run_to_the_end
from adcli._process.interruption import end_when_told

atexit.register(print, "handler")
end_when_told()

def command():
    print("begun", flush=True)
    try:
        work()
    finally:
        print("cleaned up")
    return 0

"""

WAITING = {
    "for itself": "time.sleep(60)",
    "for a thread that never ends": "threading.Thread(target=time.sleep, args=(60,)).start(); time.sleep(60)",
    "for threads, in the exit of their pool": """
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(time.sleep, [60, 60]))
""",
    "for a lock that it holds": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "in a library, deaf to signals": "signal.pthread_sigmask(signal.SIG_BLOCK, TOLD); time.sleep(60)",
    "with what was raised lost in a finalizer": """
    class Lost:
        def __del__(self):
            time.sleep(60)
    for _ in range(2):
        Lost()
    time.sleep(60)
""",
    "in a clean-up that does not end": """
    try:
        time.sleep(60)
    finally:
        time.sleep(60)
""",
    "having caught everything": """
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
""",
}
"""What a command may be in the middle of."""


def start(work: str, before: str = "") -> "subprocess.Popen[str]":
    """Start a process of ours and wait until it is at work."""
    code = f"{OURS}TOLD = [signal.SIGINT, signal.SIGTERM]\ndef work():\n    {work}\n{before}\nrun_to_the_end(command)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    time.sleep(0.2)
    return child


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("waiting", WAITING)
def test_a_process_told_once_ends_in_time(waiting: str, number: signal.Signals) -> None:
    child = start(WAITING[waiting])
    told = time.monotonic()
    child.send_signal(number)
    child.communicate(timeout=30)
    assert child.returncode == 128 + number
    # As long as a library is waited for; by and large the other bound, but machines under load stop for seconds.
    assert time.monotonic() - told < 5.5


def test_what_cleans_up_in_time_has_all_of_it_done() -> None:
    child = start("time.sleep(60)")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, "cleaned up\nhandler\n", "")


def test_what_is_raised_in_a_finalizer_is_raised_again() -> None:
    child = start(WAITING["with what was raised lost in a finalizer"])
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, "cleaned up\nhandler\n", "")


@pytest.mark.parametrize("waiting", ["in a clean-up that does not end", "having caught everything"])
def test_told_twice_it_ends_at_once(waiting: str) -> None:
    # Without the second time, it would take until the test fails.
    child = start(WAITING[waiting], "from adcli._process import interruption; interruption.CLEANING = 60")
    child.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130


def test_a_signal_that_comes_twice_within_a_moment_is_one() -> None:
    child = start("time.sleep(60)\n\n" + SLOW_TO_CLEAN)
    child.send_signal(signal.SIGINT)
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, "cleaned up\nslowly\nhandler\n", "")


SLOW_TO_CLEAN = """
fast = command
def command():
    try:
        fast()
    finally:
        time.sleep(0.3)
        print("slowly")
"""


def test_a_process_that_a_library_forks_is_ended_alone() -> None:
    work = """
    import multiprocessing
    def end_another():
        other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        other.start()
        other.terminate()
        other.join()
        print(other.exitcode)
    forking = threading.Thread(target=end_another)
    forking.start()
    forking.join()
    time.sleep(1)
"""
    child = start(work, "from adcli._process import interruption; interruption.CALLING = 0.1")
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "-15\ncleaned up\nhandler\n", "")


def test_an_ignored_signal_stays_ignored() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + OURS.replace(
        "import atexit", "import atexit"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}\ndef work():\n    time.sleep(0.6)\nrun_to_the_end(command)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[0] == "cleaned up\nhandler\n"
    assert child.returncode == 0


def test_in_python_no_signal_is_touched() -> None:
    code = (
        "import signal\n"
        "before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "from adcli.cli import main\n"
        "try:\n    main(['models'])\nexcept SystemExit:\n    pass\n"
        "assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "assert signal.set_wakeup_fd(-1) == -1"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
